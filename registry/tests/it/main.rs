//! The registry: the rules of the membership, and the service over real sockets.

mod membership;
mod service;

//! The config-service: the rules of rollouts, and the service over real sockets.

mod rollout;
mod service;

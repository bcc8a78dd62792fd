//! HTTP/2 with clients, over real sockets: with the client of the `h2` crate, and frame by frame.

mod bounds;
mod exchanges;
mod frames;
pub mod peer;
mod raw;

//! Bodies: reading one as payload, writing one with a framing, and moving one from a connection to
//! another.
//!
//! [`BodyReader`] and [`BodyWriter`] are for those who keep or make bodies (a cache fill, a page
//! from memory). [`Transfer`] is the pure half of the mover: which of the received bytes belong to
//! the body, and whether they can go on as they came.

mod reader;
mod transfer;
mod writer;

pub use reader::BodyReader;
pub use transfer::{Transfer, Truncated};
pub use writer::{BodyWriter, Rest};

#[cfg(test)]
mod tests;

//! How large the heads of messages may be, and how servers may write them.

use serde::{Deserialize, Serialize};

/// Bytes of a head where nothing else is said.
pub const USUAL: u64 = 64 * 1024;
/// The fewest and the most bytes that can be asked for.
pub const RANGE: std::ops::RangeInclusive<u64> = 4 * 1024..=96 * 1024;

/// Heads of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// Bytes of a head; a larger one is refused.
    pub max_size: u64,
    /// What is written against the rules and means one thing all the same is accepted: lines that
    /// end with LF alone, Content-Length beside Transfer-Encoding, chunks with HTTP/1.0, control
    /// characters in values.
    pub relaxed: bool,
}

impl Default for Replies {
    fn default() -> Self {
        Self { max_size: USUAL, relaxed: true }
    }
}

/// For documents of versions that did not know the key.
pub(super) const fn usual() -> u64 {
    USUAL
}

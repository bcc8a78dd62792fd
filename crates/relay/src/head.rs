//! Message heads: an index over the received bytes, without a copy and without an allocation.
//!
//! [`RequestHead`] and [`ResponseHead`] hold only offsets, counted from the first byte of the slice that they were given, and are reused
//! from message to message. Joined with the bytes again they are a [`Request`] or a [`Response`], which is what everybody reads.
//!
//! `httparse` is the tokeniser, and what it accepts is not enough: [`request`] and [`response`] check line ends, targets, versions, Host
//! and framing, and a head is complete only when all of that is well. A head that arrives in pieces, or that the tokeniser refuses, goes
//! through [`lines`], which looks at each line once, when it is there in full, and finds the first one that is wrong. So the verdict never
//! depends on how the bytes were cut.

pub(crate) mod fields;
pub(crate) mod lines;
pub mod request;
pub mod response;

pub use self::fields::{HeaderLine, Lines};
pub use self::request::{Request, RequestHead};
pub use self::response::{Response, ResponseHead};
pub use crate::malformed::Malformed;

/// The most field lines that any head can have, whatever [`Limits`] say.
pub const MAX_FIELDS: usize = 96;

/// How much of a head is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head; at most 65,535 are honoured.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Field lines; at most [`MAX_FIELDS`] are honoured.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 32 * 1024, target: 8 * 1024, fields: MAX_FIELDS }
    }
}

impl Limits {
    /// For a message that is sent on with fields of ours added: less than the [default](Self::default), with which the next hop reads, so that
    /// nobody can send what passes one hop and is an error of ours at the next.
    pub const fn with_room() -> Self {
        Self { head: 30 * 1024, target: 8 * 1024, fields: MAX_FIELDS - 12 }
    }

    /// The part of `bytes` in which a head must end. Offsets are 16 bits wide.
    fn window<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.head_limit())]
    }

    fn head_limit(&self) -> usize {
        self.head.min(usize::from(u16::MAX))
    }
}

/// How far a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet: call again with the same bytes and more.
    NeedMore,
    /// Complete; so many bytes belong to it (a skipped empty line before it included), the body begins there.
    Complete(usize),
}

/// The version of a message. Others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// HTTP/1.0: one message per connection unless agreed otherwise, no chunks, no 1xx.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

//! Message heads: an index over the received bytes, without a copy and, in the usual case, without
//! an allocation.
//!
//! [`RequestHead`] and [`ResponseHead`] hold only offsets, counted from the first byte of the slice
//! that they were given, and are reused from message to message. Joined with the bytes again they
//! are a [`Request`] or a [`Response`], which is what everybody reads.
//!
//! `httparse` is the tokeniser, and what it accepts is not enough: [`request`] and [`response`]
//! check line ends, targets, versions, Host and framing, and a head is complete only when all of
//! that is well. A head that arrives in pieces, or that the tokeniser refuses, goes through
//! [`lines`], which looks at each line once, when it is there in full, and finds the first one that
//! is wrong. So the verdict never depends on how the bytes were cut.
//!
//! What is odd and has one meaning all the same (HTTP/1.2, and from a server a blank before a
//! colon, lines that end with LF) is first written in the plain spelling (`mend`) and then read by
//! the same rules as everything else: there is one parser.

pub(crate) mod fields;
pub(crate) mod lines;
pub(crate) mod mend;
pub mod request;
pub mod response;

pub use self::fields::{HeaderLine, Lines};
pub use self::request::{Request, RequestHead};
pub use self::response::{Response, ResponseHead};
pub use crate::malformed::Malformed;

/// The most field lines that any head can have, whatever [`Limits`] say.
pub const MAX_FIELDS: usize = 1024;

/// The most bytes that any head can have, whatever [`Limits`] say.
pub const MAX_HEAD: usize = 128 * 1024;

/// What a hop may add to a head: so much more the next one reads.
const ROOM: (usize, usize) = (4 * 1024, 24);

/// Field lines that are indexed without an allocation.
const INLINE_FIELDS: usize = 96;

/// How much of a head is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head; at most [`MAX_HEAD`] are honoured.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Field lines; at most [`MAX_FIELDS`] are honoured.
    pub fields: usize,
    /// Responses only: what old and careless servers write is read where all who read it at all
    /// read it alike. Lines that end with LF alone (all fields, or none), control characters in
    /// values, Content-Length beside Transfer-Encoding, chunks with HTTP/1.0.
    pub relaxed: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(64 * 1024)
    }
}

impl Limits {
    /// For heads of so many bytes, in the strict spelling.
    pub const fn of(head: usize) -> Self {
        Self { head, target: 8 * 1024, fields: MAX_FIELDS - ROOM.1, relaxed: false }
    }

    /// For what another hop of ours has read with these limits and sent on with fields of its own:
    /// more than these, so that nobody can send what passes one hop and is an error of ours at the
    /// next.
    pub const fn with_room(self) -> Self {
        Self { head: self.head + ROOM.0, fields: self.fields + ROOM.1, ..self }
    }

    /// For what another hop of ours sends, whatever its limits are.
    pub const fn most() -> Self {
        Self { head: MAX_HEAD, fields: MAX_FIELDS, ..Self::of(MAX_HEAD) }
    }

    /// The same, and what servers write carelessly is read all the same, or not.
    pub const fn relaxed(self, relaxed: bool) -> Self {
        Self { relaxed, ..self }
    }

    /// The part of `bytes` in which a head must end.
    fn window<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.head_limit())]
    }

    fn head_limit(&self) -> usize {
        self.head.min(MAX_HEAD)
    }
}

/// How far a head has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not there yet: call again with the same bytes and more.
    NeedMore,
    /// Complete; so many bytes belong to it (a skipped empty line before it included), the body
    /// begins there.
    Complete(usize),
}

/// The version of a message. A later 1.x is 1.1 to us (RFC 9110 §2.5); others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// HTTP/1.0: one message per connection unless agreed otherwise, no chunks, no 1xx.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

//! The chunked coding (RFC 9112 §7.1): a decoder that never buffers, and the few bytes that an
//! encoder adds.
//!
//! The decoder sees every byte once and says which of them are payload. What goes on in chunks goes
//! on in our spelling ([`ChunkedRelay`]): what is in it already is not copied, and extensions,
//! padding and trailers that nobody may merge stay behind. What is malformed is found before the
//! message's last byte was consumed, so that the next hop never takes a bad body for a complete
//! one.

mod decoder;
mod relayed;

use std::ops::Range;

pub use decoder::ChunkedDecoder;
pub use relayed::ChunkedRelay;

/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the line that begins a chunk of `len` bytes; `len` is not 0, which would end the body.
pub fn push_size_line(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[len >> (4 * place) & 0xf]);
    }
    out.extend_from_slice(CHUNK_END);
}

/// What a call of [`ChunkedDecoder::next`] consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// So many bytes of the slice are dealt with; at least one, unless the slice was empty or the
    /// body done.
    pub consumed: usize,
    /// Those of them that are payload; may be empty.
    pub payload: Range<usize>,
    /// The body ended with the last byte consumed.
    pub done: bool,
}

/// How the lines around the chunks may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// As the grammar says, without the leniencies that it allows: requests.
    #[default]
    Strict,
    /// Responses: blanks behind a size and around extensions, blanks before the colon of a trailer,
    /// trailers that are dropped.
    Response,
    /// The same, control characters in trailers, and an LF where a line must end with CRLF and no
    /// other message could be meant.
    Relaxed,
    /// The same of a server all of whose lines end with LF alone.
    BareLf,
}

#[cfg(test)]
mod tests;

//! From one framing to another, as a function of the bytes received.

use crate::buffer;
use crate::chunked::{
    CHUNK_END, ChunkedDecoder, ChunkedRelay, Dialect, LAST_CHUNK, push_size_line,
};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::malformed::Malformed;

/// Room for a read of a long body.
const BULK: usize = 64 * 1024;

/// The connection ended before the body did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connection closed before the end of the body")]
pub struct Truncated;

impl From<Truncated> for Fault {
    fn from(_: Truncated) -> Self {
        Self::Closed
    }
}

/// A body on its way between two framings.
///
/// Where both sides frame alike, bytes go on as they came, checked and not copied
/// ([`pass`](Self::pass)); otherwise, and where chunks are spelt otherwise than we spell them, they
/// are written anew ([`rewrite`](Self::rewrite)). [`passes`](Self::passes) says which of the two to
/// call first.
#[derive(Debug)]
pub struct Transfer {
    mode: Mode,
    done: bool,
}

#[derive(Debug)]
enum Mode {
    /// So many bytes are left.
    Length(u64),
    /// Up to the end of the connection.
    UntilClose,
    /// The chunks as they are, in our spelling.
    Chunked(ChunkedRelay),
    /// Chunks come in, their payload goes out.
    Decode(ChunkedDecoder),
    /// Bytes come in, up to a number or the end; chunks go out.
    Encode(Option<u64>),
}

impl Transfer {
    /// `incoming` is how the sender frames the body, `outgoing` how the receiver is told where it
    /// ends.
    ///
    /// An `outgoing` of `Length` is only meaningful for an `incoming` of the same length; a chunked
    /// one is then decoded. `dialect` is how the sender may write chunks.
    pub fn new(incoming: BodyFraming, outgoing: BodyFraming, dialect: Dialect) -> Self {
        use BodyFraming::{Chunked, Empty, Length, UntilClose};
        let mode = match (incoming, outgoing) {
            (Empty, _) => Mode::Length(0),
            (Length(length), Chunked) => Mode::Encode(Some(length)),
            (Length(length), _) => Mode::Length(length),
            (Chunked, Chunked) => Mode::Chunked(ChunkedRelay::new(dialect)),
            (Chunked, _) => Mode::Decode(ChunkedDecoder::new(dialect)),
            (UntilClose, Chunked) => Mode::Encode(None),
            (UntilClose, _) => Mode::UntilClose,
        };
        // A body of no bytes that goes out in chunks is not done: its last chunk has to be written.
        let done = matches!(mode, Mode::Length(0));
        Self { mode, done }
    }

    /// Refuses a body in chunks that has more bytes than this; what a length says is known from the
    /// head.
    pub(crate) const fn at_most(&mut self, bytes: u64) {
        match &mut self.mode {
            Mode::Chunked(relay) => relay.at_most(bytes),
            Mode::Decode(decoder) => decoder.at_most(bytes),
            Mode::Length(_) | Mode::UntilClose | Mode::Encode(_) => {}
        }
    }

    /// The body has ended.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// See [`ChunkedDecoder::is_sloppy`].
    pub(crate) fn is_sloppy(&self) -> bool {
        match &self.mode {
            Mode::Chunked(relay) => relay.is_sloppy(),
            Mode::Decode(decoder) => decoder.is_sloppy(),
            _ => false,
        }
    }

    /// Bytes that are still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.mode {
            Mode::Length(left) => Some(left),
            Mode::Encode(left) => left,
            _ => None,
        }
    }

    /// Room worth offering to the next read: more for what is known to be long.
    pub(crate) fn room(&self) -> usize {
        let long = self.remaining().is_some_and(|left| left > buffer::SIZE as u64);
        if long { BULK } else { buffer::SIZE / 2 }
    }

    /// So many bytes may be moved past this process: a body of a known length that goes on as it
    /// came.
    pub(crate) fn opaque(&self) -> u64 {
        if let Mode::Length(left) = self.mode { left } else { 0 }
    }

    /// So many of them were.
    pub(crate) fn moved(&mut self, n: usize) {
        if let Mode::Length(left) = &mut self.mode {
            *left = left.saturating_sub(n as u64);
            self.done = *left == 0;
        }
    }

    /// True: call [`pass`](Self::pass), and [`rewrite`](Self::rewrite) for what it leaves once all
    /// that passed has been taken away. False: call [`rewrite`](Self::rewrite) alone.
    pub fn passes(&self) -> bool {
        matches!(self.mode, Mode::Length(_) | Mode::UntilClose | Mode::Chunked(_))
    }

    /// How many bytes at the front of `input` belong to the body and go on as they are. Each of
    /// them is shown once.
    ///
    /// # Errors
    /// [`Malformed`] chunks.
    pub fn pass(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        if self.done {
            return Ok(0);
        }
        match &mut self.mode {
            Mode::Length(left) => {
                let n = at_most(input.len(), *left);
                *left -= n as u64;
                self.done = *left == 0;
                Ok(n)
            }
            Mode::Chunked(relay) => {
                let passed = relay.pass(input)?;
                self.done = relay.is_done();
                Ok(passed)
            }
            _ => Ok(input.len()),
        }
    }

    /// Writes what of the body is at the front of `input` in the outgoing framing; returns how many
    /// bytes were consumed.
    ///
    /// # Errors
    /// [`Malformed`] chunks.
    pub fn rewrite(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut consumed = 0;
        match &mut self.mode {
            Mode::Chunked(relay) if !self.done => {
                consumed = relay.rewrite(input, out)?;
                self.done = relay.is_done();
            }
            Mode::Decode(decoder) => {
                while consumed < input.len() && !self.done {
                    let piece = decoder.next(&input[consumed..])?;
                    out.extend_from_slice(&input[consumed..][piece.payload]);
                    consumed += piece.consumed;
                    self.done = piece.done;
                }
            }
            Mode::Encode(left) if !self.done => {
                consumed = left.map_or(input.len(), |left| at_most(input.len(), left));
                if consumed > 0 {
                    push_size_line(out, consumed);
                    out.extend_from_slice(&input[..consumed]);
                    out.extend_from_slice(CHUNK_END);
                }
                if let Some(left) = left {
                    *left -= consumed as u64;
                    if *left == 0 {
                        out.extend_from_slice(LAST_CHUNK);
                        self.done = true;
                    }
                }
            }
            _ => {}
        }
        Ok(consumed)
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`Truncated`] when the body has not.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Truncated> {
        if self.done {
            return Ok(());
        }
        match self.mode {
            Mode::UntilClose => {}
            Mode::Encode(None) => out.extend_from_slice(LAST_CHUNK),
            _ => return Err(Truncated),
        }
        self.done = true;
        Ok(())
    }
}

fn at_most(available: usize, limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(available)
}

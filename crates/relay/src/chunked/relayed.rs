//! A chunked body on its way from hop to hop, in our spelling.

use super::decoder::{ChunkedDecoder, MAX_SIZE_DIGITS, State};
use super::{CHUNK_END, Dialect, LAST_CHUNK, push_size_line};
use crate::head::mend;
use crate::malformed::Malformed;

/// Passes on what is written as we would write it, without a copy ([`pass`](Self::pass)), and
/// writes the rest anew ([`rewrite`](Self::rewrite)). After an error it must not be used again.
#[derive(Debug, Clone)]
pub struct ChunkedRelay {
    decoder: ChunkedDecoder,
    /// The trailer line that is being read. The decoder bounds it.
    trailer: Vec<u8>,
}

impl ChunkedRelay {
    /// At the beginning of a body.
    pub const fn new(dialect: Dialect) -> Self {
        Self { decoder: ChunkedDecoder::new(dialect), trailer: Vec::new() }
    }

    /// See [`ChunkedDecoder::at_most`].
    pub const fn at_most(&mut self, bytes: u64) {
        self.decoder.at_most(bytes);
    }

    /// Whether the whole body was consumed.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// See [`ChunkedDecoder::is_sloppy`].
    pub fn is_sloppy(&self) -> bool {
        self.decoder.is_sloppy()
    }

    /// How many bytes at the front go on as they are. Each byte is shown once. What follows them is
    /// to be rewritten, or is not there in full.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn pass(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut passed = 0;
        while let Some(length) = self.plain(&bytes[passed..]) {
            let mut left = &bytes[passed..passed + length];
            while !left.is_empty() {
                left = &left[self.decoder.next(left)?.consumed..];
            }
            passed += length;
        }
        Ok(passed)
    }

    /// The length of the next part that is there and in our spelling: data, its end, the line of a
    /// size, or the last chunk without trailers.
    fn plain(&self, bytes: &[u8]) -> Option<usize> {
        match self.decoder.state {
            _ if bytes.is_empty() => None,
            State::Data => {
                Some(usize::try_from(self.decoder.remaining).unwrap_or(usize::MAX).min(bytes.len()))
            }
            _ if self.decoder.ends_with_bare_lf() => None,
            State::DataCr if bytes.starts_with(CHUNK_END) => Some(CHUNK_END.len()),
            State::Size if self.decoder.digits == 0 => size_line(bytes),
            _ => None,
        }
    }

    /// Writes what is not in our spelling at the front of `bytes`, up to where something may be
    /// that is; returns how many bytes were consumed.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn rewrite(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Malformed> {
        let mut consumed = 0;
        while let Some(byte) = bytes.get(consumed)
            && !matches!(self.decoder.state, State::Data | State::Done)
        {
            let before = self.decoder.state;
            self.decoder.step(*byte)?;
            consumed += 1;
            self.write(before, *byte, out);
            if self.decoder.state == State::Size && self.decoder.digits == 0 {
                break;
            }
        }
        Ok(consumed)
    }

    /// Writes what became complete with `byte`, which led here from `before`.
    fn write(&mut self, before: State, byte: u8, out: &mut Vec<u8>) {
        match (before, self.decoder.state) {
            // A chunk's size is known: at most 2^63 - 1, which a usize holds.
            (_, State::Data) => {
                push_size_line(out, usize::try_from(self.decoder.remaining).unwrap_or(usize::MAX))
            }
            (State::DataLf | State::DataCr, State::Size) | (_, State::Done) => {
                out.extend_from_slice(CHUNK_END)
            }
            (State::TrailerLf | State::TrailerValue, State::TrailerStart) => {
                self.write_trailer(out)
            }
            (_, State::TrailerStart) => out.extend_from_slice(&LAST_CHUNK[..3]),
            (_, State::TrailerName | State::TrailerValue) => self.trailer.push(byte),
            _ => {}
        }
    }

    fn write_trailer(&mut self, out: &mut Vec<u8>) {
        if !self.decoder.dropping {
            mend::field_line(&self.trailer, out);
            out.extend_from_slice(b"\r\n");
        }
        self.trailer.clear();
    }
}

/// The length of a whole line that says the size of a chunk and nothing else, or of the whole last
/// chunk.
fn size_line(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(LAST_CHUNK) {
        return Some(LAST_CHUNK.len());
    }
    let digits = bytes
        .iter()
        .take(MAX_SIZE_DIGITS.into())
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let plain = digits > 0 && bytes[0] != b'0' && bytes[digits..].starts_with(CHUNK_END);
    plain.then_some(digits + CHUNK_END.len())
}

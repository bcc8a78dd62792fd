//! Reading a body as payload.

use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::chunked::{ChunkedDecoder, Dialect};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::stream::Stream;
use crate::wheel::Kind;

/// Takes a message's body off a connection, its framing removed. Trailers are checked and dropped.
#[derive(Debug)]
pub struct BodyReader {
    mode: Mode,
    done: bool,
}

#[derive(Debug)]
enum Mode {
    Length(u64),
    UntilClose,
    Chunked(ChunkedDecoder),
}

impl BodyReader {
    /// For a body framed like this, whose head has been read; `dialect` is how its sender may write
    /// chunks.
    pub fn new(framing: BodyFraming, dialect: Dialect) -> Self {
        let mode = match framing {
            BodyFraming::Empty => Mode::Length(0),
            BodyFraming::Length(length) => Mode::Length(length),
            BodyFraming::Chunked => Mode::Chunked(ChunkedDecoder::new(dialect)),
            BodyFraming::UntilClose => Mode::UntilClose,
        };
        let done = matches!(mode, Mode::Length(0));
        Self { mode, done }
    }

    /// The whole body has been read; the connection stands at its next message.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The next piece, never an empty one; `None` at the end of the body.
    ///
    /// A piece shares the connection's read buffer: whoever keeps it should copy it.
    ///
    /// # Errors
    /// `Closed` before the end of the body, `Timeout(Body)` when nothing arrives for `deadline`,
    /// `Malformed`, `Reset`, `Io`.
    pub async fn next(
        &mut self,
        stream: &mut Stream,
        deadline: Duration,
    ) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(piece) = self.take(stream)? {
                return Ok(Some(piece));
            }
            if self.done {
                return Ok(None);
            }
            if stream.fill(Kind::Body, deadline).await? == 0 {
                if !matches!(self.mode, Mode::UntilClose) {
                    return Err(Fault::Closed);
                }
                self.done = true;
            }
        }
    }

    /// As [`next`](Self::next), of what has been received already; `None`: nothing more right now.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn take(&mut self, stream: &mut Stream) -> Result<Option<Bytes>, Fault> {
        while !self.done && !stream.input().is_empty() {
            let input = stream.input();
            let decoder = match &mut self.mode {
                Mode::UntilClose => return Ok(Some(input.split().freeze())),
                Mode::Length(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= n as u64;
                    self.done = *left == 0;
                    return Ok(Some(input.split_to(n).freeze()));
                }
                Mode::Chunked(decoder) => decoder,
            };
            let piece = decoder.next(input)?;
            let sloppy = decoder.is_sloppy();
            self.done = piece.done;
            if piece.payload.is_empty() {
                input.advance(piece.consumed);
                stream.note_sloppy(sloppy);
                continue;
            }
            let mut taken = input.split_to(piece.consumed).freeze();
            stream.note_sloppy(sloppy);
            taken.truncate(piece.payload.end);
            taken.advance(piece.payload.start);
            return Ok(Some(taken));
        }
        Ok(None)
    }
}

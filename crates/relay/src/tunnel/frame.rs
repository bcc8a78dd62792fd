//! Frames: how a tunnel is carried by a connection that outlives it, from a balancer to a node.
//!
//! ```text
//! 4 bytes   how many bytes follow, the most significant first
//! n bytes   what the tunnel carries
//! ```
//!
//! A length of zero is the end of that direction. When both directions have ended so, the
//! connection is free for another request; where it closes before, the tunnel was cut.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

use crate::fault::Fault;
use crate::stream::Stream;

const HEADER: usize = 4;

/// The longest frame: more than one read or one pipe holds, and far less than a length that was no
/// length.
const MOST: usize = 16 * 1024 * 1024;

/// Frames that come in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Bytes of the frame that have not been taken.
    left: usize,
    ended: bool,
}

impl Incoming {
    /// How many of the first bytes of `input` are the tunnel's, without the header in front of
    /// them, which is taken off.
    ///
    /// # Errors
    /// `Io(InvalidData)`: a longer frame than anybody sends.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<usize, Fault> {
        if self.left == 0
            && !self.ended
            && let Some(header) = input.first_chunk::<HEADER>()
        {
            // A length that no usize holds is none that anybody sends.
            self.left = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
            if self.left > MOST {
                return Err(Fault::Io(io::ErrorKind::InvalidData));
            }
            self.ended = self.left == 0;
            input.advance(HEADER);
        }
        Ok(self.left.min(input.len()))
    }

    /// Bytes of the frame that are still to come or to be taken.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// So many of them have been taken.
    pub(super) fn took(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n);
    }

    /// The direction has ended.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

/// Frames that go out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    header: [u8; HEADER],
    /// Bytes of the header that have not been sent.
    unsent: usize,
    /// Bytes of the frame that have not been sent, the header not counted.
    left: usize,
    /// The last frame has begun.
    last: bool,
}

impl Outgoing {
    /// Between two frames.
    fn is_at_rest(&self) -> bool {
        self.unsent == 0 && self.left == 0
    }

    fn begin(&mut self, length: usize) {
        self.left = length.min(MOST);
        self.header = u32::try_from(self.left).unwrap_or(0).to_be_bytes();
        self.unsent = HEADER;
    }

    /// Writes `bytes` once, in a frame of their own unless one is under way, which they go on with.
    /// Returns how many of them were taken.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        bytes: &[u8],
    ) -> Poll<Result<usize, Fault>> {
        if self.is_at_rest() {
            self.begin(bytes.len());
        }
        let bytes = &bytes[..bytes.len().min(self.left)];
        self.poll_send(cx, to, bytes)
    }

    /// Begins a frame of `length` bytes, which are written by somebody else, unless one is under
    /// way; ready when its header has been sent.
    pub(super) fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        length: usize,
    ) -> Poll<Result<(), Fault>> {
        if self.is_at_rest() {
            self.begin(length);
        }
        while self.unsent > 0 {
            ready!(self.poll_send(cx, to, &[]))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Somebody else has written so many bytes of the frame.
    pub(super) fn wrote(&mut self, n: usize) {
        self.left = self.left.saturating_sub(n);
    }

    /// Says that the direction has ended; only between two frames.
    pub(super) fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
    ) -> Poll<Result<(), Fault>> {
        if !self.last {
            if !self.is_at_rest() {
                return Poll::Ready(Err(Fault::Io(io::ErrorKind::InvalidData)));
            }
            self.begin(0);
            self.last = true;
        }
        while self.unsent > 0 {
            ready!(self.poll_send(cx, to, &[]))?;
        }
        to.poll_flush_once(cx)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        bytes: &[u8],
    ) -> Poll<Result<usize, Fault>> {
        let header = &self.header[HEADER - self.unsent..];
        let n = ready!(to.poll_write_parts(cx, &[header, bytes]))?;
        let of_header = n.min(self.unsent);
        self.unsent -= of_header;
        self.left -= n - of_header;
        Poll::Ready(Ok(n - of_header))
    }
}

//! A connection in memory, for what has no socket of its own. As a socket it can end in two ways:
//! in order, or cut.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// One of its two ends. Neither leaves the worker.
pub struct Duplex {
    bytes: DuplexStream,
    /// This end has cut it.
    ours: Rc<Cell<bool>>,
    /// The other one has.
    theirs: Rc<Cell<bool>>,
}

impl Duplex {
    /// Both ends. In each direction at most so many bytes wait to be read.
    pub fn pair(capacity: usize) -> (Self, Self) {
        let (one, two) = tokio::io::duplex(capacity);
        let (first, second) = (Rc::<Cell<bool>>::default(), Rc::<Cell<bool>>::default());
        (
            Self { bytes: one, ours: Rc::clone(&first), theirs: Rc::clone(&second) },
            Self { bytes: two, ours: second, theirs: first },
        )
    }

    /// Ends it so that the other end, once it has read what there is, finds a reset.
    pub fn cut(self) {
        self.ours.set(true);
    }

    /// The other end has.
    pub(super) fn is_cut(&self) -> bool {
        self.theirs.get()
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.bytes).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        Poll::Ready(if ended && self.is_cut() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}

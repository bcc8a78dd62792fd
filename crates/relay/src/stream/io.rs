//! Reading and writing: once (`poll_…_once`), once within a deadline (`poll_…`), or until all
//! of it is done. A deadline is of progress: each byte that moves ends it, and the next wait
//! begins it anew.

use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::Stream;
use crate::buffer;
use crate::fault::Fault;
use crate::wheel::Kind;
use crate::worker::Phase;

/// A read is offered at least this much room, so that it is nearly always a short one, after which
/// nobody has to ask the kernel whether there is more.
const ROOM: usize = 4 * 1024;

/// Parts that add up to no more than this are copied together: the kernel takes longer over a list
/// of parts than this takes to copy.
const GATHERED: usize = 4 * 1024;

/// How long after it was accepted a connection may be silent before a drain takes it for an idle
/// one.
const FIRST: Duration = Duration::from_secs(2);

/// Parts of one vectored write, the preamble not counted.
pub(crate) const MAX_PARTS: usize = 7;

impl Stream {
    /// Reads once into [`input`](Self::input), without a deadline. `Ok(0)`: the peer has sent its
    /// last byte. `Closed`: it has gone without saying that it had, where it would have had to
    /// ([`announces_its_end`](Self::announces_its_end)).
    pub fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<Result<usize, Fault>> {
        if self.0.ended || self.0.truncated {
            return Poll::Ready(if self.0.truncated { Err(Fault::Closed) } else { Ok(0) });
        }
        if self.0.input.capacity() == 0 {
            self.0.input = self.0.worker.buffers().take();
        }
        buffer::make_room(&mut self.0.input, room.max(ROOM));
        self.poll_read_into_room(cx)
    }

    /// Reads into what room there is in [`input`](Self::input).
    pub(crate) fn poll_read_into_room(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Fault>> {
        let read = pin!(self.0.io.read_buf(&mut self.0.input)).poll(cx);
        match read {
            Poll::Ready(Ok(n)) => {
                self.0.ended = n == 0;
                self.0.received += n as u64;
                self.0.reading.progressed();
                self.settle();
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => {
                let fault = Fault::from(error);
                // TLS reports a missing close_notify to one read alone; a later one would look like
                // an orderly end.
                self.0.truncated = fault == Fault::Closed;
                self.settle();
                Poll::Ready(Err(fault))
            }
            Poll::Pending => {
                self.settle();
                Poll::Pending
            }
        }
    }

    /// Gives the buffer back when it is empty: to be called whenever a wait for the peer begins.
    pub(crate) fn settle(&mut self) {
        if self.0.input.is_empty() && self.0.input.capacity() > 0 {
            let empty = std::mem::take(&mut self.0.input);
            self.0.worker.buffers().give(empty);
        }
    }

    /// Reads once; fails when nothing arrives for `deadline`, counted from the first call that
    /// found nothing.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        room: usize,
        kind: Kind,
        deadline: Duration,
    ) -> Poll<Result<usize, Fault>> {
        match self.poll_read(cx, room) {
            // In a drain nobody begins to wait for another request.
            Poll::Pending if kind == Kind::Idle && self.0.worker.phase() >= Phase::Finishing => {
                // The first one of a client that was accepted a moment ago is on its way: it has
                // been told of no close, and may be a POST.
                let left = FIRST.saturating_sub(crate::clock::since(self.0.opened));
                if self.0.received > 0 || left.is_zero() {
                    return Poll::Ready(Err(Fault::Timeout(kind)));
                }
                self.0.reading.arm(Kind::Head, left);
                self.0.reading.poll(cx, Kind::Head, left).map(Err)
            }
            Poll::Pending => self.0.reading.poll(cx, kind, deadline).map(Err),
            ready => ready,
        }
    }

    /// As [`poll_fill`](Self::poll_fill), and what comes does not put the deadline off: it runs
    /// from the first call that finds nothing until [`expect_nothing`](Self::expect_nothing).
    /// For protocols in which a peer can say much that is no progress.
    pub fn poll_fill_by(
        &mut self,
        cx: &mut Context<'_>,
        kind: Kind,
        deadline: Duration,
    ) -> Poll<Result<usize, Fault>> {
        match self.poll_keeping_deadline(cx) {
            Poll::Pending => self.0.reading.poll(cx, kind, deadline).map(Err),
            ready => ready,
        }
    }

    /// Reads once more into [`input`](Self::input). `Ok(0)`: the peer has sent its last byte.
    ///
    /// # Errors
    /// `Timeout(kind)`, `Reset`, `Io`.
    pub async fn fill(&mut self, kind: Kind, deadline: Duration) -> Result<usize, Fault> {
        poll_fn(|cx| self.poll_fill(cx, 0, kind, deadline)).await
    }

    /// Writes once, the preamble first; returns how many of the parts' bytes were taken. Fails when
    /// none is for `deadline`.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]],
        deadline: Duration,
    ) -> Poll<Result<usize, Fault>> {
        match self.poll_send_once(cx, parts) {
            Poll::Pending => self.poll_writing_deadline(cx, deadline).map(Err),
            ready => ready,
        }
    }

    /// Writes once, without a deadline.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Fault>> {
        self.poll_send_once(cx, &[bytes])
    }

    /// As [`poll_write`](Self::poll_write), of several parts.
    pub(crate) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]],
    ) -> Poll<Result<usize, Fault>> {
        self.poll_send_once(cx, parts)
    }

    /// Writes the preamble and the parts once. Of an answer whose first bytes went ahead, to find
    /// out whether the client is still there (`watch.rs`), those count as written by this call.
    fn poll_send_once(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[&[u8]],
    ) -> Poll<Result<usize, Fault>> {
        if self.0.ahead > 0 {
            match self.take_ahead(parts) {
                0 => {}
                n => return Poll::Ready(Ok(n)),
            }
        }
        loop {
            let mut slices = [IoSlice::new(&[]); MAX_PARTS + 1];
            let mut count = 0;
            let preamble = self.0.preamble.as_deref().map_or(&[][..], |it| &it[..]);
            for part in std::iter::once(preamble).chain(parts.iter().copied().take(MAX_PARTS)) {
                if !part.is_empty() {
                    slices[count] = IoSlice::new(part);
                    count += 1;
                }
            }
            let written = match &slices[..count] {
                [] => return Poll::Ready(Ok(0)),
                [one] => Pin::new(&mut self.0.io).poll_write(cx, one),
                many if many.iter().map(|part| part.len()).sum::<usize>() <= GATHERED => {
                    let mut gathered = self.0.worker.gathered().borrow_mut();
                    gathered.clear();
                    many.iter().for_each(|part| gathered.extend_from_slice(part));
                    Pin::new(&mut self.0.io).poll_write(cx, &gathered)
                }
                many => Pin::new(&mut self.0.io).poll_write_vectored(cx, many),
            };
            let n = ready!(written)?;
            // Something was to be written, and the connection takes nothing any more.
            if n == 0 {
                return Poll::Ready(Err(Fault::Closed));
            }
            self.note_sent(n);
            self.0.writing.progressed();
            let header = self.0.preamble.as_ref().map_or(0, |it| n.min(it.len()));
            if let Some(preamble) = &mut self.0.preamble {
                preamble.advance(header);
                if preamble.is_empty() {
                    self.0.preamble = None;
                }
            }
            if n > header {
                return Poll::Ready(Ok(n - header));
            }
        }
    }

    /// Writes all the parts, in as few system calls as the kernel allows.
    ///
    /// # Errors
    /// `Timeout(Write)` when the peer takes nothing for `deadline`, `Reset`, `Io`.
    pub async fn write_all(&mut self, parts: &[&[u8]], deadline: Duration) -> Result<(), Fault> {
        let mut rest = parts;
        let mut offset = 0;
        poll_fn(|cx| {
            loop {
                while rest.first().is_some_and(|part| part.len() <= offset) {
                    offset -= rest[0].len();
                    rest = &rest[1..];
                }
                let Some((first, others)) = rest.split_first() else {
                    return self.poll_flush(cx, deadline);
                };
                let mut window: [&[u8]; MAX_PARTS] = [&[]; MAX_PARTS];
                window[0] = &first[offset..];
                for (slot, part) in window[1..].iter_mut().zip(others) {
                    *slot = part;
                }
                offset += ready!(self.poll_send(cx, &window, deadline))?;
            }
        })
        .await
    }

    /// Ready when nothing of what was written waits in this process, as it may with TLS. Whoever
    /// reads the connection next need not ask: a read sees to it as well.
    pub fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Duration,
    ) -> Poll<Result<(), Fault>> {
        match self.poll_flush_once(cx) {
            Poll::Pending => self.poll_writing_deadline(cx, deadline).map(Err),
            ready => ready,
        }
    }

    /// As [`poll_flush`](Self::poll_flush), without a deadline.
    pub(crate) fn poll_flush_once(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if !self.0.io.holds_back() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut self.0.io).poll_flush(cx));
        self.0.writing.progressed();
        Poll::Ready(flushed.map_err(Fault::from))
    }

    /// Says that nothing more will be sent, with TLS by close_notify; the other direction stays
    /// open.
    ///
    /// # Errors
    /// `Reset`, `Io`.
    pub async fn finish_writing(&mut self) -> Result<(), Fault> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// As [`finish_writing`](Self::finish_writing).
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match ready!(Pin::new(&mut self.0.io).poll_shutdown(cx)) {
            // The peer has gone already, which whoever reads will find out.
            Err(error) if error.kind() == std::io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            other => Poll::Ready(other.map_err(Fault::from)),
        }
    }
}

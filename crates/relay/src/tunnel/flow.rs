//! One direction of a tunnel.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::Interest;

use super::pipe::{Pipe, Pipes};
use crate::buffer;
use crate::fault::Fault;
use crate::stream::Stream;

/// Bytes that one direction moves before the worker's other connections have their turn.
const TURN: u64 = 1024 * 1024;

/// A read of so much is the beginning of a stream worth splicing; a splice of less is its end.
const STREAM: usize = buffer::SIZE / 2;

/// Before so much has been moved, nothing is done about what may wait in the kernel: most tunnels
/// carry less.
const LITTLE: u64 = 64 * 1024;

pub(super) struct Flow<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    mode: Mode,
    moved: u64,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Copy,
    Splice,
    /// Splicing does not work here.
    OnlyCopy,
}

/// A connection failed.
pub(super) enum Error {
    From(Fault),
    To(Fault),
}

impl Error {
    pub(super) fn end<E>(self, from: impl FnOnce(Fault) -> E, to: impl FnOnce(Fault) -> E) -> E {
        match self {
            Self::From(fault) => from(fault),
            Self::To(fault) => to(fault),
        }
    }
}

impl<'a> Flow<'a> {
    pub(super) fn new(pipes: &'a Pipes) -> Self {
        Self { pipes, pipe: None, mode: Mode::Copy, moved: 0, closed: false }
    }

    /// Bytes delivered.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Nothing comes this way any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Moves what can be moved now; ready when the direction has been closed. `last`: the opposite
    /// one has been, so that the end of the tunnel, which drops both, closes this one as well.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        last: bool,
    ) -> Poll<Result<(), Error>> {
        let turn_ends = self.moved + TURN;
        while !self.closed {
            ready!(self.poll_flush(cx, from, to)).map_err(Error::To)?;
            if from.ended() {
                // A socket whose last byte has been read ends in order when it is closed.
                if !last || to.spliceable().is_none() {
                    ready!(to.poll_finish(cx)).map_err(Error::To)?;
                }
                self.closed = true;
                break;
            }
            if self.moved >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_take(cx, from, to) {
                Poll::Ready(result) => result.map_err(Error::From)?,
                Poll::Pending => {
                    self.release();
                    return Poll::Pending;
                }
            }
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// Delivers what has been taken: copied bytes first, as they came first.
    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Fault>> {
        while !from.input_ref().is_empty() {
            if self.moved > LITTLE {
                to.bound_unsent();
            }
            let n = ready!(to.poll_write(cx, from.input_ref()))?;
            from.input().advance(n);
            self.moved += n as u64;
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            to.bound_unsent();
            let Some(socket) = to.spliceable() else {
                return Poll::Ready(Err(Fault::Io(io::ErrorKind::Unsupported)));
            };
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || pipe.empty(socket)) {
                Ok(n) => {
                    to.count_sent(n);
                    self.moved += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        // Nobody may be reading from it who would see to what TLS holds back.
        to.poll_flush_once(cx)
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &Stream,
    ) -> Poll<Result<(), Fault>> {
        if self.mode == Mode::Splice
            && let Some(socket) = from.spliceable()
        {
            ready!(socket.poll_read_ready(cx))?;
            if self.pipe.is_none() {
                self.pipe = self.pipes.take();
            }
            if self.pipe.is_none() {
                self.mode = Mode::OnlyCopy;
                return Poll::Ready(Ok(()));
            }
            return Poll::Ready(self.splice_in(from));
        }
        let n = ready!(from.poll_read(cx, buffer::SIZE))?;
        if n >= STREAM && self.mode == Mode::Copy {
            let can = from.spliceable().is_some() && to.spliceable().is_some();
            self.mode = if can { Mode::Splice } else { Mode::OnlyCopy };
        }
        Poll::Ready(Ok(()))
    }
}

impl Flow<'_> {
    fn splice_in(&mut self, from: &mut Stream) -> Result<(), Fault> {
        let (Some(pipe), Some(socket)) = (self.pipe.as_mut(), from.spliceable()) else {
            return Ok(());
        };
        match socket.try_io(Interest::READABLE, || pipe.fill(socket, u64::MAX)) {
            Ok(n) => {
                if n < STREAM {
                    self.mode = Mode::Copy;
                }
                from.count_spliced(n);
                Ok(())
            }
            // The readiness is cleared by this; the next poll waits for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.mode = Mode::OnlyCopy;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the pipe back: nothing moves just now.
    fn release(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pipes.give(pipe);
        }
    }
}

//! One direction of a tunnel.

use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Buf;
use tokio::io::Interest;

use super::frame::{Incoming, Outgoing};
use super::pipe::{Pipe, Pipes};
use crate::buffer;
use crate::fault::Fault;
use crate::stream::{Stream, Taking};

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
    /// Where what comes, or what goes, is in frames.
    incoming: Option<Incoming>,
    outgoing: Option<Outgoing>,
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
        Self {
            pipes,
            pipe: None,
            mode: Mode::Copy,
            moved: 0,
            closed: false,
            incoming: None,
            outgoing: None,
        }
    }

    /// What comes is in frames.
    pub(super) fn out_of_frames(self) -> Self {
        Self { incoming: Some(Incoming::default()), ..self }
    }

    /// What goes is in frames.
    pub(super) fn into_frames(self) -> Self {
        Self { outgoing: Some(Outgoing::default()), ..self }
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
            match self.poll_flush(cx, from, to) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => {
                    to.wait(Taking::AsItLikes).map_err(Error::To)?;
                    return Poll::Pending;
                }
            }
            if self.has_ended(from).map_err(Error::From)? {
                ready!(self.poll_close(cx, to, last)).map_err(Error::To)?;
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

    /// Whether nothing more comes.
    fn has_ended(&self, from: &Stream) -> Result<bool, Fault> {
        match &self.incoming {
            None => Ok(from.ended()),
            Some(frames) if frames.ended() => Ok(true),
            // It would have said so.
            Some(_) if from.ended() => Err(Fault::Closed),
            Some(_) => Ok(false),
        }
    }

    /// Says that nothing more will come.
    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        last: bool,
    ) -> Poll<Result<(), Fault>> {
        match &mut self.outgoing {
            Some(frames) => frames.poll_end(cx, to),
            // A socket whose last byte has been read ends in order when it is closed.
            None if last && to.spliceable().is_some() => Poll::Ready(Ok(())),
            None => to.poll_finish(cx),
        }
    }

    /// Says, if that can be done at once, that this direction ends although there may have been
    /// more to come. Only frames can say it.
    pub(super) fn end_now(&mut self, to: &mut Stream) {
        if let Some(frames) = self.outgoing.as_mut().filter(|_| !self.closed) {
            // Who cannot be told finds the connection closed.
            let _told = frames.poll_end(&mut Context::from_waker(Waker::noop()), to);
        }
    }

    /// Delivers what has been taken: copied bytes first, as they came first.
    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Error>> {
        loop {
            let n = match &mut self.incoming {
                Some(frames) => frames.next(from.input()).map_err(Error::From)?,
                None => from.input_ref().len(),
            };
            if n == 0 {
                break;
            }
            if self.moved > LITTLE {
                to.bound_unsent();
            }
            let bytes = &from.input_ref()[..n];
            let written = match &mut self.outgoing {
                Some(frames) => frames.poll_write(cx, to, bytes),
                None => to.poll_write(cx, bytes),
            };
            let n = ready!(written).map_err(Error::To)?;
            from.input().advance(n);
            self.delivered(n);
        }
        ready!(self.poll_empty(cx, to)).map_err(Error::To)?;
        // Nobody may be reading from it who would see to what TLS holds back.
        to.poll_flush_once(cx).map_err(Error::To)
    }

    fn delivered(&mut self, n: usize) {
        self.moved += n as u64;
        if let Some(frames) = &mut self.incoming {
            frames.took(n);
        }
    }

    /// Delivers what is in the pipe.
    fn poll_empty(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<Result<(), Fault>> {
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            to.bound_unsent();
            if let Some(frames) = &mut self.outgoing {
                ready!(frames.poll_begin(cx, to, pipe.held()))?;
            }
            let Some(socket) = to.spliceable() else {
                return Poll::Ready(Err(Fault::Io(io::ErrorKind::Unsupported)));
            };
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, || pipe.empty(socket)) {
                Ok(n) => {
                    to.count_sent(n);
                    self.moved += n as u64;
                    if let Some(frames) = &mut self.outgoing {
                        frames.wrote(n);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &Stream,
    ) -> Poll<Result<(), Fault>> {
        // A frame's header is read, what it holds is spliced.
        let most = self.incoming.as_ref().map_or(u64::MAX, |frames| frames.left() as u64);
        if self.mode == Mode::Splice
            && most > 0
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
            return Poll::Ready(self.splice_in(from, most));
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
    fn splice_in(&mut self, from: &mut Stream, most: u64) -> Result<(), Fault> {
        let (Some(pipe), Some(socket)) = (self.pipe.as_mut(), from.spliceable()) else {
            return Ok(());
        };
        match socket.try_io(Interest::READABLE, || pipe.fill(socket, most)) {
            Ok(n) => {
                if n < STREAM && (n as u64) < most {
                    self.mode = Mode::Copy;
                }
                if let Some(frames) = &mut self.incoming {
                    frames.took(n);
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

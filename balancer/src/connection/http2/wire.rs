//! A client's connection as the `h2` crate reads and writes it, with deadlines, and with an eye on
//! the frames ([`Frames`]).
//!
//! What ends the connection from here is not said as an error: `h2` would end at once, and the
//! client would not hear why. It is left in [`Watched`] for the loop around the connection, which
//! says goodbye (GOAWAY); nothing is read any more meanwhile.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Buf;
use cluster_config::document::balancer::ClientTimeouts;
use relay::{clock, fault::Fault, stream::Stream, wheel::Kind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Offence};

/// What is written is put together up to about so many bytes, until it is flushed: frames of many
/// streams are one record of TLS and one system call.
const TOGETHER: usize = 16 * 1024;
/// An idle connection keeps no more room than this.
const KEPT: usize = 1024;

/// Why the connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was asked for too long, or a drain wants idle connections to end.
    Idle,
    /// A head, or the preface, did not come to its end in time; or the client has its share.
    Late,
    /// The client's frames are not what they should be.
    Offence(Offence),
}

/// What a connection's loop, its streams and its [`Wire`] know of each other.
#[derive(Debug)]
pub struct Watched {
    /// Streams that are under way.
    active: Cell<u32>,
    verdict: Cell<Option<Verdict>>,
    frames: RefCell<Frames>,
    /// Of the loop.
    waker: RefCell<Option<Waker>>,
}

impl Watched {
    /// Of a connection on which nothing has come yet.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            active: Cell::new(0),
            verdict: Cell::new(None),
            frames: RefCell::new(Frames::new(clock::steady())),
            waker: RefCell::default(),
        })
    }

    /// Streams that are under way.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Why the connection is to end, if it is.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// How many streams the client has reset since this was asked last.
    #[must_use]
    pub fn take_resets(&self) -> u64 {
        self.frames.borrow_mut().take_resets()
    }

    /// The loop sleeps: who changes something wakes it.
    pub fn sleeps(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|it| !it.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// One stream more, for as long as what is returned lives.
    #[must_use]
    pub fn enter(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        Active(Rc::clone(self))
    }

    /// A stream was refused or reset for what its client did.
    pub fn offended(&self) {
        let within = self.frames.borrow_mut().offended(clock::steady());
        self.judge(within);
        self.wake();
    }

    fn judge(&self, within: Result<(), Offence>) {
        if let Err(offence) = within {
            self.verdict.set(Some(Verdict::Offence(offence)));
        }
    }

    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A stream that is under way.
#[derive(Debug)]
pub struct Active(Rc<Watched>);

impl Active {
    /// Of its connection.
    #[must_use]
    pub fn watched(&self) -> &Watched {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        // The last one leaves an idle connection behind.
        if self.0.active.get() == 0 {
            self.0.wake();
        }
    }
}

/// What the client is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The next request: within the idle time.
    Idle,
    /// The rest of a head.
    Head,
    /// Streams are under way, each with deadlines of its own.
    Streams,
}

/// What is on its way to the client. `h2` flushes after every frame that carries content; here it
/// is put together until the loop around the connection has nothing more to do, or there is much of
/// it, so that frames of many streams are one record of TLS and one system call.
pub struct Outlet {
    stream: Rc<RefCell<Stream>>,
    watched: Rc<Watched>,
    /// The client takes nothing for so long at most.
    within: Duration,
    out: RefCell<Vec<u8>>,
    /// So much of it has been sent.
    at: Cell<usize>,
}

impl Outlet {
    /// Of a client's connection.
    #[must_use]
    pub fn new(
        stream: &Rc<RefCell<Stream>>,
        watched: &Rc<Watched>,
        timeouts: &ClientTimeouts,
    ) -> Rc<Self> {
        Rc::new(Self {
            stream: Rc::clone(stream),
            watched: Rc::clone(watched),
            within: timeouts.client,
            out: RefCell::default(),
            at: Cell::new(0),
        })
    }

    /// Sends what there is. Ready: all of it.
    ///
    /// # Errors
    /// The client has gone, or takes nothing.
    pub fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut out = self.out.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        while self.at.get() < out.len() {
            let rest = &out[self.at.get()..];
            let sent = ready!(stream.poll_send(cx, &[rest], self.within))?;
            self.watched.frames.borrow_mut().sent(sent);
            self.at.set(self.at.get() + sent);
        }
        out.clear();
        self.at.set(0);
        if self.watched.active() == 0 && out.capacity() > KEPT {
            *out = Vec::new();
        }
        stream.poll_flush(cx, self.within)
    }

    /// Takes bytes, while there are not too many already.
    fn poll_put(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<Result<usize, Fault>> {
        if self.out.borrow().len() >= TOGETHER {
            ready!(self.poll_drain(cx))?;
        }
        let mut out = self.out.borrow_mut();
        let before = out.len();
        slices.iter().for_each(|slice| out.extend_from_slice(slice));
        Poll::Ready(Ok(out.len() - before))
    }
}

/// See the module.
pub struct Wire {
    outlet: Rc<Outlet>,
    timeouts: ClientTimeouts,
    waiting: Waiting,
}

impl Wire {
    /// Over a client's connection.
    #[must_use]
    pub const fn new(outlet: Rc<Outlet>, timeouts: ClientTimeouts) -> Self {
        Self { outlet, timeouts, waiting: Waiting::Streams }
    }

    /// Waits for more bytes; true: there are some, or the client has sent its last one.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let waiting = match (
            self.outlet.watched.frames.borrow().is_in_head(),
            self.outlet.watched.active(),
        ) {
            (true, _) => Waiting::Head,
            (false, 0) => Waiting::Idle,
            (false, _) => Waiting::Streams,
        };
        let mut stream = self.outlet.stream.borrow_mut();
        if waiting != self.waiting {
            stream.expect_nothing();
            self.waiting = waiting;
        }
        let read = match waiting {
            Waiting::Idle => stream.poll_fill_by(cx, Kind::Idle, self.timeouts.client_idle),
            Waiting::Head => stream.poll_fill_by(cx, Kind::Head, self.timeouts.request_head),
            Waiting::Streams => stream.poll_read(cx, 0),
        };
        let verdict = match ready!(read) {
            Ok(_) => return Poll::Ready(Ok(())),
            Err(Fault::Timeout(Kind::Idle)) => Verdict::Idle,
            Err(Fault::Timeout(_)) => Verdict::Late,
            Err(fault) => return Poll::Ready(Err(fault)),
        };
        self.outlet.watched.verdict.set(Some(verdict));
        Poll::Pending
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.outlet.watched.verdict().is_some() {
            return Poll::Pending;
        }
        if self.outlet.stream.borrow_mut().input().is_empty() {
            ready!(self.poll_more(cx)).map_err(error)?;
        }
        let mut stream = self.outlet.stream.borrow_mut();
        let input = stream.input();
        let n = input.len().min(buf.remaining());
        let within = self.outlet.watched.frames.borrow_mut().received(&input[..n], clock::steady());
        if within.is_err() {
            self.outlet.watched.judge(within);
            return Poll::Pending;
        }
        buf.put_slice(&input[..n]);
        input.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.outlet.poll_put(cx, slices).map_err(error)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The loop around the connection does it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outlet.poll_drain(cx)).map_err(error)?;
        self.outlet.stream.borrow_mut().poll_finish(cx).map_err(error)
    }
}

fn error(fault: Fault) -> io::Error {
    let kind = match fault {
        Fault::Timeout(_) => io::ErrorKind::TimedOut,
        Fault::Reset => io::ErrorKind::ConnectionReset,
        Fault::Closed => io::ErrorKind::UnexpectedEof,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, fault)
}

//! Coarse deadlines: one timer wheel per worker instead of a tokio timer per read.
//!
//! Arming and re-arming are O(1), allocate nothing and, in the common case of pushing a deadline
//! further out, touch one word: an entry stays where it is linked and is moved on only when its
//! slot comes round. `Ring` is the pure part (ticks in, wakers out); [`Wheel`] gives it a clock and
//! a driver task; a [`Timer`] is one entry, owned by a connection.

mod ring;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::ring::{NEVER, NONE, Ring};
use crate::clock;

/// The wheel's resolution: deadlines fire up to two ticks late, never early.
pub const TICK: Duration = Duration::from_millis(10);

/// What a deadline was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A message head that has begun has to be complete.
    Head,
    /// The next piece of a body has to arrive.
    Body,
    /// A connection has to be established.
    Connect,
    /// A response has to begin.
    FirstByte,
    /// The next request has to begin, on a connection that may be closed at any time
    /// ([`Wheel::expire`] does so in a drain).
    Idle,
    /// As `Idle`, for connections which the peer pools and which therefore are never closed from
    /// this side in a drain.
    Pooled,
    /// The peer has to take what is written to it.
    Write,
    /// The connection goes because its client has its share (see [`crate::clients`]); no deadline
    /// is set for this.
    Displaced,
    /// A small response is held until it is complete.
    Hold,
    /// Anything else.
    Other,
}

/// A deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed: {0:?}")]
pub struct Elapsed(pub Kind);

struct Shared {
    start: Instant,
    /// The same moment by the clock that is asked when a deadline is set.
    coarse_start: Duration,
    ring: RefCell<Ring>,
    /// The tick for which the driver sleeps; arming something earlier wakes it.
    sleeping_until: Cell<u64>,
    sooner: Notify,
}

/// A worker's deadlines; clones share one wheel.
#[derive(Clone)]
pub struct Wheel(Rc<Shared>);

impl Wheel {
    pub(crate) fn new() -> Self {
        Self(Rc::new(Shared {
            start: clock::now(),
            coarse_start: clock::steady(),
            ring: RefCell::new(Ring::new()),
            sleeping_until: Cell::new(NEVER),
            sooner: Notify::new(),
        }))
    }

    fn tick(&self) -> u64 {
        (clock::since(self.0.start).as_nanos() / TICK.as_nanos()) as u64
    }

    /// How many ticks there have been, about.
    pub(crate) fn now(&self) -> u64 {
        self.coarse_tick()
    }

    /// The tick by the coarse clock: at most one less.
    fn coarse_tick(&self) -> u64 {
        (clock::steady().saturating_sub(self.0.coarse_start).as_nanos() / TICK.as_nanos()) as u64
    }

    /// Moves the wheel along for as long as the worker lives.
    pub(crate) async fn drive(self) {
        let mut woken = Vec::new();
        loop {
            let next = {
                let mut ring = self.0.ring.borrow_mut();
                ring.advance(self.tick(), &mut woken);
                ring.next_visit()
            };
            woken.drain(..).for_each(Waker::wake);
            self.0.sleeping_until.set(next.unwrap_or(NEVER));
            match next {
                // One tick is added, as the wheel's own tick counts whole ticks passed: never
                // early.
                Some(tick) => {
                    let at = self.0.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX);
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.0.sooner.notified() => {}
                    }
                }
                None => self.0.sooner.notified().await,
            }
        }
    }

    /// Lets every armed deadline of this kind pass at once (idle connections when a worker
    /// finishes).
    pub fn expire(&self, kind: Kind) {
        let mut woken = Vec::new();
        self.0.ring.borrow_mut().expire(kind, &mut woken);
        woken.drain(..).for_each(Waker::wake);
    }

    /// What a timer is armed for and when it is due, while its deadline has not passed.
    pub(crate) fn waiting(&self, key: u32) -> Option<(Kind, u64)> {
        self.0.ring.borrow().waiting(key)
    }

    /// Lets the deadline of one timer pass at once, as one of `kind`.
    pub(crate) fn fire(&self, key: u32, kind: Kind) {
        let waker = self.0.ring.borrow_mut().fire(key, kind);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for a time, coarsely.
    pub async fn sleep(&self, duration: Duration) {
        let timer = Timer::new(self);
        timer.arm(Kind::Other, duration);
        std::future::poll_fn(|cx| timer.poll(cx).map(|_| ())).await;
    }
}

/// One deadline, disarmed until it is used; owned by a connection and used again and again. One
/// that was never used has no place in the wheel: most connections never wait to write.
pub struct Timer {
    wheel: Wheel,
    /// [`NONE`]: it has no place yet.
    key: Cell<u32>,
    armed: Cell<bool>,
}

impl Timer {
    /// A disarmed timer.
    pub fn new(wheel: &Wheel) -> Self {
        Self { wheel: wheel.clone(), key: Cell::new(NONE), armed: Cell::new(false) }
    }

    /// Expires after `duration` from now, rounded up to ticks. Replaces what was armed before.
    pub fn arm(&self, kind: Kind, duration: Duration) {
        let ticks = duration.as_nanos().div_ceil(TICK.as_nanos()).min(u128::from(u32::MAX)) as u64;
        // One more, as the current tick has partly passed, and one as the coarse clock may be
        // behind by as much.
        let due = self.wheel.coarse_tick() + ticks + 2;
        let key = self.key();
        let visit = self.wheel.0.ring.borrow_mut().arm(key, kind, due);
        self.armed.set(true);
        if visit.is_some_and(|visit| visit < self.wheel.0.sleeping_until.get()) {
            self.wheel.0.sooner.notify_one();
        }
    }

    /// By which the wheel knows it.
    pub(crate) fn key(&self) -> u32 {
        if self.key.get() == NONE {
            self.key.set(self.wheel.0.ring.borrow_mut().insert());
        }
        self.key.get()
    }

    /// It was armed and has not been disarmed since; it may have expired. Its owner can have it
    /// count as not armed for a while.
    pub(crate) fn armed(&self) -> &Cell<bool> {
        &self.armed
    }

    /// Never expires until armed again.
    pub fn disarm(&self) {
        self.armed.set(false);
        if self.key.get() != NONE {
            self.wheel.0.ring.borrow_mut().disarm(self.key.get());
        }
    }

    /// Ready when the deadline has passed; the task is woken then.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let key = self.key();
        match self.wheel.0.ring.borrow_mut().poll(key, cx.waker()) {
            Some(kind) => Poll::Ready(Elapsed(kind)),
            None => Poll::Pending,
        }
    }

    /// Runs a future under a deadline.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first; the future is dropped.
    pub async fn within<F: Future>(
        &self,
        kind: Kind,
        duration: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut armed = false;
        let result = std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if !armed {
                self.arm(kind, duration);
                armed = true;
            }
            self.poll(cx).map(Err)
        })
        .await;
        self.disarm();
        result
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // The waker is dropped outside the borrow: it may own the task that owns this timer's
        // siblings.
        if self.key.get() != NONE {
            let waker = self.wheel.0.ring.borrow_mut().remove(self.key.get());
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests;

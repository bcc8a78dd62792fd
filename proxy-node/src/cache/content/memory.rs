//! A body that readers on any worker follow while one writer appends to it: segments that are full
//! and do not change any more, and a tail that still grows, of which readers take copies. So an
//! origin that sends byte by byte costs no segment each.
//!
//! While it *retains*, every segment stays and readers may begin at any time: that is what the
//! cache keeps. When it turns out to be too large, or there is no memory for it, it *stops
//! retaining*: segments that all readers have passed go, the writer waits for the slowest reader,
//! and nobody new may begin.
//!
//! Each segment carries the charge for its memory, and gives it back when the last reference to it
//! goes, a reader's included.

mod forms;
mod reader;
mod segments;

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;

use crate::cache::budget::{Budget, Charge};
pub use reader::Reader;
pub use segments::{COPIED, charged};
use segments::{End, State, offset, wake};

/// How far the writer may be ahead of the slowest reader once the body no longer retains, in bytes.
const WINDOW: u64 = 256 * 1024;
/// The same while bodies that are passed on take much memory already.
const NARROW: u64 = 32 * 1024;

#[derive(Debug)]
pub struct Body {
    /// All of it and its length, once it is there: what hits read, without a lock.
    whole: OnceLock<(Box<[Bytes]>, u64)>,
    state: Mutex<State>,
    budget: Arc<Budget>,
    /// When something came last, in steady milliseconds.
    progress: AtomicU64,
    /// Somebody needs its memory and cannot have it, as it is being read.
    wanted: AtomicBool,
    /// Other forms of it, where there are any.
    forms: OnceLock<Box<forms::Forms>>,
}

/// Nobody reads what nobody keeps: the writer may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

impl Body {
    /// An empty body that retains, on this account.
    #[must_use]
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            whole: OnceLock::new(),
            state: Mutex::new(State::new()),
            budget: budget.clone(),
            progress: AtomicU64::new(u64::MAX),
            wanted: AtomicBool::new(false),
            forms: OnceLock::new(),
        })
    }

    /// A complete body of these pieces, which have their charges already.
    #[must_use]
    pub fn of(budget: &Arc<Budget>, pieces: Vec<Bytes>) -> Arc<Self> {
        let body = Self::new(budget);
        let mut state = body.lock();
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            let (at, length) = (state.sealed, piece.len() as u64);
            state.segments.push_back((at, piece));
            state.sealed += length;
            state.charged += length;
        }
        drop(state);
        body.complete();
        body
    }

    /// Appends. The bytes are copied, so that a small piece never keeps a large read buffer alive.
    /// `more`: how many bytes follow these, where somebody has said so. `admit` is asked for the
    /// memory; where it says no, the body stops retaining.
    pub fn append(&self, bytes: &[u8], more: Option<u64>, admit: impl Fn(u64) -> Option<Charge>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut state = self.lock();
            if state.tail.bytes.capacity() == state.tail.bytes.len() {
                // Nobody else appends: meanwhile only readers move.
                let (size, retains) = (state.next_tail(rest.len(), more), state.retains);
                drop(state);
                let charge = if retains { admit(size as u64) } else { None };
                if charge.is_none() {
                    self.stop_retaining();
                }
                let charge = charge.unwrap_or_else(|| self.budget.work(size as u64));
                state = self.lock();
                state.grow_tail(size, charge);
            }
            let room = state.tail.bytes.capacity() - state.tail.bytes.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            state.tail.bytes.extend_from_slice(now);
            rest = later;
            state.drop_passed();
            wake(state);
        }
    }

    /// Nothing is missing.
    pub fn complete(&self) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(End::Complete);
        state.seal();
        if state.retains {
            let length = state.sealed;
            let segments =
                std::mem::take(&mut state.segments).into_iter().map(|(_, segment)| segment);
            self.whole.get_or_init(|| (segments.collect(), length));
        }
        wake(state);
    }

    /// The rest will never come.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Failed);
        wake(state);
    }

    /// Keeps nothing from now on but what readers have not read yet.
    pub fn stop_retaining(&self) {
        let mut state = self.lock();
        state.retains = false;
        state.drop_passed();
    }

    /// Whether everything that has come is kept.
    #[must_use]
    pub fn retains(&self) -> bool {
        self.lock().retains
    }

    /// Waits until the writer may append. At once while the body retains.
    pub async fn room(&self) -> Result<(), Unwanted> {
        let window = self.window();
        poll_fn(|context| {
            let mut state = self.lock();
            if state.retains {
                return Poll::Ready(Ok(()));
            }
            let Some(slowest) = state.slowest() else { return Poll::Ready(Err(Unwanted)) };
            if state.length().saturating_sub(slowest) < window {
                return Poll::Ready(Ok(()));
            }
            state.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Lets go those who make a body that is not kept wait for them, if others have read all there
    /// is: they get no more of it.
    pub fn cut_laggards(&self) {
        let window = self.window();
        let mut state = self.lock();
        let length = state.length();
        let places = || state.readers.iter().flatten().filter(|place| !place.cut);
        if state.retains || !places().any(|place| place.at >= length) {
            return;
        }
        for place in state.readers.iter_mut().flatten() {
            place.cut |= length.saturating_sub(place.at) >= window;
        }
        state.drop_passed();
        wake(state);
    }

    /// How far the writer may be ahead of the slowest reader.
    fn window(&self) -> u64 {
        if self.budget.is_pressed() { NARROW } else { WINDOW }
    }

    /// Whether somebody reads it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.lock().readers.iter().any(Option::is_some)
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.whole.get().map_or_else(|| self.lock().length(), |(_, length)| *length)
    }

    /// Whether nothing has been appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that were charged for it and its other forms.
    #[must_use]
    pub fn charged(&self) -> u64 {
        let own = self.lock().charged;
        own + self.charged_for_forms()
    }

    /// The account that it is charged to.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// All of it, once it is complete and kept.
    #[must_use]
    pub fn whole(&self) -> Option<&[Bytes]> {
        self.whole.get().map(|(segments, _)| &**segments)
    }

    /// Whether it ended before it was complete.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.lock().end == Some(End::Failed)
    }

    /// Something came, at this moment in steady milliseconds.
    pub fn note_progress(&self, now: u64) {
        self.progress.store(now, Ordering::Relaxed);
    }

    /// For how many milliseconds nothing has come of what is still growing.
    #[must_use]
    pub fn silent_for(&self, now: u64) -> u64 {
        if self.whole.get().is_some() {
            0
        } else {
            now.saturating_sub(self.progress.load(Ordering::Relaxed))
        }
    }

    /// Somebody needs its memory: who reads it slowly shall let it go.
    pub fn want_back(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether somebody did since this was asked last.
    #[must_use]
    pub fn take_wanted_back(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Whether these bytes are what stands at this place of it.
    #[must_use]
    pub fn matches(&self, at: u64, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let growing = if self.whole().is_some() { None } else { self.lock().part(at) };
            // It may have been completed meanwhile.
            let here = growing.or_else(|| part_of(self.whole()?, at));
            let Some(here) = here else { return false };
            let length = here.len().min(rest.len());
            if here.get(..length) != rest.get(..length) {
                return false;
            }
            at += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves at worst a missing wake-up, which deadlines cover.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands at a place of a complete body, to the end of its segment.
fn part_of(whole: &[Bytes], at: u64) -> Option<Bytes> {
    let mut start = 0;
    for segment in whole {
        let end = start + segment.len() as u64;
        if at < end {
            return Some(segment.slice(offset(at, start)..));
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests;

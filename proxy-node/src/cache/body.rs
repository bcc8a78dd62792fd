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

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::cache::budget::{Budget, Charge};

/// How far the writer may be ahead of the slowest reader once the body no longer retains, in bytes.
const WINDOW: u64 = 256 * 1024;
/// The same while bodies that are passed on take much memory already.
const NARROW: u64 = 32 * 1024;
/// Bytes of a full segment.
const SEGMENT: usize = 64 * 1024;
/// The least that a tail of unknown length has room for.
const LEAST: usize = 512;
/// The most that a reader copies of the tail at a time, in bytes.
pub const COPIED: usize = 16 * 1024;

/// The body.
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
}

#[derive(Debug)]
struct State {
    /// Each with its place in the body.
    segments: VecDeque<(u64, Bytes)>,
    /// Where the tail begins.
    sealed: u64,
    tail: Tail,
    /// Bytes of memory that are charged for it; what has been dropped since counts too.
    charged: u64,
    end: Option<End>,
    retains: bool,
    readers: Vec<Option<Place>>,
    writer: Option<Waker>,
}

/// What does not fill a segment yet.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    charge: Option<Charge>,
}

/// Memory of a segment, with its charge.
struct Segment {
    bytes: Vec<u8>,
    _charge: Option<Charge>,
}

impl AsRef<[u8]> for Segment {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Debug, Default)]
struct Place {
    at: u64,
    waker: Option<Waker>,
    /// It made the others wait for too long.
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More of it.
    Segment(Bytes),
    /// That was all.
    End,
    /// It will never be complete: whoever passed it on must not let it look so.
    Failed,
}

/// Nobody reads what nobody keeps: the writer may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

impl Body {
    /// An empty body that retains, on this account.
    #[must_use]
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        let state = State {
            segments: VecDeque::new(),
            sealed: 0,
            tail: Tail::default(),
            charged: 0,
            end: None,
            retains: true,
            readers: Vec::new(),
            writer: None,
        };
        Arc::new(Self {
            whole: OnceLock::new(),
            state: Mutex::new(state),
            budget: budget.clone(),
            progress: AtomicU64::new(u64::MAX),
            wanted: AtomicBool::new(false),
        })
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

    /// Bytes of memory that were charged for it.
    #[must_use]
    pub fn charged(&self) -> u64 {
        self.lock().charged
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

/// The place in a segment: below its length, which is a usize.
fn offset(at: u64, start: u64) -> usize {
    usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX)
}

impl State {
    fn length(&self) -> u64 {
        self.sealed + self.tail.bytes.len() as u64
    }

    /// Where the slowest reader stands that counts; `None`: there is none.
    fn slowest(&self) -> Option<u64> {
        self.readers.iter().flatten().filter(|place| !place.cut).map(|place| place.at).min()
    }

    /// How large the next tail is that has no room left now.
    fn next_tail(&self, coming: usize, more: Option<u64>) -> usize {
        let tail = &self.tail.bytes;
        let (begun, coming) = if tail.len() < SEGMENT { (tail.len(), coming) } else { (0, coming) };
        let known =
            more.map(|more| coming.saturating_add(usize::try_from(more).unwrap_or(usize::MAX)));
        match known {
            Some(all) => begun.saturating_add(all).min(SEGMENT),
            None if self.sealed > 0 || tail.len() >= SEGMENT => SEGMENT,
            None => (begun + coming).max(2 * tail.capacity()).clamp(LEAST, SEGMENT),
        }
    }

    /// Makes the tail so large; one that is full already becomes a segment.
    fn grow_tail(&mut self, size: usize, charge: Charge) {
        if self.tail.bytes.len() >= size || self.tail.bytes.len() >= SEGMENT {
            self.seal();
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(&self.tail.bytes);
        self.charged -= self.tail.charge.as_ref().map_or(0, Charge::bytes);
        self.charged += charge.bytes();
        self.tail = Tail { bytes, charge: Some(charge) };
    }

    /// Makes a segment of the tail.
    fn seal(&mut self) {
        let Tail { mut bytes, mut charge } = std::mem::take(&mut self.tail);
        let length = bytes.len();
        if bytes.capacity() - length > length / 8 {
            bytes.shrink_to_fit();
            if let Some(charge) = &mut charge {
                self.charged -= charge.bytes().saturating_sub(length as u64);
                charge.shrink(length as u64);
            }
        }
        if length > 0 {
            self.segments
                .push_back((self.sealed, Bytes::from_owner(Segment { bytes, _charge: charge })));
            self.sealed += length as u64;
        }
    }

    /// What stands at a place, as far as it is in one piece.
    fn part(&self, at: u64) -> Option<Bytes> {
        if at >= self.sealed {
            let rest = self.tail.bytes.get(offset(at, self.sealed)..)?;
            let part = rest.get(..COPIED).unwrap_or(rest);
            return (!part.is_empty()).then(|| Bytes::copy_from_slice(part));
        }
        let index = self.segments.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (start, segment) = self.segments.get(index)?;
        Some(segment.slice(offset(at, *start).min(segment.len())..))
    }

    fn drop_passed(&mut self) {
        if self.retains {
            return;
        }
        let slowest = self.slowest().unwrap_or_else(|| self.length());
        while let Some((start, segment)) = self.segments.front()
            && start + segment.len() as u64 <= slowest
        {
            self.segments.pop_front();
        }
        if slowest >= self.length() && !self.tail.bytes.is_empty() {
            // Its memory is used again for what comes.
            self.sealed = self.length();
            self.tail.bytes.clear();
        }
    }
}

/// Wakes everybody who waits, after the lock is given back.
fn wake(mut state: MutexGuard<'_, State>) {
    let mut wakers: Vec<Waker> =
        state.readers.iter_mut().flatten().filter_map(|place| place.waker.take()).collect();
    wakers.extend(state.writer.take());
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

/// One reader's place in a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    /// Index in `readers`; `None`: reads the whole without a lock.
    slot: Option<usize>,
    at: u64,
    /// In the whole: the segment that it stands in, and where that begins.
    segment: (usize, u64),
}

impl Reader {
    /// A reader at the beginning. `None` when the beginning has gone already.
    #[must_use]
    pub fn new(body: &Arc<Body>) -> Option<Self> {
        let mut reader = Self { body: body.clone(), slot: None, at: 0, segment: (0, 0) };
        if body.whole().is_some() {
            return Some(reader);
        }
        let mut state = body.lock();
        if !state.retains && state.length() > 0 {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none).unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        if let Some(slot) = state.readers.get_mut(free) {
            *slot = Some(Place::default());
        }
        drop(state);
        reader.slot = Some(free);
        Some(reader)
    }

    /// Goes to a place, which may not be there yet; not back, as what was read may be gone.
    pub fn go_to(&mut self, at: u64) {
        self.at = at;
        self.segment = (0, 0);
        self.stand();
    }

    /// What comes next; waits for the writer.
    pub async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, as a poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some((whole, _)) = self.body.whole.get() {
            let (mut index, mut start) = self.segment;
            while let Some(segment) = whole.get(index) {
                let end = start + segment.len() as u64;
                if self.at < end {
                    let piece = segment.slice(offset(self.at, start)..);
                    self.at = end;
                    self.segment = (index + 1, end);
                    return Poll::Ready(Next::Segment(piece));
                }
                (index, start) = (index + 1, end);
            }
            return Poll::Ready(Next::End);
        }
        let body = self.body.clone();
        let mut state = body.lock();
        let place = self.slot.and_then(|slot| state.readers.get(slot)).and_then(Option::as_ref);
        if place.is_none_or(|place| place.cut) {
            return Poll::Ready(Next::Failed);
        }
        if let Some(piece) = state.part(self.at) {
            self.at += piece.len() as u64;
            drop(state);
            self.stand();
            return Poll::Ready(Next::Segment(piece));
        }
        match state.end {
            // The place may be further than its end.
            Some(End::Complete) if self.body.whole().is_none() => Poll::Ready(Next::End),
            Some(End::Complete) => {
                drop(state);
                self.poll_next(context)
            }
            Some(End::Failed) => Poll::Ready(Next::Failed),
            None => {
                if let Some(Some(place)) = self.slot.and_then(|slot| state.readers.get_mut(slot)) {
                    place.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Says where it stands.
    fn stand(&self) {
        let Some(slot) = self.slot else { return };
        let mut state = self.body.lock();
        if let Some(Some(place)) = state.readers.get_mut(slot) {
            place.at = self.at;
        }
        state.release();
    }
}

impl State {
    fn release(&mut self) {
        self.drop_passed();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut state = self.body.lock();
        if let Some(place) = state.readers.get_mut(slot) {
            *place = None;
        }
        if state.end.is_some() && state.readers.iter().all(Option::is_none) {
            state.readers = Vec::new();
        }
        state.release();
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;

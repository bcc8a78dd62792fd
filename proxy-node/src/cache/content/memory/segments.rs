//! The segments of a body in memory, its tail, and where everybody stands who reads or writes it.

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard},
    task::Waker,
};

use bytes::Bytes;

use crate::cache::budget::{Budget, Charge};

/// Bytes of a full segment.
const SEGMENT: usize = 64 * 1024;
/// The least that a tail of unknown length has room for.
const LEAST: usize = 512;
/// The most that a reader copies of the tail at a time, in bytes.
pub const COPIED: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct State {
    /// Each with its place in the body.
    pub(super) segments: VecDeque<(u64, Bytes)>,
    /// Where the tail begins.
    pub(super) sealed: u64,
    pub(super) tail: Tail,
    /// Bytes of memory that are charged for it; what has been dropped since counts too.
    pub(super) charged: u64,
    pub(super) end: Option<End>,
    pub(super) retains: bool,
    pub(super) readers: Vec<Option<Place>>,
    pub(super) writer: Option<Waker>,
}

/// What does not fill a segment yet.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) bytes: Vec<u8>,
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

/// A copy of these bytes, charged.
#[must_use]
pub fn charged(budget: &Arc<Budget>, bytes: &[u8]) -> Bytes {
    let charge = budget.hold(bytes.len() as u64);
    Bytes::from_owner(Segment { bytes: bytes.to_vec(), _charge: Some(charge) })
}

#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) waker: Option<Waker>,
    /// It made the others wait for too long.
    pub(super) cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Failed,
}

impl State {
    /// Nothing yet, of a body that retains.
    pub(super) const fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            sealed: 0,
            tail: Tail { bytes: Vec::new(), charge: None },
            charged: 0,
            end: None,
            retains: true,
            readers: Vec::new(),
            writer: None,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.sealed + self.tail.bytes.len() as u64
    }

    /// Where the slowest reader stands that counts; `None`: there is none.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.readers.iter().flatten().filter(|place| !place.cut).map(|place| place.at).min()
    }

    /// How large the next tail is that has no room left now.
    pub(super) fn next_tail(&self, coming: usize, more: Option<u64>) -> usize {
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
    pub(super) fn grow_tail(&mut self, size: usize, charge: Charge) {
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
    pub(super) fn seal(&mut self) {
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
    pub(super) fn part(&self, at: u64) -> Option<Bytes> {
        if at >= self.sealed {
            let rest = self.tail.bytes.get(offset(at, self.sealed)..)?;
            let part = rest.get(..COPIED).unwrap_or(rest);
            return (!part.is_empty()).then(|| Bytes::copy_from_slice(part));
        }
        let index = self.segments.partition_point(|(start, _)| *start <= at).checked_sub(1)?;
        let (start, segment) = self.segments.get(index)?;
        Some(segment.slice(offset(at, *start).min(segment.len())..))
    }

    pub(super) fn drop_passed(&mut self) {
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

    pub(super) fn release(&mut self) {
        self.drop_passed();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// The place in a segment: below its length, which is a usize.
pub(super) fn offset(at: u64, start: u64) -> usize {
    usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX)
}

/// Wakes everybody who waits, after the lock is given back.
pub(super) fn wake(mut state: MutexGuard<'_, State>) {
    let mut wakers: Vec<Waker> =
        state.readers.iter_mut().flatten().filter_map(|place| place.waker.take()).collect();
    wakers.extend(state.writer.take());
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

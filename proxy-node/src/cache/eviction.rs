//! What goes when the cache is full: S3-FIFO (Yang et al., SOSP 2023), weighed in bytes.
//!
//! New objects go through a small queue; those that are used again while they are in it move to the
//! main one, the others leave at once, so that a crawl does not wash out what is popular. Who comes
//! back soon after leaving goes straight to the main queue. A hit only counts: no queue moves.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
};

use crate::cache::object::Object;

/// Share of the bytes that the small queue may hold, in percent.
const SMALL_PERCENT: u64 = 10;
/// Objects that are being read and therefore passed over, in one search: their memory would not
/// come back yet.
const MOST_PASSED: usize = 16;

/// The queues of one shard.
#[derive(Debug, Default)]
pub struct Queues {
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
}

/// Hashes of keys whose objects left unused, the oldest first.
#[derive(Debug, Default)]
struct Ghosts {
    /// With some that came back since.
    order: VecDeque<u64>,
    there: HashSet<u64>,
}

impl Ghosts {
    /// Whether it was there; it is not any more.
    fn take(&mut self, hash: u64) -> bool {
        self.there.remove(&hash)
    }

    /// Adds one, and forgets the oldest beyond so many. One that came back and left again may go
    /// with its older place in the order: that is rare, and costs a hit at the most.
    fn remember(&mut self, hash: u64, most: usize) {
        if self.there.insert(hash) {
            self.order.push_back(hash);
        }
        while self.there.len() > most || self.order.len() > most + most / 2 {
            let Some(oldest) = self.order.pop_front() else { return };
            self.there.remove(&oldest);
        }
    }
}

/// An object, its bytes, and the hash of its key.
type Entry = (Arc<Object>, u64, u64);

#[derive(Debug, Default)]
struct Queue {
    /// Weak, so that what was removed otherwise does not stay in memory; with its bytes and the
    /// hash of its key.
    entries: VecDeque<(Weak<Object>, u64, u64)>,
    bytes: u64,
}

impl Queue {
    fn push(&mut self, object: &Arc<Object>, bytes: u64, hash: u64) {
        self.entries.push_back((Arc::downgrade(object), bytes, hash));
        self.bytes += bytes;
    }

    fn pop(&mut self) -> Option<(Option<Arc<Object>>, u64, u64)> {
        let (object, bytes, hash) = self.entries.pop_front()?;
        self.bytes -= bytes;
        Some((object.upgrade().filter(|object| object.is_kept()), bytes, hash))
    }

    fn sweep(&mut self) {
        let mut bytes = 0;
        self.entries.retain(|(object, size, _)| {
            let kept = object.upgrade().is_some_and(|object| object.is_kept());
            bytes += if kept { *size } else { 0 };
            kept
        });
        self.bytes = bytes;
    }
}

impl Queues {
    /// Adds a complete object.
    pub fn add(&mut self, object: &Arc<Object>, hash: u64) {
        let bytes = object.settled.load(Ordering::Relaxed);
        if self.ghosts.take(hash) {
            self.main.push(object, bytes, hash);
        } else {
            self.small.push(object, bytes, hash);
        }
    }

    /// Chooses who goes next and takes it out of the queues; tells too whether it was popular.
    /// Objects that are being read stay, and their readers hear of it.
    pub fn victim(&mut self) -> Option<(Arc<Object>, bool)> {
        for _ in 0..MOST_PASSED {
            let ((object, bytes, hash), popular) = self.unused()?;
            if !object.content.is_held() {
                return Some((object, popular));
            }
            object.content.want_back();
            self.main.push(&object, bytes, hash);
        }
        None
    }

    /// The next one that has not been used lately.
    fn unused(&mut self) -> Option<(Entry, bool)> {
        loop {
            let total = self.small.bytes + self.main.bytes;
            let from_small =
                self.small.bytes * 100 > total * SMALL_PERCENT || self.main.entries.is_empty();
            if from_small {
                let (object, bytes, hash) = self.small.pop()?;
                let Some(object) = object else { continue };
                if object.used.swap(0, Ordering::Relaxed) > 0 {
                    self.main.push(&object, bytes, hash);
                    continue;
                }
                let most = self.main.entries.len() + self.small.entries.len() + 64;
                self.ghosts.remember(hash, most);
                return Some(((object, bytes, hash), false));
            }
            let Some((Some(object), bytes, hash)) = self.main.pop() else { continue };
            let used = object.used.load(Ordering::Relaxed);
            if used > 0 {
                object.used.store(used - 1, Ordering::Relaxed);
                self.main.push(&object, bytes, hash);
                continue;
            }
            return Some(((object, bytes, hash), true));
        }
    }

    /// Forgets entries of objects that have gone otherwise, when there are many: each still takes
    /// the memory of the structure.
    pub fn sweep(&mut self, kept: usize) {
        if self.small.entries.len() + self.main.entries.len() > kept + kept / 4 + 64 {
            self.small.sweep();
            self.main.sweep();
        }
    }
}

//! Where objects are kept: shards by key, a bound in bytes for all of them together, and who is
//! filling what.
//!
//! Locks are per shard, held for a look-up or a change of a few pointers, never across a wait;
//! never two at a time.

mod bounds;
mod filling;
mod forms;
mod keeping;
mod parts;
pub mod purging;
mod slot;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use crate::cache::{
    budget::Budget, disk::Disk, eviction::Queues, key::Key, object::Object, pauses::Pauses,
    unshared::Unshared,
};
pub use filling::Join;
use purging::Purging;
use slot::{Digests, Slot};

const SHARDS: usize = 32;

/// The store. Followers of a fill that came to nothing are told an `E`, which is nothing to the
/// cache.
#[derive(Debug)]
pub struct Store<E> {
    shards: Box<[Mutex<Shard<E>>]>,
    hasher: RandomState,
    budget: Arc<Budget>,
    /// What memory cannot hold, where there is such a tier.
    disk: ArcSwapOption<Disk>,
    /// Bytes of the complete objects that are kept: what eviction can give back once nobody reads
    /// it.
    settled: AtomicU64,
    /// The same of each shard.
    weights: [AtomicU64; SHARDS],
    objects: AtomicU64,
    purging: Purging,
    /// The shard that gives something up next, once the fullest has nothing.
    next_victim: AtomicUsize,
}

#[derive(Debug)]
struct Shard<E> {
    /// Which one it is.
    index: usize,
    slots: HashMap<Key, Slot<E>>,
    queues: Queues,
    objects: usize,
    unshared: Unshared,
    pauses: Pauses,
}

impl<E> Shard<E> {
    fn new(index: usize) -> Self {
        Self {
            index,
            slots: HashMap::new(),
            queues: Queues::default(),
            objects: 0,
            unshared: Unshared::default(),
            pauses: Pauses::default(),
        }
    }
}

impl<E> Store<E> {
    /// An empty store for so many bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|index| Mutex::new(Shard::new(index))).collect(),
            hasher: RandomState::new(),
            budget: Budget::new(capacity),
            disk: ArcSwapOption::empty(),
            settled: AtomicU64::new(0),
            weights: Default::default(),
            objects: AtomicU64::new(0),
            purging: Purging::default(),
            next_victim: AtomicUsize::new(0),
        })
    }

    /// The account of everything that is kept or passes through.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The disk tier, where there is one.
    #[must_use]
    pub fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.load_full()
    }

    /// From now on this is the disk tier.
    pub fn set_disk(&self, disk: Option<Arc<Disk>>) {
        self.disk.store(disk);
    }

    /// The newest variant that `fields` of a request select. Counts as a use.
    pub fn find<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Arc<Object>> {
        self.peek(key, fields).inspect(|found| found.touch())
    }

    /// The same. Does not count as a use.
    pub fn peek<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Arc<Object>> {
        let shard = self.shard(key).0;
        let slot = shard.slots.get(key)?;
        let Some(lists) = slot.lists.clone() else { return slot.variants.first().cloned() };
        drop(shard);
        // Hashing what an origin names and a client sends is nothing to do under the lock.
        let digests = Digests::new(Some(&lists), fields);
        self.shard(key).0.slots.get(key)?.pick(&digests).cloned()
    }

    /// Every variant kept for a key, newest first. Does not count as a use.
    #[must_use]
    pub fn variants(&self, key: &Key) -> Vec<Arc<Object>> {
        self.shard(key).0.slots.get(key).map(|slot| slot.variants.clone()).unwrap_or_default()
    }

    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// The shard of a key, by its index, and the hash of the key.
    fn place(&self, key: &Key) -> (usize, u64) {
        let hash = self.hasher.hash_one(key);
        ((hash >> 32) as usize % SHARDS, hash)
    }

    fn shard(&self, key: &Key) -> (MutexGuard<'_, Shard<E>>, usize, u64) {
        let (index, hash) = self.place(key);
        #[allow(clippy::indexing_slicing)] // `index` is below SHARDS, the length
        (lock(&self.shards[index]), index, hash)
    }
}

fn lock<E>(shard: &Mutex<Shard<E>>) -> MutexGuard<'_, Shard<E>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

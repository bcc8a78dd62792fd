//! Where objects are kept: shards by key, a bound in bytes for all of them together, and who is filling what.
//!
//! Locks are per shard, held for a look-up or a change of a few pointers, never across a wait; never two at a time.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use crate::cache::{
    eviction::Queues,
    key::Key,
    object::{OVERHEAD, Object},
    ticket::{Outcome, Pending, Ticket},
    vary::{self, Selection},
};

const SHARDS: usize = 32;
/// Variants kept of one key; the oldest goes.
const MOST_VARIANTS: usize = 32;

/// The store.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    capacity: AtomicU64,
    used: AtomicU64,
    objects: AtomicU64,
    /// The shard that gives something up next, once the one that grows has nothing.
    next_victim: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<Key, Slot>,
    queues: Queues,
    objects: usize,
}

/// Everything about one key.
#[derive(Debug, Default)]
struct Slot {
    /// Newest first.
    variants: Vec<Arc<Object>>,
    fills: Vec<Arc<Pending>>,
    /// The fields that the newest response named in Vary.
    vary: Vec<Box<str>>,
}

/// What a request that found nothing fit does.
#[derive(Debug)]
pub enum Join {
    /// It fills.
    Lead(Ticket),
    /// Somebody fills already.
    Follow(watch::Receiver<Outcome>),
    /// Somebody has just filled: look again.
    Changed(Arc<Object>),
}

impl Store {
    /// An empty store for so many bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            capacity: AtomicU64::new(capacity),
            used: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            next_victim: AtomicUsize::new(0),
        })
    }

    /// The newest variant that `fields` of a request select. Counts as a use.
    pub fn find<'a>(&self, key: &Key, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Option<Arc<Object>> {
        let shard = self.shard(key).0;
        let found = shard.slots.get(key)?.variants.iter().find(|object| vary::selects(&object.selection, fields.clone()))?.clone();
        drop(shard);
        found.touch();
        Some(found)
    }

    /// Leads a fill or follows one. `seen` is what was found and judged unfit.
    pub fn join<'a>(
        self: &Arc<Self>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        seen: Option<&Arc<Object>>,
    ) -> Join {
        let mut shard = self.shard(key).0;
        let slot = shard.slots.entry(key.clone()).or_default();
        let now = slot.variants.iter().find(|object| vary::selects(&object.selection, fields.clone()));
        if let Some(object) = now
            && !seen.is_some_and(|seen| Arc::ptr_eq(seen, object))
        {
            return Join::Changed(object.clone());
        }
        let others = slot.fills.iter().find(|pending| !pending.alone && vary::selects(&pending.selection, fields.clone()));
        if let Some(pending) = others {
            return Join::Follow(pending.outcome.subscribe());
        }
        let pending = Arc::new(Pending::new(vary::select(&slot.vary, fields)));
        slot.fills.push(pending.clone());
        Join::Lead(Ticket { store: self.clone(), key: key.clone(), pending })
    }

    /// Leads a fill that nobody else waits for.
    #[must_use]
    pub fn lead(self: &Arc<Self>, key: &Key) -> Ticket {
        let pending = Arc::new(Pending { alone: true, ..Pending::new(Selection::new()) });
        // It is listed all the same, so that a change of the URL meanwhile reaches it.
        self.shard(key).0.slots.entry(key.clone()).or_default().fills.push(pending.clone());
        Ticket { store: self.clone(), key: key.clone(), pending }
    }

    /// Takes an object in, in place of `old` and of every variant that the same request fields select. Its body may still be growing; what the
    /// body holds already is counted here.
    pub(super) fn insert(&self, object: &Arc<Object>) -> bool {
        let bytes = OVERHEAD + object.head.len() as u64 + object.key.as_bytes().len() as u64 + object.body.len();
        if bytes > self.capacity.load(Ordering::Relaxed) {
            return false;
        }
        let (mut shard, index, hash) = self.shard(&object.key);
        let slot = shard.slots.entry(object.key.clone()).or_default();
        slot.vary = object.selection.iter().map(|(name, _)| name.clone()).collect();
        let mut gone: Vec<Arc<Object>> = Vec::new();
        slot.variants.retain(|old| {
            let same = old.selection == object.selection;
            if same {
                gone.push(old.clone());
            }
            !same
        });
        slot.variants.insert(0, object.clone());
        if slot.variants.len() > MOST_VARIANTS {
            gone.extend(slot.variants.pop());
        }
        gone.iter().for_each(|old| self.discharge(&mut shard, old));
        object.kept.store(true, Ordering::Release);
        object.charged.store(bytes, Ordering::Relaxed);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.objects.fetch_add(1, Ordering::Relaxed);
        shard.objects += 1;
        if object.body.whole().is_some() {
            shard.queues.add(object, hash);
        }
        let objects = shard.objects;
        shard.queues.sweep(objects);
        drop(shard);
        if self.evict(index) {
            return true;
        }
        self.remove(object);
        false
    }

    /// Counts `bytes` more for an object whose body grows. False: there is no room, and the object is no longer kept.
    pub fn grow(&self, object: &Arc<Object>, bytes: u64) -> bool {
        let (shard, index, _) = self.shard(&object.key);
        if !object.is_kept() {
            return false;
        }
        object.charged.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_add(bytes, Ordering::Relaxed);
        drop(shard);
        if self.evict(index) {
            return true;
        }
        self.remove(object);
        false
    }

    /// The body is complete: from now on the object may be evicted.
    pub fn settle(&self, object: &Arc<Object>) {
        let (mut shard, index, hash) = self.shard(&object.key);
        if object.is_kept() {
            shard.queues.add(object, hash);
        }
        drop(shard);
        // The bound may have been lowered while nothing here could go.
        self.evict(index);
    }

    /// Removes an object.
    pub fn remove(&self, object: &Arc<Object>) {
        let mut shard = self.shard(&object.key).0;
        if let Some(slot) = shard.slots.get_mut(&object.key) {
            slot.variants.retain(|kept| !Arc::ptr_eq(kept, object));
            if slot.variants.is_empty() && slot.fills.is_empty() {
                shard.slots.remove(&object.key);
            }
        }
        self.discharge(&mut shard, object);
    }

    pub(super) fn leave(&self, key: &Key, pending: &Arc<Pending>) {
        let mut shard = self.shard(key).0;
        if let Some(slot) = shard.slots.get_mut(key) {
            slot.fills.retain(|other| !Arc::ptr_eq(other, pending));
            if slot.variants.is_empty() && slot.fills.is_empty() {
                shard.slots.remove(key);
            }
        }
    }

    /// Removes everything kept for a key, and keeps nothing of the fills in progress. Tells how many objects went.
    pub fn invalidate(&self, key: &Key) -> u64 {
        let mut shard = self.shard(key).0;
        let Some(slot) = shard.slots.remove(key) else { return 0 };
        self.clear(&mut shard, &slot)
    }

    /// Removes everything whose URL begins so. Tells how many objects went.
    pub fn purge_prefix(&self, prefix: &[u8]) -> u64 {
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let keys: Vec<Key> = shard.slots.keys().filter(|key| key.as_bytes().starts_with(prefix)).cloned().collect();
            for key in keys {
                if let Some(slot) = shard.slots.remove(&key) {
                    removed += self.clear(&mut shard, &slot);
                }
            }
        }
        removed
    }

    /// Every variant kept for a key, newest first. Does not count as a use.
    #[must_use]
    pub fn variants(&self, key: &Key) -> Vec<Arc<Object>> {
        self.shard(key).0.slots.get(key).map(|slot| slot.variants.clone()).unwrap_or_default()
    }

    /// Sets the bound in bytes; evicts down to it.
    pub fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
        self.evict(0);
    }

    /// The bound in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Bytes counted.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Objects kept.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    fn clear(&self, shard: &mut Shard, slot: &Slot) -> u64 {
        slot.variants.iter().for_each(|object| self.discharge(shard, object));
        for pending in &slot.fills {
            pending.void.store(true, Ordering::Release);
        }
        slot.variants.len() as u64
    }

    /// No longer counts an object. The slot is the caller's business.
    fn discharge(&self, shard: &mut Shard, object: &Object) {
        if object.kept.swap(false, Ordering::AcqRel) {
            self.used.fetch_sub(object.charged.load(Ordering::Relaxed), Ordering::Relaxed);
            self.objects.fetch_sub(1, Ordering::Relaxed);
            shard.objects -= 1;
        }
    }

    /// Evicts until the bound holds, from the shard that grew first. False: only fills in progress are left.
    fn evict(&self, first: usize) -> bool {
        let mut index = first;
        let mut empty = 0;
        while self.used() > self.capacity() {
            if empty > SHARDS {
                return false;
            }
            let Some(shard) = self.shards.get(index) else { return false };
            let mut shard = lock(shard);
            if let Some(object) = shard.queues.victim() {
                empty = 0;
                if let Some(slot) = shard.slots.get_mut(&object.key) {
                    slot.variants.retain(|kept| !Arc::ptr_eq(kept, &object));
                    if slot.variants.is_empty() && slot.fills.is_empty() {
                        shard.slots.remove(&object.key);
                    }
                }
                self.discharge(&mut shard, &object);
            } else {
                empty += 1;
                index = self.next_victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
            }
        }
        true
    }

    fn shard(&self, key: &Key) -> (MutexGuard<'_, Shard>, usize, u64) {
        let hash = self.hasher.hash_one(key);
        let index = (hash >> 32) as usize % SHARDS;
        #[allow(clippy::indexing_slicing)] // `index` is below SHARDS, the length
        (lock(&self.shards[index]), index, hash)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

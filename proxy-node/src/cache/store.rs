//! Where objects are kept: shards by key, a bound in bytes for all of them together, and who is
//! filling what.
//!
//! Locks are per shard, held for a look-up or a change of a few pointers, never across a wait;
//! never two at a time.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::cache::{
    budget::{Budget, Charge},
    eviction::Queues,
    key::Key,
    object::Object,
    ticket::{Follower, Pending, Ticket},
    unshared::Unshared,
    vary::{self, Names, Selection},
};

const SHARDS: usize = 32;
/// Variants kept of one key; the oldest goes.
const MOST_VARIANTS: usize = 32;
/// Different lists of names in Vary that the variants of one key may have; variants with older ones
/// go. A request is hashed once for each.
const MOST_LISTS: usize = 4;

/// The store.
#[derive(Debug)]
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    budget: Arc<Budget>,
    /// Bytes of the complete objects that are kept: what eviction can give back once nobody reads
    /// it.
    settled: AtomicU64,
    objects: AtomicU64,
    /// The shard that gives something up next, once the one that grows has nothing.
    next_victim: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<Key, Slot>,
    queues: Queues,
    objects: usize,
    unshared: Unshared,
}

/// Everything about one key.
#[derive(Debug, Default)]
struct Slot {
    /// Newest first.
    variants: Vec<Arc<Object>>,
    fills: Vec<Arc<Pending>>,
    /// The lists of request fields that the variants named in Vary, newest first. `None`: no
    /// variant names any.
    lists: Option<Arc<[Names]>>,
}

impl Slot {
    /// The newest variant with one of these digests.
    fn pick(&self, digests: &Digests) -> Option<&Arc<Object>> {
        self.variants.iter().find(|object| digests.contains(object.selection.digest()))
    }

    /// Computes the lists anew; variants whose list is one too many go into `gone`.
    fn list(&mut self, gone: &mut Vec<Arc<Object>>) {
        let mut lists: Vec<Names> = Vec::new();
        self.variants.retain(|object| {
            let Some(names) = object.selection.names() else { return true };
            let known = lists.iter().any(|other| Arc::ptr_eq(other, names) || other == names);
            if !known && lists.len() == MOST_LISTS {
                gone.push(object.clone());
                return false;
            }
            if !known {
                lists.push(names.clone());
            }
            true
        });
        self.lists = (!lists.is_empty()).then(|| lists.into());
    }
}

/// What a request selects by each list of names.
#[derive(Clone, Copy, Debug)]
struct Digests([u64; MOST_LISTS]);

impl Digests {
    fn new<'a>(
        lists: Option<&[Names]>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Self {
        let mut digests = [0; MOST_LISTS];
        for (digest, names) in digests.iter_mut().zip(lists.unwrap_or_default()) {
            *digest = vary::digest(names, fields.clone());
        }
        Self(digests)
    }

    /// 0 is selected by every request.
    fn contains(&self, digest: u64) -> bool {
        digest == 0 || self.0.contains(&digest)
    }
}

/// What a request that found nothing fit does.
#[derive(Debug)]
pub enum Join {
    /// It fills.
    Lead(Ticket),
    /// Somebody fills already.
    Follow(Follower),
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
            budget: Budget::new(capacity),
            settled: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            next_victim: AtomicUsize::new(0),
        })
    }

    /// The account of everything that is kept or passes through.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// The newest variant that `fields` of a request select. Counts as a use.
    pub fn find<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Arc<Object>> {
        let shard = self.shard(key).0;
        let slot = shard.slots.get(key)?;
        let found = match slot.lists.clone() {
            None => slot.variants.first()?.clone(),
            Some(lists) => {
                drop(shard);
                // Hashing what an origin names and a client sends is nothing to do under the lock.
                let digests = Digests::new(Some(&lists), fields);
                self.shard(key).0.slots.get(key)?.pick(&digests)?.clone()
            }
        };
        found.touch();
        Some(found)
    }

    /// Leads a fill or follows one, `now` in steady seconds. `seen` is what was found and judged
    /// unfit.
    pub fn join<'a>(
        self: &Arc<Self>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        seen: Option<&Arc<Object>>,
        now: u64,
    ) -> Join {
        let lists = self.shard(key).0.slots.get(key).and_then(|slot| slot.lists.clone());
        let digests = Digests::new(lists.as_deref(), fields.clone());
        let selection = lists
            .as_deref()
            .and_then(<[Names]>::first)
            .map_or_else(Selection::default, |names| vary::select(names, fields));
        let (mut shard, _, hash) = self.shard(key);
        let alone = shard.unshared.contains(hash, now);
        let slot = shard.slots.entry(key.clone()).or_default();
        if let Some(object) = slot.pick(&digests)
            && !seen.is_some_and(|seen| Arc::ptr_eq(seen, object))
        {
            return Join::Changed(object.clone());
        }
        let others = slot
            .fills
            .iter()
            .find(|pending| !pending.alone && digests.contains(pending.selection.digest()));
        if !alone && let Some(pending) = others {
            return Join::Follow(Follower::new(pending));
        }
        let pending = Arc::new(Pending { alone, ..Pending::new(selection) });
        slot.fills.push(pending.clone());
        Join::Lead(Ticket { store: self.clone(), key: key.clone(), pending })
    }

    /// Leads a fill that nobody else waits for.
    #[must_use]
    pub fn lead(self: &Arc<Self>, key: &Key) -> Ticket {
        let pending = Arc::new(Pending { alone: true, ..Pending::new(Selection::default()) });
        // It is listed all the same, so that a change of the URL meanwhile reaches it.
        self.shard(key).0.slots.entry(key.clone()).or_default().fills.push(pending.clone());
        Ticket { store: self.clone(), key: key.clone(), pending }
    }

    /// The answer for this key, `now` in steady seconds, was for one request only: for a while
    /// nobody waits for another's.
    pub fn note_unshared(&self, key: &Key, now: u64) {
        let (mut shard, _, hash) = self.shard(key);
        shard.unshared.note(hash, now);
    }

    /// Whether that was said of a key.
    #[must_use]
    pub fn is_unshared(&self, key: &Key, now: u64) -> bool {
        let (shard, _, hash) = self.shard(key);
        shard.unshared.contains(hash, now)
    }

    /// Takes an object in, in place of `old` and of every variant that the same request fields
    /// select. Its body may still be growing.
    pub(super) fn insert(&self, object: &Arc<Object>) -> bool {
        if object.bytes() > self.capacity() {
            return false;
        }
        let (mut shard, index, hash) = self.shard(&object.key);
        shard.unshared.forget(hash);
        let slot = shard.slots.entry(object.key.clone()).or_default();
        let mut gone: Vec<Arc<Object>> = Vec::new();
        slot.variants.retain(|old| {
            let same = old.selection.digest() == object.selection.digest();
            if same {
                gone.push(old.clone());
            }
            !same
        });
        // Most keys have one.
        slot.variants.reserve_exact(1);
        slot.variants.insert(0, object.clone());
        if slot.variants.len() > MOST_VARIANTS {
            gone.extend(slot.variants.pop());
        }
        if slot.lists.is_some() || object.selection.names().is_some() {
            slot.list(&mut gone);
        }
        gone.iter().for_each(|old| self.discharge(&mut shard, old));
        object.kept.store(true, Ordering::Release);
        self.objects.fetch_add(1, Ordering::Relaxed);
        shard.objects += 1;
        if object.body.whole().is_some() {
            self.count(&mut shard, object, hash);
        }
        let objects = shard.objects;
        shard.queues.sweep(objects);
        drop(shard);
        drop(gone);
        if self.evict(index) {
            return true;
        }
        self.remove(object);
        false
    }

    /// Memory for a body that grows and has `own` bytes. `None`: there is none beside what is being
    /// read and filled.
    ///
    /// What is in flight (bodies that are not complete, or that are only read any more) has half of
    /// the memory; a body that has hardly any company may take more, so that the largest object
    /// fits into a small cache.
    pub fn admit(&self, object: &Arc<Object>, own: u64, bytes: u64) -> Option<Charge> {
        if !object.is_kept() || !self.has_room_in_flight(own, bytes) {
            return None;
        }
        let mut index = (self.hasher.hash_one(&object.key) >> 32) as usize % SHARDS;
        let mut empty = 0;
        loop {
            if let Some(charge) = self.budget.try_hold(bytes) {
                return Some(charge);
            }
            if !self.evict_one(&mut index, &mut empty) {
                return None;
            }
        }
    }

    /// Whether a body that has `own` bytes may grow by `bytes` more, as far as other bodies in
    /// flight are concerned.
    #[must_use]
    pub fn has_room_in_flight(&self, own: u64, bytes: u64) -> bool {
        let (flight, capacity) = (self.in_flight(), self.capacity());
        flight.saturating_add(bytes) <= capacity / 2
            || (flight.saturating_sub(own) <= capacity / 8 && own.saturating_add(bytes) <= capacity)
    }

    /// Whether so much is in flight that those who read slowly what is not kept have to go.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.in_flight() > self.capacity() / 4 || self.budget.is_pressed()
    }

    /// Whether one more request may be served that the cache does not answer; makes room for it if
    /// it has to.
    #[must_use]
    pub fn has_room_for_work(&self) -> bool {
        !self.budget.is_exhausted() || self.evict(self.next_victim.load(Ordering::Relaxed) % SHARDS)
    }

    /// Bytes of what is not complete, or is not kept and still read.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.budget.held().saturating_sub(self.settled.load(Ordering::Relaxed))
    }

    /// The body is complete: from now on the object may be evicted.
    pub fn settle(&self, object: &Arc<Object>) {
        let (mut shard, index, hash) = self.shard(&object.key);
        if object.is_kept() {
            self.count(&mut shard, object, hash);
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
            if slot.fills.is_empty() {
                slot.fills = Vec::new();
            }
            if slot.variants.is_empty() && slot.fills.is_empty() {
                shard.slots.remove(key);
            }
        }
    }

    /// Removes everything kept for a key, and keeps nothing of the fills in progress. Tells how
    /// many objects went.
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
            let keys: Vec<Key> = shard
                .slots
                .keys()
                .filter(|key| key.as_bytes().starts_with(prefix))
                .cloned()
                .collect();
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
        self.budget.set_capacity(capacity);
        self.evict(0);
    }

    /// The bound in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.budget.capacity()
    }

    /// Bytes held, by the cache or by those who still read what it has given up.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.budget.held()
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

    /// Counts a complete object as one that can be evicted.
    fn count(&self, shard: &mut Shard, object: &Arc<Object>, hash: u64) {
        let bytes = object.bytes();
        object.settled.store(bytes, Ordering::Relaxed);
        self.settled.fetch_add(bytes, Ordering::Relaxed);
        shard.queues.add(object, hash);
    }

    /// No longer counts an object. The slot is the caller's business.
    fn discharge(&self, shard: &mut Shard, object: &Object) {
        if object.kept.swap(false, Ordering::AcqRel) {
            self.settled.fetch_sub(object.settled.load(Ordering::Relaxed), Ordering::Relaxed);
            self.objects.fetch_sub(1, Ordering::Relaxed);
            shard.objects -= 1;
        }
    }

    /// Evicts until the bound holds, from the shard that grew first. False: only what is being
    /// filled or read is left.
    fn evict(&self, first: usize) -> bool {
        let mut index = first;
        let mut empty = 0;
        while self.budget.is_over() {
            if !self.evict_one(&mut index, &mut empty) {
                return false;
            }
        }
        true
    }

    /// Evicts one object. `index`: the shard that is asked; `empty`: how many have had nothing one
    /// after another. False: nobody has.
    fn evict_one(&self, index: &mut usize, empty: &mut usize) -> bool {
        while *empty <= SHARDS {
            let Some(shard) = self.shards.get(*index) else { return false };
            let mut shard = lock(shard);
            if let Some(object) = shard.queues.victim() {
                *empty = 0;
                if let Some(slot) = shard.slots.get_mut(&object.key) {
                    slot.variants.retain(|kept| !Arc::ptr_eq(kept, &object));
                    if slot.variants.is_empty() && slot.fills.is_empty() {
                        shard.slots.remove(&object.key);
                    }
                }
                self.discharge(&mut shard, &object);
                // Its memory goes without the lock.
                drop(shard);
                drop(object);
                return true;
            }
            *empty += 1;
            *index = self.next_victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        false
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

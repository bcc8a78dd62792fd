//! The bound in bytes: what still fits, and what goes so that it does.

use std::sync::{Arc, atomic::Ordering};

use super::{SHARDS, Store, lock};
use crate::cache::{
    budget::Charge,
    object::{Object, Placement},
};

impl<E> Store<E> {
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
        let grown = self.place(&object.key).0;
        let mut empty = 0;
        loop {
            if let Some(charge) = self.budget.try_hold(bytes) {
                return Some(charge);
            }
            if !self.evict_one(grown, &mut empty) {
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

    /// Evicts until the bound holds. False: only what is being filled or read is left.
    pub(super) fn evict(&self, grown: usize) -> bool {
        let mut empty = 0;
        while self.budget.is_over() {
            if !self.evict_one(grown, &mut empty) {
                return false;
            }
        }
        true
    }

    /// Whose turn it is to give something up: the shard that has `grown` if it has its share, and
    /// else the fullest. If always the one that grows did, shards would keep whatever part of the
    /// memory they got by chance.
    fn fullest(&self, grown: usize) -> usize {
        let weight =
            |index: usize| self.weights.get(index).map_or(0, |it| it.load(Ordering::Relaxed));
        if weight(grown) * SHARDS as u64 >= self.settled.load(Ordering::Relaxed) {
            return grown;
        }
        (0..SHARDS).max_by_key(|index| weight(*index)).unwrap_or(grown)
    }

    /// Evicts one object, as the shard of this index has `grown`. `empty`: how many shards have had
    /// nothing one after another. False: nobody has.
    fn evict_one(&self, grown: usize, empty: &mut usize) -> bool {
        let mut index = self.fullest(grown);
        while *empty <= SHARDS {
            let Some(shard) = self.shards.get(index) else { return false };
            let mut shard = lock(shard);
            if let Some((object, popular)) = shard.queues.victim() {
                *empty = 0;
                if let Some(slot) = shard.slots.get_mut(&object.key) {
                    slot.remove(&object);
                    if slot.is_empty() {
                        shard.slots.remove(&object.key);
                    }
                }
                self.discharge(&mut shard, &object);
                // Its memory goes without the lock.
                drop(shard);
                if popular
                    && object.part.is_none()
                    && object.placement != Placement::Memory
                    && let Some(disk) = &*self.disk.load()
                    && !disk.contains(&object.key)
                {
                    self.offer(&object, true);
                }
                drop(object);
                return true;
            }
            *empty += 1;
            index = self.next_victim.fetch_add(1, Ordering::Relaxed) % SHARDS;
        }
        false
    }
}

//! How an object gets into the store, and how it leaves.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Shard, Store, slot::Slot};
use crate::cache::{
    disk::spool::Spool,
    key::Key,
    object::{Object, Placement},
    ticket::Pending,
};

/// A body of more than this part of the memory is written to the disk while it comes.
const SPOOLED: u64 = 8;
/// Variants kept of one key; the oldest goes.
pub(super) const MOST_VARIANTS: usize = 32;

impl<E> Store<E> {
    /// Takes an object in, in place of every variant that the same request fields select, unless
    /// the URL was changed or something was purged that concerns it since its fill began. Its body
    /// may still be growing.
    pub(in crate::cache) fn insert(&self, object: &Arc<Object>, fill: &Pending<E>) -> bool {
        if object.bytes() > self.capacity() {
            return false;
        }
        object.begun.store(fill.begun, Ordering::Relaxed);
        if object.content.is_on_disk() {
            return self.refresh_on_disk(object);
        }
        if object.part.is_some() {
            return self.insert_part(object, fill);
        }
        let (mut shard, index, hash) = self.shard(&object.key);
        // Under the lock, so that no purge comes in between.
        if fill.void.load(Ordering::Acquire) || self.purging.concerns(object) {
            return false;
        }
        shard.unshared.forget(hash);
        shard.pauses.forget(hash);
        let slot = shard.slots.entry(object.key.clone()).or_default();
        let mut gone: Vec<Arc<Object>> = Vec::new();
        slot.variants.retain(|old| {
            let same = old.selection.digest() == object.selection.digest();
            if same {
                gone.push(old.clone());
            }
            !same
        });
        // The whole is coming, or here.
        slot.retain_parts(|part| {
            let same = part.selection.digest() == object.selection.digest();
            if same {
                gone.push(part.clone());
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
        self.take_in(&mut shard, object, &gone, hash);
        drop(shard);
        drop(gone);
        if self.evict(index) {
            if object.content.is_complete() {
                self.offer(object, false);
            }
            return true;
        }
        self.remove(object);
        false
    }

    /// An object has taken its place, and that of those which have `gone`.
    pub(super) fn take_in(
        &self,
        shard: &mut Shard<E>,
        object: &Arc<Object>,
        gone: &[Arc<Object>],
        hash: u64,
    ) {
        gone.iter().for_each(|old| self.discharge(shard, old));
        object.kept.store(true, Ordering::Release);
        self.objects.fetch_add(1, Ordering::Relaxed);
        shard.objects += 1;
        if object.content.is_complete() {
            self.count(shard, object, hash);
        }
        let objects = shard.objects;
        shard.queues.sweep(objects);
    }

    /// What is known of a body that stays on the disk has changed: that alone is written again.
    fn refresh_on_disk(&self, object: &Arc<Object>) -> bool {
        if self.purging.concerns(object) {
            return false;
        }
        let (mut shard, _, hash) = self.shard(&object.key);
        shard.pauses.forget(hash);
        drop(shard);
        self.offer(object, false);
        true
    }

    /// Takes an object in that has come from the disk, unless something newer is there already; its
    /// body may still be growing. Answers what there is then, if it is something else.
    pub(in crate::cache) fn promote(
        &self,
        object: &Arc<Object>,
        fill: &Pending<E>,
    ) -> Option<Arc<Object>> {
        let shard = self.shard(&object.key).0;
        let selected = object.selection.digest();
        let newer = shard.slots.get(&object.key).and_then(|slot| {
            slot.variants.iter().find(|other| other.selection.digest() == selected).cloned()
        });
        drop(shard);
        if newer.is_none() {
            self.insert(object, fill);
        }
        newer
    }

    /// The disk may have it, unless it is for memory alone or has been purged: it has a later
    /// number there than a purge that came before. What is for the disk alone stays no longer here.
    pub(super) fn offer(&self, object: &Arc<Object>, popular: bool) {
        let alone = object.placement == Placement::Disk;
        if object.placement != Placement::Memory
            && let Some(disk) = &*self.disk.load()
        {
            let unpurged = || !object.is_purged() && !self.purging.concerns(object);
            disk.offer(object, popular || alone, unpurged);
        }
        if alone {
            self.remove(object);
        }
    }

    /// Has the body of an object written while it comes, which memory may not hold, if there is a
    /// disk that takes it.
    #[must_use]
    pub fn spool(&self, object: &Object) -> Option<Spool> {
        let length = object.declared.filter(|length| *length > self.capacity() / SPOOLED)?;
        if object.placement == Placement::Memory || object.part.is_some() {
            return None;
        }
        self.disk.load().as_ref()?.spool(object, length)
    }

    /// Whether a body of this length, which memory has no room for, may be kept on the disk.
    #[must_use]
    pub fn may_spool(&self, length: u64) -> bool {
        length > self.capacity() / SPOOLED
            && self.disk.load().as_ref().is_some_and(|disk| disk.takes(length))
    }

    /// The body is complete, and what there is of it on the disk too.
    pub fn settle_spooled(&self, object: &Arc<Object>, spool: Spool) {
        spool.finish(object, || !object.is_purged() && !self.purging.concerns(object));
        if object.placement == Placement::Disk {
            return self.remove(object);
        }
        self.settle_promoted(object);
    }

    /// The body is complete: from now on the object may be evicted, and it is written to the disk.
    pub fn settle(self: &Arc<Self>, object: &Arc<Object>) {
        if object.part.is_some() {
            return self.settle_part(object);
        }
        self.settle_promoted(object);
        if object.is_kept() {
            self.offer(object, false);
        }
    }

    /// The same of an object that has come from there.
    pub fn settle_promoted(&self, object: &Arc<Object>) {
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
            slot.remove(object);
            if slot.is_empty() {
                shard.slots.remove(&object.key);
            }
        }
        self.discharge(&mut shard, object);
    }

    /// What is stored is not what its origin has any more: it goes, on the disk too.
    pub fn outdate(&self, object: &Arc<Object>) {
        self.remove(object);
        if let Some(disk) = &*self.disk.load() {
            disk.forget(&object.key);
        }
    }

    /// Removes everything kept for a key, on the disk too, and keeps nothing of the fills in
    /// progress. Tells how many objects went.
    pub fn invalidate(&self, key: &Key) -> u64 {
        let removed = self.invalidate_in_memory(key);
        // Most of what is in memory is on the disk as well.
        removed.max(self.disk.load().as_ref().map_or(0, |disk| disk.forget(key)))
    }

    /// The same, in memory alone.
    pub(super) fn invalidate_in_memory(&self, key: &Key) -> u64 {
        let mut shard = self.shard(key).0;
        let Some(slot) = shard.slots.remove(key) else { return 0 };
        self.clear(&mut shard, &slot)
    }

    pub(super) fn clear(&self, shard: &mut Shard<E>, slot: &Slot<E>) -> u64 {
        slot.variants.iter().chain(slot.parts()).for_each(|object| self.discharge(shard, object));
        for pending in &slot.fills {
            pending.void.store(true, Ordering::Release);
        }
        (slot.variants.len() + slot.parts().len()) as u64
    }

    /// Counts a complete object as one that can be evicted.
    pub(super) fn count(&self, shard: &mut Shard<E>, object: &Arc<Object>, hash: u64) {
        let bytes = object.bytes();
        object.settled.store(bytes, Ordering::Relaxed);
        self.settled.fetch_add(bytes, Ordering::Relaxed);
        self.weight(shard).fetch_add(bytes, Ordering::Relaxed);
        shard.queues.add(object, hash);
    }

    /// No longer counts an object. The slot is the caller's business.
    pub(super) fn discharge(&self, shard: &mut Shard<E>, object: &Object) {
        if object.kept.swap(false, Ordering::AcqRel) {
            let bytes = object.settled.load(Ordering::Relaxed);
            self.settled.fetch_sub(bytes, Ordering::Relaxed);
            self.weight(shard).fetch_sub(bytes, Ordering::Relaxed);
            self.objects.fetch_sub(1, Ordering::Relaxed);
            shard.objects -= 1;
        }
    }
    fn weight(&self, shard: &Shard<E>) -> &AtomicU64 {
        #[allow(clippy::indexing_slicing)] // a shard's index is below SHARDS, the length
        &self.weights[shard.index]
    }
}

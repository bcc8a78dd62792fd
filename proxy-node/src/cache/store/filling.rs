//! Who fills a key, and who waits for it.

use std::sync::Arc;

use super::{Store, slot::Digests};
use crate::cache::{
    key::Key,
    object::Object,
    ticket::{Follower, Pending, Ticket},
    vary::{self, Names, Selection},
};

/// What a request that found nothing fit does.
#[derive(Debug)]
pub enum Join<E> {
    Lead(Ticket<E>),
    /// Somebody fills already.
    Follow(Follower<E>),
    /// Somebody has just filled: look again.
    Changed(Arc<Object>),
}

impl<E> Store<E> {
    /// Leads a fill or follows one, `now` in steady seconds. `seen` is what was found and judged
    /// unfit.
    pub fn join<'a>(
        self: &Arc<Self>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        seen: Option<&Arc<Object>>,
        now: u64,
    ) -> Join<E> {
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
        if !alone && let Some(pending) = slot.shared_fill(&digests) {
            return Join::Follow(Follower::new(pending));
        }
        let pending = Arc::new(Pending { alone, ..Pending::new(selection, self.purging.begun()) });
        slot.fills.push(pending.clone());
        Join::Lead(Ticket { store: self.clone(), key: key.clone(), pending })
    }

    /// Leads a fill that nobody else waits for.
    #[must_use]
    pub fn lead(self: &Arc<Self>, key: &Key) -> Ticket<E> {
        let pending = Arc::new(Pending {
            alone: true,
            ..Pending::new(Selection::default(), self.purging.begun())
        });
        // It is listed all the same, so that a change of the URL meanwhile reaches it.
        self.shard(key).0.slots.entry(key.clone()).or_default().fills.push(pending.clone());
        Ticket { store: self.clone(), key: key.clone(), pending }
    }

    /// Leads the validation of what is `served` already. `None`: somebody fills what these fields
    /// select, or it is not there any more.
    pub fn lead_for<'a>(
        self: &Arc<Self>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        served: &Arc<Object>,
    ) -> Option<Ticket<E>> {
        let lists = self.shard(key).0.slots.get(key).and_then(|slot| slot.lists.clone());
        let digests = Digests::new(lists.as_deref(), fields);
        let mut shard = self.shard(key).0;
        let slot = shard.slots.get_mut(key)?;
        let current = slot.pick(&digests).is_some_and(|object| Arc::ptr_eq(object, served));
        if !current || slot.shared_fill(&digests).is_some() {
            return None;
        }
        let pending = Arc::new(Pending::new(served.selection.clone(), self.purging.begun()));
        slot.fills.push(pending.clone());
        Some(Ticket { store: self.clone(), key: key.clone(), pending })
    }

    /// Whether a request with these fields would follow a fill of another now: there is one, and
    /// the answers for the key are not for one request each.
    pub fn is_filled<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        now: u64,
    ) -> bool {
        let lists = self.shard(key).0.slots.get(key).and_then(|slot| slot.lists.clone());
        let digests = Digests::new(lists.as_deref(), fields);
        let (shard, _, hash) = self.shard(key);
        !shard.unshared.contains(hash, now)
            && shard.slots.get(key).is_some_and(|slot| slot.shared_fill(&digests).is_some())
    }

    /// The answer for this key, `now` in steady seconds, was for one request only: for a while
    /// nobody waits for another's.
    pub fn note_unshared(&self, key: &Key, now: u64) {
        let (mut shard, _, hash) = self.shard(key);
        shard.unshared.note(hash, now);
    }

    /// The validation of what is stored for this key, behind an answer, has failed, `now` in steady
    /// seconds: for a while it is not tried again.
    pub fn note_failed(&self, key: &Key, now: u64) {
        let (mut shard, _, hash) = self.shard(key);
        shard.pauses.note(hash, now);
    }

    /// Seconds for which what is stored for a key is not validated behind an answer; 0: it may be.
    #[must_use]
    pub fn pause(&self, key: &Key, now: u64) -> u64 {
        let (shard, _, hash) = self.shard(key);
        shard.pauses.left(hash, now)
    }

    /// Whether the answers for a key are for one request each.
    #[must_use]
    pub fn is_unshared(&self, key: &Key, now: u64) -> bool {
        let (shard, _, hash) = self.shard(key);
        shard.unshared.contains(hash, now)
    }

    pub(in crate::cache) fn leave(&self, key: &Key, pending: &Arc<Pending<E>>) {
        let mut shard = self.shard(key).0;
        if let Some(slot) = shard.slots.get_mut(key) {
            slot.fills.retain(|other| !Arc::ptr_eq(other, pending));
            if slot.fills.is_empty() {
                slot.fills = Vec::new();
            }
            if slot.is_empty() {
                shard.slots.remove(key);
            }
        }
    }
}

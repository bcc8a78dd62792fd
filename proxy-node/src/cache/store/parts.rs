//! Parts of what nobody has whole (RFC 9111 §3.3, §3.4): those of the same thing are put together
//! as soon as they meet, and are an answer like any other once nothing is missing.
//!
//! The same thing is what has the same strong entity tag, the same length, and the same request
//! fields that select it. Where two of one tag do not agree, neither is believed.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::Store;
use crate::cache::{
    content::{
        Content,
        memory::{Body, charged},
    },
    facts::{ContentRange, Part, ResponseFacts},
    key::Key,
    object::{self, Object, Parts},
    ticket::Pending,
    vary,
};

/// Parts kept of one key that do not touch each other; the oldest goes.
pub(super) const MOST_PARTS: usize = 16;

impl<E> Store<E> {
    /// The stored part that `fields` of a request select and that is `fit`. Does not count as a
    /// use.
    pub fn part<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        fit: impl Fn(&Object) -> bool,
    ) -> Option<Arc<Object>> {
        let is_fit = |part: &&Arc<Object>| {
            part.content.is_complete()
                && fit(part)
                && vary::selects(&part.selection, fields.clone())
        };
        self.parts(key).iter().rev().find(is_fit).cloned()
    }

    /// Every part kept for a key, the oldest first.
    #[must_use]
    pub fn parts(&self, key: &Key) -> Vec<Arc<Object>> {
        let shard = self.shard(key).0;
        shard.slots.get(key).map(|slot| slot.parts().to_vec()).unwrap_or_default()
    }

    /// Takes a part in (RFC 9111 §3.3), whose body may still be growing. Parts, or a whole, of what
    /// its answer shows to be gone give way; where the whole is there already, or what is there
    /// does not agree with it, it is not kept.
    pub(super) fn insert_part(&self, object: &Arc<Object>, fill: &Pending<E>) -> bool {
        let (mut shard, index, hash) = self.shard(&object.key);
        // Under the lock, so that no purge comes in between.
        if fill.void.load(Ordering::Acquire) || self.purging.concerns(object) {
            return false;
        }
        let Some(slot) = shard.slots.get_mut(&object.key) else { return false };
        let digest = object.selection.digest();
        let (mut gone, mut agrees) = (Vec::new(), true);
        let mut stays = |other: &Arc<Object>| {
            if other.selection.digest() != digest {
                return true;
            }
            let same = other.etag == object.etag;
            agrees &= !same || (other.part.is_some() && is_same(other, object));
            let stays = same && agrees;
            if !stays && (other.part.is_some() || !same) {
                gone.push(other.clone());
                return false;
            }
            true
        };
        slot.variants.retain(&mut stays);
        slot.retain_parts(&mut stays);
        if agrees {
            let parts = slot.parts.get_or_insert_default();
            parts.0.push(object.clone());
            if parts.0.len() > MOST_PARTS {
                gone.push(parts.0.remove(0));
            }
            self.take_in(&mut shard, object, &gone, hash);
        } else {
            gone.iter().for_each(|old| self.discharge(&mut shard, old));
        }
        drop(shard);
        drop(gone);
        if agrees && !self.evict(index) {
            self.remove(object);
            return false;
        }
        agrees
    }

    /// The body of a part is complete: it is put together with those that it touches (RFC 9110
    /// §15.3.7.3, RFC 9111 §3.4).
    pub(super) fn settle_part(self: &Arc<Self>, part: &Arc<Object>) {
        // Listed, so that a purge meanwhile reaches what comes of it.
        let ticket = self.lead(&part.key);
        let (mut part, mut counted) = (part.clone(), false);
        for _ in 0..=MOST_PARTS {
            let Some(others) = self.take_touching(&part, counted) else { return };
            let Some(combined) = combined(&part, &others) else { return };
            let combined = Arc::new(combined);
            if !self.insert(&combined, &ticket.pending) || combined.part.is_none() {
                return;
            }
            (part, counted) = (combined, true);
        }
    }

    /// Takes a part out, with those that it touches. `None`: it stays as it is, or has gone.
    fn take_touching(&self, part: &Arc<Object>, counted: bool) -> Option<Vec<Arc<Object>>> {
        let its = part.part.as_ref()?;
        if part.content.len() != its.len() {
            self.remove(part);
            return None;
        }
        let (mut shard, index, hash) = self.shard(&part.key);
        if !part.is_kept() {
            return None;
        }
        let slot = shard.slots.get_mut(&part.key)?;
        let touches = |other: &&Arc<Object>| {
            !Arc::ptr_eq(other, part)
                && other.content.is_complete()
                && other.selection.digest() == part.selection.digest()
                && is_same(other, part)
                // Whether a client may have it depends on where it came from.
                && other.from == part.from
                && other.part.as_ref().is_some_and(|other| other.touches(its))
        };
        let others: Vec<Arc<Object>> = slot.parts().iter().filter(touches).cloned().collect();
        if others.is_empty() && !its.is_whole() {
            if !counted {
                self.count(&mut shard, part, hash);
            }
            drop(shard);
            self.evict(index);
            return None;
        }
        for object in others.iter().chain([part]) {
            slot.remove(object);
        }
        others.iter().chain([part]).for_each(|object| self.discharge(&mut shard, object));
        Some(others)
    }
}

/// Whether two are parts of the same thing.
fn is_same(one: &Object, other: &Object) -> bool {
    let of = |object: &Object| object.part.as_ref().map(|part| part.of);
    one.etag == other.etag && of(one).is_some() && of(one) == of(other)
}

/// What a part and those that it touches are together, with the head and the freshness of the part,
/// which is the newest (RFC 9111 §3.4). `None`: they do not agree on bytes that both have.
fn combined(newest: &Object, others: &[Arc<Object>]) -> Option<Object> {
    let its = newest.part.as_deref()?;
    let mut parts: Vec<(&Part, &Object)> =
        others.iter().filter_map(|it| Some((it.part.as_deref()?, &**it))).collect();
    parts.push((its, newest));
    parts.sort_by_key(|(part, _)| part.bytes.start);
    let budget = newest.content.budget();
    let start = parts.first()?.0.bytes.start;
    let mut end = start;
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut before: Vec<(&Part, &Object)> = Vec::new();
    for (part, object) in parts {
        let mut at = part.bytes.start;
        for piece in object.content.at_hand()? {
            let known = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let (old, new) = piece.split_at(known.min(piece.len()));
            let agree = |(part, object): &(&Part, &Object)| agrees(part, object, at, old);
            if !old.is_empty() && !before.iter().all(agree) {
                return None;
            }
            // What shares a piece with bytes that are there twice is copied, and their memory
            // goes.
            match (old.len(), new.len()) {
                (_, 0) => {}
                (0, _) => pieces.push(piece.clone()),
                _ => pieces.push(charged(budget, new)),
            }
            at += piece.len() as u64;
        }
        end = end.max(part.bytes.end);
        before.push((part, object));
    }
    let content = Content::Memory(Body::of(budget, pieces));
    let whole = end - start == its.of;
    let status = if whole { 200 } else { 206 };
    let content_range = if whole {
        ContentRange::None
    } else {
        ContentRange::Part(Part { bytes: start..end, of: its.of })
    };
    let facts = ResponseFacts {
        status,
        etag: newest.etag.clone(),
        last_modified: newest.last_modified,
        last_modified_text: newest.last_modified_text.clone(),
        content_range,
        ..ResponseFacts::default()
    };
    let head = if whole { object::whole(&newest.head).into() } else { newest.head.clone() };
    let ingredients = Parts {
        key: newest.key.clone(),
        head,
        selection: newest.selection.clone(),
        from: newest.from,
        freshness: newest.freshness,
        declared: Some(end - start),
        content,
    };
    Some(Object::new(&facts, ingredients).placed(newest.placement))
}

/// Whether a part has these bytes at this place, as far as it has any there.
fn agrees(part: &Part, object: &Object, at: u64, bytes: &[u8]) -> bool {
    let end = at + bytes.len() as u64;
    let (from, to) = (at.max(part.bytes.start), end.min(part.bytes.end));
    let place = |absolute: u64, start: u64| usize::try_from(absolute - start).unwrap_or(usize::MAX);
    from >= to
        || bytes
            .get(place(from, at)..place(to, at))
            .is_some_and(|both| object.content.matches(from - part.bytes.start, both))
}

#[cfg(test)]
mod tests;

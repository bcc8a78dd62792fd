//! Everything about one key: its variants, and who fills it.

use std::sync::Arc;

use crate::cache::{
    object::Object,
    ticket::Pending,
    vary::{self, Names},
};

/// Different lists of names in Vary that the variants of one key may have; variants with older ones
/// go. A request is hashed once for each.
pub(super) const MOST_LISTS: usize = 4;

/// Everything about one key.
#[derive(Debug)]
pub(super) struct Slot<E> {
    pub(super) variants: Vec<Arc<Object>>,
    /// Parts of what is not there whole. Most keys have none.
    pub(super) parts: Option<Box<Parts>>,
    pub(super) fills: Vec<Arc<Pending<E>>>,
    /// The lists of request fields that the variants named in Vary, newest first. `None`: no
    /// variant names any.
    pub(super) lists: Option<Arc<[Names]>>,
}

/// Parts of what is not there whole, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Parts(pub(super) Vec<Arc<Object>>);

impl<E> Default for Slot<E> {
    fn default() -> Self {
        Self { variants: Vec::new(), parts: None, fills: Vec::new(), lists: None }
    }
}

impl<E> Slot<E> {
    /// Whether nothing is stored and nobody fills, so that it can go.
    pub(super) const fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.parts.is_none() && self.fills.is_empty()
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, object: &Arc<Object>) {
        if object.part.is_some() {
            self.retain_parts(|kept| !Arc::ptr_eq(kept, object));
        } else {
            self.variants.retain(|kept| !Arc::ptr_eq(kept, object));
        }
    }

    /// The parts, the oldest first.
    pub(super) fn parts(&self) -> &[Arc<Object>] {
        self.parts.as_ref().map_or(&[], |parts| &parts.0)
    }

    /// Takes out those that do not stay.
    pub(super) fn retain_parts(&mut self, stays: impl FnMut(&Arc<Object>) -> bool) {
        let Some(parts) = &mut self.parts else { return };
        parts.0.retain(stays);
        if parts.0.is_empty() {
            self.parts = None;
        }
    }

    /// The newest variant with one of these digests.
    pub(super) fn pick(&self, digests: &Digests) -> Option<&Arc<Object>> {
        self.variants.iter().find(|object| digests.contains(object.selection.digest()))
    }

    /// The fill under way that a request with one of these digests may follow.
    pub(super) fn shared_fill(&self, digests: &Digests) -> Option<&Arc<Pending<E>>> {
        self.fills
            .iter()
            .find(|pending| !pending.alone && digests.contains(pending.selection.digest()))
    }

    /// Computes the lists anew; variants whose list is one too many go into `gone`.
    pub(super) fn list(&mut self, gone: &mut Vec<Arc<Object>>) {
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
pub(super) struct Digests([u64; MOST_LISTS]);

impl Digests {
    pub(super) fn new<'a>(
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
    pub(super) fn contains(&self, digest: u64) -> bool {
        digest == 0 || self.0.contains(&digest)
    }
}

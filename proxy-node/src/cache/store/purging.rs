//! What is purged of what is stored, in both tiers, and of what is on its way there.
//!
//! Every purge has a number. A fill remembers the newest that was done when it began, and so does
//! the object that it becomes: what was begun before a purge that concerns it is not taken in, nor
//! written to the disk, however late it comes. A purge does its work in this order: it is listed,
//! so that nothing more is taken in; it goes through the memory, then to the disk; and only then a
//! fill that begins counts as begun after it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{Shard, Store, lock, slot::Slot};
use crate::cache::{
    key::Key,
    object::Object,
    purge::{Mode, Purge, Scope},
};

/// So long after a purge by tag, in seconds, others may not have heard of it.
const HEARD: u64 = 30;
/// Purges that are remembered. What began to be fetched before the oldest of more is not taken in.
const MOST: usize = 1024;

/// The purges of late.
#[derive(Debug, Default)]
pub(super) struct Purging {
    /// The number of the newest that is listed, and of the newest that is done.
    listed: AtomicU64,
    done: AtomicU64,
    recent: Mutex<Recent>,
    /// One after another.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Recent {
    purges: VecDeque<Numbered>,
    /// The number of the newest that is forgotten.
    forgotten: u64,
}

#[derive(Debug)]
struct Numbered {
    number: u64,
    purge: Arc<Purge>,
    /// When, in steady seconds; 0: nobody purged, and this node alone doubts what it has.
    at: u64,
}

/// What a purge came to.
#[derive(Debug)]
pub struct Purged {
    /// Objects of the memory.
    pub in_memory: u64,
    /// Objects of the disk, once it is written there; `None`: there is no such tier.
    pub on_disk: Option<oneshot::Receiver<Result<u64, String>>>,
}

impl Purged {
    /// Waits until it is on the disk, and tells how many objects it concerned: most of what is in
    /// memory is on the disk as well.
    ///
    /// # Errors
    /// It is gone for now, but what it took from the disk may be back after a restart.
    pub async fn lasting(self) -> Result<u64, String> {
        let Some(on_disk) = self.on_disk else { return Ok(self.in_memory) };
        let told = on_disk.await.unwrap_or_else(|_| Err("the disk cache is stopped".into()))?;
        Ok(told.max(self.in_memory))
    }
}

impl Purging {
    /// The number of the newest purge that is done.
    pub(super) fn begun(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Whether something was purged that concerns an object since it began to be fetched.
    pub(super) fn concerns(&self, object: &Object) -> bool {
        let begun = object.begun.load(Ordering::Relaxed);
        if self.listed.load(Ordering::Acquire) == begun {
            return false;
        }
        let recent = self.recent();
        begun < recent.forgotten
            || recent
                .purges
                .iter()
                .rev()
                .take_while(|purge| purge.number > begun)
                .any(|numbered| numbered.purge.scope.matches(object.key.as_bytes(), &object.tags))
    }

    fn list(&self, purge: Arc<Purge>, at: u64) -> u64 {
        let mut recent = self.recent();
        let number = self.listed.load(Ordering::Relaxed) + 1;
        if recent.purges.len() == MOST
            && let Some(oldest) = recent.purges.pop_front()
        {
            recent.forgotten = oldest.number;
        }
        recent.purges.push_back(Numbered { number, purge, at });
        self.listed.store(number, Ordering::Release);
        number
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E> Store<E> {
    /// Purges, `now` in steady seconds; 0: of this node's own accord. It may take a while where
    /// much is stored: not for a worker, unless it is of one URL.
    pub fn purge(&self, purge: &Arc<Purge>, now: u64) -> Purged {
        let _turn = self.purging.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.purging.list(purge.clone(), now);
        let in_memory = match (&purge.scope, purge.mode) {
            (Scope::Url(key), Mode::Hard) => self.invalidate_in_memory(key),
            (Scope::Url(key), Mode::Soft) => self.doubt(key),
            _ => self.sweep(purge),
        };
        let on_disk = self.disk.load().as_ref().map(|disk| disk.begin_purge((**purge).clone()));
        self.purging.done.store(number, Ordering::Release);
        Purged { in_memory, on_disk }
    }

    /// The last purge that concerns everything for a URL, and when it was, in steady seconds.
    #[must_use]
    pub fn last_purge(&self, key: &Key) -> Option<(Arc<Purge>, u64)> {
        let recent = self.purging.recent();
        let covers = |it: &&Numbered| it.at > 0 && it.purge.scope.covers(key.as_bytes());
        let last = recent.purges.iter().rev().find(covers)?;
        Some((last.purge.clone(), last.at))
    }

    /// How old something may be, in seconds, that another cache has for a key, so that it came
    /// after what was purged here and may not have been purged there yet. `None`: nothing was.
    #[must_use]
    pub fn since_purge(&self, key: &Key, now: u64) -> Option<u64> {
        if self.purging.begun() == 0 {
            return None;
        }
        let recent = self.purging.recent();
        let concerns = |numbered: &&Numbered| match numbered.purge.scope {
            // What its tags are, nobody knows before it is there.
            Scope::Tag(_) => now < numbered.at.saturating_add(HEARD),
            _ => numbered.at > 0 && numbered.purge.scope.covers(key.as_bytes()),
        };
        let newest = recent.purges.iter().rev().find(concerns)?;
        // Moments are known in seconds: what came in the same one may have come before.
        Some(now.saturating_sub(newest.at).saturating_sub(1))
    }

    /// All variants of a key are validated before they are used again, and nothing of the fills in
    /// progress is kept.
    fn doubt(&self, key: &Key) -> u64 {
        let mut shard = self.shard(key).0;
        let Some(slot) = shard.slots.get_mut(key) else { return 0 };
        void(slot);
        let mut variants = slot.variants.clone();
        variants.extend_from_slice(slot.parts());
        if slot.is_empty() {
            shard.slots.remove(key);
        }
        drop(shard);
        variants.iter().for_each(|object| self.take(object, Mode::Soft));
        variants.len() as u64
    }

    /// Goes through all shards. Tells how many objects it concerned.
    fn sweep(&self, purge: &Purge) -> u64 {
        let mut found = 0;
        for shard in &self.shards {
            Self::void_fills(shard, &purge.scope);
            // What has to be matched for each is nothing to do under the lock.
            let all: Vec<Arc<Object>> = lock(shard)
                .slots
                .values()
                .flat_map(|slot| slot.variants.iter().chain(slot.parts()).cloned())
                .collect();
            for object in all {
                if purge.scope.matches(object.key.as_bytes(), &object.tags) {
                    self.take(&object, purge.mode);
                    found += 1;
                }
            }
        }
        found
    }

    fn take(&self, object: &Arc<Object>, mode: Mode) {
        // What is still being fetched cannot be validated, nor can what is not whole.
        if mode == Mode::Soft && object.content.is_complete() && object.part.is_none() {
            object.purged.store(true, Ordering::Release);
        } else {
            self.remove(object);
        }
    }

    /// Nothing of the fills is kept that this concerns, and nobody new waits for them.
    fn void_fills(shard: &Mutex<Shard<E>>, scope: &Scope) {
        let mut shard = lock(shard);
        let filled = shard.slots.iter_mut().filter(|(_, slot)| !slot.fills.is_empty());
        let mut empty = Vec::new();
        for (key, slot) in filled.filter(|(key, _)| scope.covers(key.as_bytes())) {
            void(slot);
            if slot.is_empty() {
                empty.push(key.clone());
            }
        }
        for key in empty {
            shard.slots.remove(&key);
        }
    }
}

fn void<E>(slot: &mut Slot<E>) {
    for fill in std::mem::take(&mut slot.fills) {
        fill.void.store(true, Ordering::Release);
    }
}

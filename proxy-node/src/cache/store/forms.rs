//! What is kept of an object beside its body.

use std::sync::{Arc, atomic::Ordering};

use super::Store;
use crate::cache::object::Object;

impl<E> Store<E> {
    /// Counts an object again: it has another form now, which eviction gives back with it.
    pub fn recount(&self, object: &Arc<Object>) {
        // Under the lock, so that it is not discharged in between.
        let shard = self.shard(&object.key).0;
        let before = object.settled.load(Ordering::Relaxed);
        // One that is still filled is counted when it is complete.
        if object.is_kept() && before > 0 {
            let now = object.bytes();
            object.settled.store(now, Ordering::Relaxed);
            self.settled.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
            self.settled.fetch_sub(before.saturating_sub(now), Ordering::Relaxed);
        }
        drop(shard);
    }
}

//! Idle keep-alive connections of one worker, by upstream.
//!
//! The most recently used connection goes out first, so that what a quiet time does not need ages
//! out. A key's connections belong to a generation that the caller names: when a server drains or
//! is ejected its generation moves on, and no connection of an older one is handed out or taken
//! back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::clock;
use crate::method::Method;
use crate::stream::Stream;
use crate::worker::Worker;

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Idle connections for each upstream.
    pub per_upstream: usize,
    /// Idle connections of all upstreams together.
    pub total: usize,
    /// An idle connection is closed after this time; shorter than what upstreams do themselves.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_upstream: 32, total: 1024, idle: Duration::from_secs(30) }
    }
}

/// What a connection has to fulfil to be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The request can be sent again if the connection turns out to be dead: a look without a
    /// system call is enough.
    Replayable,
    /// It cannot: only a connection that has not been idle for longer than this, and is alive by
    /// the kernel's word.
    Fresh(Duration),
}

/// A connection that was idle for longer is not used for a request that cannot be repeated: the
/// peer may be closing it right now.
const FRESH_ENOUGH_FOR_ONCE: Duration = Duration::from_secs(1);

impl Reuse {
    /// For a request with this method.
    pub const fn of(method: Method) -> Self {
        if method.is_idempotent() { Self::Replayable } else { Self::Fresh(FRESH_ENOUGH_FOR_ONCE) }
    }
}

struct Idle {
    stream: Stream,
    generation: u64,
    since: Instant,
}

struct Inner<K> {
    limits: Limits,
    /// Oldest first.
    idle: HashMap<K, Vec<Idle>, RandomState>,
    total: usize,
}

/// A worker's idle upstream connections; clones share one pool.
pub struct Pool<K>(Rc<RefCell<Inner<K>>>);

impl<K> Clone for Pool<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Hash + Eq + Clone + 'static> Pool<K> {
    /// An empty pool, swept once a second for as long as it lives.
    pub fn new(worker: &Worker, limits: Limits) -> Self {
        let pool =
            Self(Rc::new(RefCell::new(Inner { limits, idle: HashMap::default(), total: 0 })));
        let (weak, wheel) = (Rc::downgrade(&pool.0), worker.wheel().clone());
        worker.background(move || sweep(weak.clone(), wheel.clone()));
        pool
    }

    /// New limits, in force from the next [`put`](Self::put) and sweep on.
    pub fn set_limits(&self, limits: Limits) {
        self.0.borrow_mut().limits = limits;
    }

    /// A live connection to `key` of at least this generation. Dead, aged and outdated ones on the
    /// way to it are closed.
    pub fn take(&self, key: &K, generation: u64, reuse: Reuse) -> Option<Stream> {
        let mut inner = self.0.borrow_mut();
        let inner = &mut *inner;
        let idle = inner.idle.get_mut(key)?;
        while let Some(candidate) = idle.last_mut() {
            let age = clock::since(candidate.since);
            match reuse {
                // Those below have been idle for longer still, and are good for others.
                Reuse::Fresh(limit) if age > limit => return None,
                Reuse::Fresh(_) | Reuse::Replayable => {}
            }
            let usable = candidate.generation >= generation
                && age < inner.limits.idle
                && !dead(&mut candidate.stream, reuse);
            let popped = idle.pop();
            inner.total -= 1;
            if usable {
                return popped.map(|idle| idle.stream);
            }
        }
        None
    }

    /// Keeps a connection whose exchange has ended in order, or closes it when there is no room.
    pub fn put(&self, key: K, generation: u64, mut stream: Stream) {
        stream.settle();
        if stream.looks_dead() {
            return;
        }
        let mut inner = self.0.borrow_mut();
        let inner = &mut *inner;
        if inner.limits.per_upstream == 0 || inner.total >= inner.limits.total {
            return;
        }
        let idle = inner.idle.entry(key).or_default();
        if idle.len() >= inner.limits.per_upstream {
            idle.remove(0);
            inner.total -= 1;
        }
        idle.push(Idle { stream, generation, since: clock::now() });
        inner.total += 1;
    }

    /// Closes the idle connections for which `keep` is false: of a server that drains, was ejected
    /// or has gone.
    pub fn retain(&self, mut keep: impl FnMut(&K, u64) -> bool) {
        self.0.borrow_mut().retain(|key, idle| keep(key, idle.generation));
    }

    /// Closes the connection that has been idle for longest, for the sake of its descriptor. False
    /// when none is idle.
    pub fn give_up_one(&self) -> bool {
        let mut inner = self.0.borrow_mut();
        let inner = &mut *inner;
        // Each list has its oldest first.
        let oldest = inner
            .idle
            .values_mut()
            .filter(|idle| !idle.is_empty())
            .min_by_key(|idle| idle[0].since);
        let Some(oldest) = oldest else { return false };
        oldest.remove(0);
        inner.total -= 1;
        true
    }

    /// Idle connections now.
    pub fn len(&self) -> usize {
        self.0.borrow().total
    }

    /// No connection is idle.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq> Inner<K> {
    fn retain(&mut self, mut keep: impl FnMut(&K, &mut Idle) -> bool) {
        self.idle.retain(|key, idle| {
            idle.retain_mut(|one| keep(key, one));
            !idle.is_empty()
        });
        self.total = self.idle.values().map(Vec::len).sum();
    }
}

fn dead(stream: &mut Stream, reuse: Reuse) -> bool {
    match reuse {
        Reuse::Replayable => stream.looks_dead(),
        Reuse::Fresh(_) => stream.is_dead(),
    }
}

/// Closes what has aged or died, so that neither this side's nor the upstream's descriptors are
/// held for nothing.
async fn sweep<K: Hash + Eq>(pool: Weak<RefCell<Inner<K>>>, wheel: crate::wheel::Wheel) {
    loop {
        wheel.sleep(Duration::from_secs(1)).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut inner = pool.borrow_mut();
        let limit = inner.limits.idle;
        inner.retain(|_, idle| clock::since(idle.since) < limit && !idle.stream.looks_dead());
    }
}

#[cfg(test)]
mod tests;

//! What the memory of the cache is spent on. Every byte that is kept, or held for somebody who
//! reads, has a [`Charge`] here from its allocation until the last of those who refer to it lets
//! go: evicting an object gives back what nobody reads, and no more than that.
//!
//! Two sums: what is *held* (heads, keys and bodies, in the cache or only with readers any more)
//! and what is at *work* (requests on their way past the cache, bodies that are passed on and not
//! kept). Work has an allowance of its own beside the configured memory; beyond it, it displaces
//! what is cached, and when even that is gone, new work is refused.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What work may take beside the configured memory, in bytes. The process itself, buffers of idle
/// connections and what allocation wastes have to fit into the rest of the 64 MiB that a node may
/// take beyond what is configured.
pub const WORK: u64 = 16 << 20;
/// From here on bodies that are only passed on get a smaller window, in bytes.
const PRESSED: u64 = WORK / 2;

#[derive(Debug)]
pub struct Budget {
    capacity: AtomicU64,
    held: AtomicU64,
    work: AtomicU64,
}

/// Which of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Held,
    Work,
}

impl Budget {
    /// An account for so many bytes.
    #[must_use]
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self {
            capacity: AtomicU64::new(capacity),
            held: AtomicU64::new(0),
            work: AtomicU64::new(0),
        })
    }

    /// Charges memory for what is kept, if it fits.
    #[must_use]
    pub fn try_hold(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        let most = self.capacity().saturating_sub(self.displaced());
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Charge { budget: self.clone(), bytes, sum: Sum::Held })
    }

    /// Charges memory for what is kept, whether it fits or not: [`is_over`](Self::is_over) says so
    /// afterwards.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Charge {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes, sum: Sum::Held }
    }

    /// Charges memory for what passes through.
    #[must_use]
    pub fn work(self: &Arc<Self>, bytes: u64) -> Charge {
        self.work.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes, sum: Sum::Work }
    }

    /// The configured bound in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.capacity.store(capacity, Ordering::Relaxed);
    }

    /// Bytes held: by the cache, or by nobody but readers any more.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes at work.
    #[must_use]
    pub fn at_work(&self) -> u64 {
        self.work.load(Ordering::Relaxed)
    }

    /// Whether something has to go.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.held().saturating_add(self.displaced()) > self.capacity()
    }

    /// Whether what passes through takes much already.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.at_work() > PRESSED
    }

    /// Whether work has come to where it takes from what is cached.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.at_work() > WORK && self.is_over()
    }

    /// What work takes from the cache.
    fn displaced(&self) -> u64 {
        self.at_work().saturating_sub(WORK)
    }

    fn sum(&self, sum: Sum) -> &AtomicU64 {
        match sum {
            Sum::Held => &self.held,
            Sum::Work => &self.work,
        }
    }
}

/// So many bytes of the account, given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    sum: Sum,
}

impl Charge {
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but so many.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.budget.sum(self.sum).fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.sum(self.sum).fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_is_given_back() {
        let budget = Budget::new(100);
        let mut first = budget.try_hold(60).unwrap();
        assert!(budget.try_hold(41).is_none());
        let second = budget.try_hold(40).unwrap();
        assert_eq!((budget.held(), budget.is_over()), (100, false));
        first.shrink(10);
        assert_eq!((budget.held(), first.bytes()), (50, 10));
        drop((first, second));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn work_takes_from_the_cache_what_its_allowance_does_not_cover() {
        let budget = Budget::new(100);
        let _object = budget.hold(90);
        let allowed = budget.work(WORK);
        assert!(!budget.is_over() && budget.is_pressed());
        let more = budget.work(11);
        assert!(budget.is_over() && budget.try_hold(0).is_none() && budget.is_exhausted());
        drop(more);
        assert!(!budget.is_over() && !budget.is_exhausted() && budget.try_hold(10).is_some());
        drop(allowed);
        assert!(!budget.is_pressed());
    }
}

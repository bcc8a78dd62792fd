//! Counters of the data path: each worker has its own, and reading adds them up.
//!
//! A [`Count`] has one writer, so that counting is a plain load and store on a cache line that no
//! other core writes. Readers (gRPC, metrics) see values that are at most an instant old.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter or gauge with one writing thread.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. To be called from the owning worker's thread only.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// One less, for gauges.
    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Overwrites.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now; any thread.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One of something for each worker, and one for what a process before this one has counted.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[T]>);

impl<T: Default> PerWorker<T> {
    /// All at zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..=workers.max(1)).map(|_| T::default()).collect())
    }
}

impl<T> PerWorker<T> {
    /// That of one worker.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker % (self.0.len() - 1)]
    }

    /// That of the process before; no worker writes there.
    pub(crate) fn before(&self) -> &T {
        &self.0[self.0.len() - 1]
    }

    /// Those of all workers, and that of the process before.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&T) -> &Count) -> u64 {
        self.0.iter().map(|it| count(it).get()).sum()
    }

    /// The greatest over all workers.
    #[must_use]
    pub fn max(&self, count: impl Fn(&T) -> &Count) -> u64 {
        self.0.iter().map(|it| count(it).get()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counts {
        requests: Count,
        active: Count,
    }

    #[test]
    fn workers_add_up() {
        let counts = PerWorker::<Counts>::new(2);
        counts.of(0).requests.add(3);
        counts.of(1).requests.up();
        counts.of(1).active.up();
        counts.of(1).active.down();
        counts.of(1).active.down();
        assert_eq!(counts.sum(|it| &it.requests), 4);
        assert_eq!(counts.sum(|it| &it.active), 0);
        assert_eq!(counts.max(|it| &it.requests), 3);
    }
}

//! How many may have something at a time, counted over all workers.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::SeqCst};

/// Any number.
const UNBOUNDED: u32 = u32::MAX;
/// Who has this rank gets nothing.
const NOBODY: u8 = u8::MAX;

/// See the module. What is taken while nothing is bounded is not counted, so that nobody pays for
/// a bound that there is not.
#[derive(Debug)]
pub struct Capacity {
    most: AtomicU32,
    held: AtomicU32,
    peak: AtomicU32,
    rank: AtomicU8,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            most: AtomicU32::new(UNBOUNDED),
            held: AtomicU32::default(),
            peak: AtomicU32::default(),
            rank: AtomicU8::new(NOBODY),
        }
    }
}

impl Capacity {
    /// So many; none: any number.
    pub fn bound(&self, most: Option<u32>) {
        self.most.store(most.unwrap_or(UNBOUNDED), SeqCst);
    }

    /// How many; none: any number.
    #[must_use]
    pub fn most(&self) -> Option<u32> {
        Some(self.most.load(SeqCst)).filter(|most| *most != UNBOUNDED)
    }

    /// How many are taken.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held.load(SeqCst)
    }

    /// The most that have been taken at a time.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.peak.load(SeqCst)
    }

    #[must_use]
    pub fn is_full(&self) -> bool {
        self.held() >= self.most.load(SeqCst)
    }

    /// Takes one, if there is one left.
    #[must_use]
    pub fn take(&self) -> bool {
        let most = self.most.load(SeqCst);
        let taken =
            self.held.fetch_update(SeqCst, SeqCst, |held| (held < most).then_some(held + 1));
        if let Ok(before) = taken {
            // Written only when it grows: the workers share it.
            if before + 1 > self.peak() {
                self.peak.fetch_max(before + 1, SeqCst);
            }
        }
        taken.is_ok()
    }

    /// Gives one back.
    pub fn give_back(&self) {
        self.held.fetch_sub(1, SeqCst);
    }

    /// To whom a place that is free may go: those who wait for servers of this rank. None: nobody.
    pub fn set_rank(&self, rank: Option<u8>) {
        self.rank.store(rank.unwrap_or(NOBODY), SeqCst);
    }

    /// See [`Capacity::set_rank`].
    #[must_use]
    pub fn rank(&self) -> u8 {
        self.rank.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_there_are() {
        let capacity = Capacity::default();
        assert!((0..1000).all(|_| capacity.take()));
        capacity.bound(Some(1001));
        assert!(capacity.take() && !capacity.take() && capacity.is_full());
        capacity.give_back();
        assert!(!capacity.is_full() && capacity.take());
        // A bound that shrinks takes nothing away from anybody.
        capacity.bound(Some(10));
        assert_eq!((capacity.take(), capacity.held(), capacity.peak()), (false, 1001, 1001));
        capacity.bound(None);
        assert!(capacity.take() && capacity.most().is_none());
    }

    #[test]
    fn threads_take_no_more_than_there_are() {
        let capacity = Capacity::default();
        capacity.bound(Some(3));
        let most = std::sync::atomic::AtomicU32::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        if capacity.take() {
                            most.fetch_max(capacity.held(), SeqCst);
                            std::thread::yield_now();
                            capacity.give_back();
                        }
                    }
                });
            }
        });
        assert!(most.load(SeqCst) <= 3 && capacity.peak() <= 3);
        assert_eq!(capacity.held(), 0);
    }
}

//! Keys whose answers turned out to be for one request each: nobody waits for another's fill of
//! them (what Varnish calls hit-for-miss).
//!
//! Bounded: the oldest is forgotten, which costs one round of waiting and nothing else. Keys are
//! remembered by their hash; two that share one are fetched without waiting for each other, and
//! stored all the same.

use std::collections::{HashMap, VecDeque};

/// Keys that one shard remembers.
const MOST: usize = 256;
/// How long one is remembered, in seconds.
pub const REMEMBERED: u64 = 120;

/// The keys of one shard.
#[derive(Debug, Default)]
pub struct Unshared {
    until: HashMap<u64, u64>,
    order: VecDeque<(u64, u64)>,
}

impl Unshared {
    /// An answer for this key was for one request only, now, in steady seconds.
    pub fn note(&mut self, hash: u64, now: u64) {
        let until = now.saturating_add(REMEMBERED);
        if self.until.insert(hash, until) == Some(until) {
            return;
        }
        self.order.push_back((hash, until));
        while self.order.len() > MOST {
            let Some((hash, until)) = self.order.pop_front() else { return };
            // Noted again since, it stays.
            if self.until.get(&hash) == Some(&until) {
                self.until.remove(&hash);
            }
        }
    }

    /// An answer for this key may be shared after all.
    pub fn forget(&mut self, hash: u64) {
        if !self.until.is_empty() {
            self.until.remove(&hash);
        }
    }

    /// Whether nobody waits for another's answer.
    #[must_use]
    pub fn contains(&self, hash: u64, now: u64) -> bool {
        self.until.get(&hash).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forgotten_in_time_and_in_number() {
        let mut unshared = Unshared::default();
        unshared.note(1, 10);
        assert!(
            unshared.contains(1, 10)
                && unshared.contains(1, 129)
                && !unshared.contains(1, 130)
                && !unshared.contains(2, 10)
        );
        for hash in 100..100_000 {
            unshared.note(hash, 20);
            unshared.note(7, 20 + hash);
        }
        assert!(
            !unshared.contains(1, 20)
                && unshared.contains(7, 100_000)
                && unshared.contains(99_999, 20)
        );
        assert!(unshared.until.len() <= MOST && unshared.order.len() <= MOST);
        unshared.forget(7);
        assert!(!unshared.contains(7, 100_000));
    }
}

//! Keys whose validation behind an answer has failed: it is tried again after a while, and not with
//! the next request. The while doubles with each failure.
//!
//! Bounded: where too many fail at once, those beyond are not remembered, and tried again at once.
//! Keys are remembered by their hash.

use std::collections::HashMap;

/// Keys that one shard remembers.
const MOST: usize = 1024;
/// Seconds of the first pause, and of the longest.
pub const FIRST: u64 = 1;
pub const LONGEST: u64 = 60;

/// The keys of one shard.
#[derive(Debug, Default)]
pub struct Pauses(HashMap<u64, Pause>);

#[derive(Clone, Copy, Debug)]
struct Pause {
    /// In steady seconds.
    until: u64,
    seconds: u64,
}

impl Pauses {
    /// It has failed, now, in steady seconds.
    pub fn note(&mut self, hash: u64, now: u64) {
        if self.0.len() >= MOST && !self.0.contains_key(&hash) {
            self.0.retain(|_, pause| pause.until > now);
            if self.0.len() >= MOST {
                return;
            }
        }
        // Who was quiet for long after the last pause begins anew.
        let seconds = match self.0.get(&hash) {
            Some(last) if now < last.until.saturating_add(LONGEST) => {
                last.seconds.saturating_mul(2).min(LONGEST)
            }
            _ => FIRST,
        };
        self.0.insert(hash, Pause { until: now.saturating_add(seconds), seconds });
    }

    /// It has not failed after all.
    pub fn forget(&mut self, hash: u64) {
        if !self.0.is_empty() {
            self.0.remove(&hash);
        }
    }

    /// Seconds for which it is not tried again; 0: it may be.
    #[must_use]
    pub fn left(&self, hash: u64, now: u64) -> u64 {
        self.0.get(&hash).map_or(0, |pause| pause.until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let mut pauses = Pauses::default();
        let mut now = 100;
        for want in [1, 2, 4, 8, 16, 32, 60, 60] {
            pauses.note(1, now);
            assert_eq!((pauses.left(1, now), pauses.left(2, now)), (want, 0));
            now += want;
            assert_eq!(pauses.left(1, now), 0);
        }
        pauses.forget(1);
        pauses.note(1, now);
        assert_eq!(pauses.left(1, now), FIRST);
        pauses.note(1, now + 1000);
        assert_eq!(pauses.left(1, now + 1000), FIRST, "that was long ago");
    }

    #[test]
    fn there_are_no_more_than_so_many() {
        let mut pauses = Pauses::default();
        for hash in 0..100_000 {
            pauses.note(hash, 10);
        }
        assert_eq!((pauses.0.len(), pauses.left(0, 10), pauses.left(99_999, 10)), (MOST, 1, 0));
        pauses.note(99_999, 11);
        assert_eq!((pauses.0.len(), pauses.left(99_999, 11)), (1, 1), "the others are over");
    }
}

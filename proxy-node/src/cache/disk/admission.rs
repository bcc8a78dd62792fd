//! What is worth a place on a full disk: something that has been asked for before. How often it was
//! is estimated by a count-min sketch whose counts are halved now and then (Einziger et al.,
//! TinyLFU, 2017). While there is room, everything is stored: it displaces nothing.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Counters, a byte each; a power of two.
const COUNTERS: usize = 1 << 20;
/// Counters that each hash has.
const ROWS: u32 = 4;
/// After so many uses all counts are halved.
const PERIOD: u64 = COUNTERS as u64 / 2;
/// The least uses that make something worth it.
const ASKED: u8 = 2;

/// How often hashes were asked for lately. Any thread counts; a count that is lost is no harm.
#[derive(Debug)]
pub struct Sketch {
    counters: Box<[AtomicU8]>,
    uses: AtomicU64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU8::new(0)).collect(),
            uses: AtomicU64::new(0),
        }
    }
}

impl Sketch {
    /// It was asked for.
    pub fn note(&self, hash: u64) {
        let least = self.estimate(hash);
        for counter in self.counters(hash) {
            if counter.load(Ordering::Relaxed) == least && least < u8::MAX {
                counter.store(least + 1, Ordering::Relaxed);
            }
        }
        if self.uses.fetch_add(1, Ordering::Relaxed) + 1 == PERIOD {
            self.uses.store(0, Ordering::Relaxed);
            for counter in &self.counters {
                counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    /// Whether it has been asked for more than once.
    #[must_use]
    pub fn is_worth_it(&self, hash: u64) -> bool {
        self.estimate(hash) >= ASKED
    }

    fn estimate(&self, hash: u64) -> u8 {
        self.counters(hash).map(|it| it.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    fn counters(&self, hash: u64) -> impl Iterator<Item = &AtomicU8> {
        (0..ROWS).filter_map(move |row| {
            let mixed =
                (hash.rotate_left(row * 16) ^ u64::from(row)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let at = usize::try_from(mixed >> (64 - COUNTERS.trailing_zeros())).ok()?;
            self.counters.get(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_is_not_enough_and_what_was_is_forgotten() {
        let sketch = Sketch::default();
        let hash = |number: u64| super::super::record::Secret(3).sum(&number.to_le_bytes());
        sketch.note(hash(1));
        assert!(!sketch.is_worth_it(hash(1)));
        sketch.note(hash(1));
        assert!(sketch.is_worth_it(hash(1)) && !sketch.is_worth_it(hash(2)));
        let scanned = (10..PERIOD + 10).filter(|number| {
            sketch.note(hash(*number));
            sketch.is_worth_it(hash(*number))
        });
        assert!(scanned.count() < PERIOD as usize / 4);
        assert!(!sketch.is_worth_it(hash(1)));
    }
}

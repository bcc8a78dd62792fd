//! How often things were asked for lately, estimated in bounded memory: a count-min sketch whose
//! counts are halved now and then (Einziger et al., TinyLFU, 2017). The disk tier asks it what is
//! worth a place; a node, what of other nodes' objects is worth a copy of its own.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Counters that each hash has.
const ROWS: u32 = 4;

/// How often hashes were asked for lately. Any thread counts; a count that is lost is no harm.
#[derive(Debug)]
pub struct Sketch {
    counters: Box<[AtomicU8]>,
    uses: AtomicU64,
}

impl Sketch {
    /// One of 2 to the power of `bits` counters, a byte each. All are halved after half as many
    /// uses.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self {
            counters: (0..1_u64 << bits.clamp(1, 30)).map(|_| AtomicU8::new(0)).collect(),
            uses: AtomicU64::new(0),
        }
    }

    /// It was asked for.
    pub fn note(&self, hash: u64) {
        let least = self.estimate(hash);
        for counter in self.counters(hash) {
            if counter.load(Ordering::Relaxed) == least && least < u8::MAX {
                counter.store(least + 1, Ordering::Relaxed);
            }
        }
        if self.uses.fetch_add(1, Ordering::Relaxed) + 1 == self.period() {
            self.uses.store(0, Ordering::Relaxed);
            for counter in &self.counters {
                counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    fn period(&self) -> u64 {
        self.counters.len() as u64 / 2
    }

    /// How often it was asked for lately, at the most.
    #[must_use]
    pub fn estimate(&self, hash: u64) -> u8 {
        self.counters(hash).map(|it| it.load(Ordering::Relaxed)).min().unwrap_or(0)
    }

    fn counters(&self, hash: u64) -> impl Iterator<Item = &AtomicU8> {
        (0..ROWS).filter_map(move |row| {
            let mixed =
                (hash.rotate_left(row * 16) ^ u64::from(row)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let at = usize::try_from(mixed >> (64 - self.counters.len().trailing_zeros())).ok()?;
            self.counters.get(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_is_not_enough_and_what_was_is_forgotten() {
        let sketch = Sketch::new(20);
        let (period, hash) =
            (sketch.period(), |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        sketch.note(hash(1));
        assert_eq!(sketch.estimate(hash(1)), 1);
        sketch.note(hash(1));
        assert_eq!((sketch.estimate(hash(1)), sketch.estimate(hash(2))), (2, 0));
        let scanned = (10..period + 10).filter(|number| {
            sketch.note(hash(*number));
            sketch.estimate(hash(*number)) >= 2
        });
        assert!(scanned.count() < period as usize / 4);
        assert!(sketch.estimate(hash(1)) < 2);
    }
}

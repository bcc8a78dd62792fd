//! Request ids: UUID v7 from the time and a generator of the worker's own, so that no request costs
//! a system call for randomness. They name requests in logs; they are unique, not secret.

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::{Builder, Uuid};

/// Makes ids for one worker.
#[derive(Debug)]
pub struct Ids(Cell<u64>);

impl Ids {
    /// From a seed that differs from worker to worker and from start to start; zero is replaced.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(Cell::new(if seed == 0 { 0x9e37_79b9_7f4a_7c15 } else { seed }))
    }

    /// The next id, for a request that began now.
    #[must_use]
    pub fn next(&self, now: SystemTime) -> Uuid {
        let millis = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        let (high, low) = (self.random().to_le_bytes(), self.random().to_le_bytes());
        let mut bits = [0; 10];
        bits[..8].copy_from_slice(&high);
        bits[8..].copy_from_slice(&low[..2]);
        Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
    }

    /// The id of a span.
    #[must_use]
    pub fn span(&self) -> u64 {
        self.random()
    }

    /// SplitMix64: every state follows every other, and consecutive ones have nothing in common.
    fn random(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn they_are_version_seven_and_differ() {
        let ids = Ids::seeded(1);
        let now = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_123);
        let made: HashSet<_> = (0..10_000).map(|_| ids.next(now)).collect();
        assert_eq!(made.len(), 10_000);
        for id in made {
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.as_u128() >> 80, 1_700_000_000_123);
        }
    }
}

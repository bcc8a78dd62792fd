//! How long to wait before the next attempt: exponential with jitter, so that a thousand nodes do
//! not come back in the same instant.
//!
//! Pure: a seed in, waiting times out.

use std::time::Duration;

use crate::random;

/// Waiting times between attempts. Attempt n waits between half and all of `base × 2ⁿ`, at most
/// `limit`.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    limit: Duration,
    attempt: u32,
    random: fastrand::Rng,
}

impl Backoff {
    /// `seed` tells this process's jitter from everybody else's.
    #[must_use]
    pub fn new(base: Duration, limit: Duration, seed: u64) -> Self {
        Self { base, limit, attempt: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// Jitter of its own, in each process and each time.
    #[must_use]
    pub fn seeded(base: Duration, limit: Duration) -> Self {
        Self::new(base, limit, random::seed())
    }

    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let full = self
            .base
            .saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX))
            .min(self.limit);
        self.attempt = (self.attempt + 1).min(31);
        let half = full / 2;
        half + half.mul_f64(self.random.f64())
    }

    /// The last attempt went well: the next failure waits for `base` again.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_stays_within_its_bounds() {
        for seed in 0..200 {
            let mut backoff =
                Backoff::new(Duration::from_millis(100), Duration::from_secs(5), seed);
            for attempt in 0..40_u32 {
                let full = Duration::from_millis(100)
                    .saturating_mul(1 << attempt.min(20))
                    .min(Duration::from_secs(5));
                let pause = backoff.pause();
                assert!(
                    pause >= full / 2 && pause <= full,
                    "seed {seed}, attempt {attempt}: {pause:?} of {full:?}"
                );
            }
            backoff.reset();
            assert!(backoff.pause() <= Duration::from_millis(100));
        }
    }

    #[test]
    fn seeds_differ() {
        let first =
            |seed| Backoff::new(Duration::from_secs(1), Duration::from_secs(9), seed).pause();
        assert_ne!(first(1), first(2));
    }
}

//! How long the latest requests of one backend took on one worker, for percentiles of them. Pure.

use std::time::Duration;

/// The latest so many.
const LATEST: usize = 512;
/// With fewer nothing is said.
const ENOUGH: usize = 64;
/// Percentiles are worked out anew after so many.
const EVERY: u32 = 32;

/// See the module. Empty, it has no memory of its own.
#[derive(Debug, Default)]
pub struct Latencies {
    /// In microseconds; the oldest is overwritten first.
    latest: Vec<u32>,
    next: usize,
    since: u32,
    sorted: Vec<u32>,
}

impl Latencies {
    /// One more.
    pub fn note(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.latest.len() < LATEST {
            self.latest.push(micros);
        } else {
            self.latest[self.next] = micros;
            self.next = (self.next + 1) % LATEST;
        }
        self.since += 1;
        if self.latest.len() >= ENOUGH && (self.since >= EVERY || self.sorted.is_empty()) {
            self.since = 0;
            self.sorted.clone_from(&self.latest);
            self.sorted.sort_unstable();
        }
    }

    /// What so many percent of them needed at the most; none: too few are known.
    #[must_use]
    pub fn of(&self, percent: u8) -> Option<Duration> {
        let place = (self.sorted.len() * usize::from(percent.min(100))).div_ceil(100);
        let micros = self.sorted.get(place.saturating_sub(1))?;
        Some(Duration::from_micros(u64::from(*micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_the_latest() {
        let mut latencies = Latencies::default();
        for millis in 1..=63 {
            latencies.note(Duration::from_millis(millis));
        }
        assert_eq!(latencies.of(50), None, "too few");
        for millis in 64..=100 {
            latencies.note(Duration::from_millis(millis));
        }
        // Worked out at the 64th and the 96th.
        for (percent, millis) in [(1, 1), (50, 48), (95, 92), (99, 96), (100, 96)] {
            assert_eq!(latencies.of(percent), Some(Duration::from_millis(millis)), "{percent}");
        }
        for _ in 0..LATEST + EVERY as usize {
            latencies.note(Duration::from_secs(10_000));
        }
        assert_eq!(latencies.of(1), Some(Duration::from_micros(u64::from(u32::MAX))), "forgotten");
        assert_eq!(latencies.latest.len(), LATEST);
    }
}

//! How long a server takes: an average that believes slow answers at once and quick ones slowly,
//! and that forgets what is long ago (peak exponentially weighted moving average, as in Finagle's
//! `p2c` balancer). Pure; times in microseconds, `now` in milliseconds of the process's uptime.

/// After so many milliseconds an answer counts for 1/e of what it did.
const DECAY: f64 = 10_000.0;

/// An average, and when the last answer came that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Average {
    pub micros: u64,
    /// Milliseconds of uptime.
    pub at: u64,
}

impl Average {
    /// With one answer more, which took so long.
    #[must_use]
    pub fn with(before: Option<Self>, took: u64, now: u64) -> Self {
        let micros = match before {
            Some(before) if took < before.micros => {
                let keep = weight(now.saturating_sub(before.at));
                (before.micros as f64).mul_add(keep, took as f64 * (1.0 - keep)) as u64
            }
            _ => took,
        };
        Self { micros, at: now }
    }

    /// What it is worth now: somebody who was slow long ago is asked again.
    #[must_use]
    pub fn now(self, now: u64) -> u64 {
        (self.micros as f64 * weight(now.saturating_sub(self.at))) as u64
    }
}

fn weight(elapsed: u64) -> f64 {
    (-(elapsed as f64) / DECAY).exp()
}

/// Whether a server that takes so long for so many requests under way is better than another. One
/// of which no answer is known is compared by its load alone, so that it neither gets everything
/// nor nothing.
#[must_use]
pub fn is_better(one: (Option<u64>, u64), other: (Option<u64>, u64)) -> bool {
    let cost = |time: u64, load: u64| u128::from(time + 1) * u128::from(load + 1);
    match (one.0, other.0) {
        (Some(mine), Some(theirs)) => cost(mine, one.1) < cost(theirs, other.1),
        _ => one.1 < other.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_answers_count_at_once_and_quick_ones_slowly() {
        let first = Average::with(None, 1_000, 1);
        let peak = Average::with(Some(first), 90_000, 2);
        assert_eq!((first.micros, peak.micros), (1_000, 90_000));
        let quick = Average::with(Some(peak), 1_000, 3);
        assert!((89_900..90_000).contains(&quick.micros), "{quick:?}");
        let after =
            (0..100).fold(quick, |it, turn| Average::with(Some(it), 1_000, 1_000 * (turn + 1)));
        assert!(after.micros < 1_010, "{after:?}");
    }

    #[test]
    fn what_is_long_ago_is_forgotten() {
        let slow = Average { micros: 500_000, at: 0 };
        assert!(slow.now(0) == 500_000 && slow.now(10_000) < 184_000 && slow.now(120_000) < 10);
    }

    #[test]
    fn who_is_better() {
        for (one, other, better) in [
            ((Some(10), 0), (Some(20), 0), true),
            ((Some(10), 3), (Some(20), 0), false),
            ((Some(10), 0), (Some(10), 0), false),
            ((None, 0), (Some(1), 1), true),
            ((None, 1), (Some(1_000_000), 1), false),
            ((Some(u64::MAX - 1), u64::MAX - 1), (None, 0), false),
        ] {
            assert_eq!(is_better(one, other), better, "{one:?} {other:?}");
        }
    }
}

//! What was counted in the last minute: counters only grow, and what clients get now is their
//! growth. Pure: seconds and counters come in.

use std::collections::VecDeque;

/// Seconds that count.
pub const WINDOW: u64 = 60;

/// Requests of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many seconds it covers, at most [`WINDOW`]; fewer after a start.
    pub seconds: u64,
    /// Requests that came.
    pub requests: u64,
    /// Those of them that ended with an error of the process's own.
    pub failed: u64,
}

impl Traffic {
    /// Both together: of two frontends, of two nodes.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            seconds: self.seconds.max(other.seconds),
            requests: self.requests.saturating_add(other.requests),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Whether at least `part` in a hundred failed, and at least `count`.
    #[must_use]
    pub const fn fails(self, part: u64, count: u64) -> bool {
        self.failed >= count
            && self.failed.saturating_mul(100) >= self.requests.saturating_mul(part)
    }
}

/// One look at two counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    second: u64,
    requests: u64,
    failed: u64,
}

/// The looks of the last minute, one a second.
#[derive(Clone, Debug)]
pub struct LastMinute(VecDeque<Sample>);

impl LastMinute {
    /// Begins at this second, with both counters at zero.
    #[must_use]
    pub fn starting(second: u64) -> Self {
        Self(VecDeque::from([Sample { second, requests: 0, failed: 0 }]))
    }

    /// Takes a look. One in the same second as the last, or before it, is none.
    pub fn look(&mut self, second: u64, requests: u64, failed: u64) {
        let sample = Sample { second, requests, failed };
        match self.0.back() {
            Some(last) if last.second >= second => return,
            // The counters began anew.
            Some(last) if last.requests > requests || last.failed > failed => self.0.clear(),
            _ => {}
        }
        self.0.push_back(sample);
        while self.0.len() > 1 && self.0.front().is_some_and(|first| second - first.second > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// What came since the oldest look of the last minute, with the counters as they are now.
    #[must_use]
    pub fn until(&self, second: u64, requests: u64, failed: u64) -> Traffic {
        let counts = |sample: &&Sample| second.saturating_sub(sample.second) <= WINDOW;
        let Some(oldest) = self.0.iter().find(counts).or(self.0.back()) else {
            return Traffic::default();
        };
        Traffic {
            seconds: second.saturating_sub(oldest.second).min(WINDOW),
            requests: requests.saturating_sub(oldest.requests),
            failed: failed.saturating_sub(oldest.failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_and_no_more() {
        let mut last = LastMinute::starting(100);
        assert_eq!(
            last.until(100, 3, 1),
            Traffic { seconds: 0, requests: 3, failed: 1 },
            "at once"
        );
        (101..=300).for_each(|second| last.look(second, (second - 100) * 10, second - 100));
        assert!(last.0.len() <= usize::try_from(WINDOW).unwrap() + 1, "bounded");
        assert_eq!(last.until(300, 2000, 200), Traffic { seconds: 60, requests: 600, failed: 60 });
        assert_eq!(last.until(301, 2000, 200), Traffic { seconds: 60, requests: 590, failed: 59 });
        assert_eq!(
            last.until(500, 2000, 200),
            Traffic { seconds: 60, requests: 0, failed: 0 },
            "nobody looked, and nothing came"
        );
        let looks = last.0.len();
        last.look(300, 9999, 9999);
        assert_eq!(last.0.len(), looks, "one look a second");
        assert_eq!(last.until(300, 2000, 200).requests, 600, "not twice in a second");
        last.look(302, 5, 0);
        assert_eq!(
            last.until(303, 9, 2),
            Traffic { seconds: 1, requests: 4, failed: 2 },
            "the counters began anew"
        );
    }

    #[test]
    fn one_counter_that_began_anew_is_enough() {
        for (requests, failed) in [(40, 60), (110, 3)] {
            let mut last = LastMinute::starting(0);
            last.look(1, 100, 50);
            last.look(2, requests, failed);
            assert_eq!(
                last.until(3, requests + 5, failed + 1),
                Traffic { seconds: 1, requests: 5, failed: 1 },
                "{requests} {failed}"
            );
        }
    }

    #[test]
    fn shares() {
        let traffic = |requests, failed| Traffic { seconds: 60, requests, failed };
        for (now, fails) in [
            (traffic(0, 0), false),
            (traffic(9, 9), false),
            (traffic(10, 10), true),
            (traffic(100, 10), true),
            (traffic(101, 10), false),
            (traffic(u64::MAX, u64::MAX), true),
        ] {
            assert_eq!(now.fails(10, 10), fails, "{now:?}");
        }
        assert_eq!(
            traffic(1, 2).plus(Traffic { seconds: 7, requests: 10, failed: 20 }),
            traffic(11, 22)
        );
    }
}

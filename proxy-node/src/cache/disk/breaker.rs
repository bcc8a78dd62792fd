//! Whether the disk is asked at all. One that fails or does not answer is left alone for a while,
//! so that no request waits for it again and again. Pure.

/// Failures in a row after which the disk is left alone.
const FAILURES: u32 = 5;
/// How long, in milliseconds; twice as long each time that it has not recovered.
const FIRST: u64 = 1_000;
const LONGEST: u64 = 60_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    /// How long it is left alone, and until when, in steady milliseconds.
    rest: u64,
    until: u64,
}

impl Breaker {
    /// Whether it may be asked now. After a rest one may ask, and the others wait for what comes of
    /// that.
    pub fn allows(&mut self, now: u64) -> bool {
        if self.failures < FAILURES {
            return true;
        }
        let due = now >= self.until;
        if due {
            self.until = now.saturating_add(self.rest);
        }
        due
    }

    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed. Answers whether it is left alone from now on, and was not before.
    pub fn failed(&mut self, now: u64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return false;
        }
        self.rest = if self.rest == 0 { FIRST } else { (self.rest * 2).min(LONGEST) };
        self.until = now.saturating_add(self.rest);
        self.failures == FAILURES
    }

    /// Whether it is left alone.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.failures >= FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_alone_and_tried_again() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            assert!(!breaker.failed(0) && breaker.allows(0));
        }
        assert!(breaker.failed(0));
        assert!(!breaker.allows(FIRST - 1));
        // One asks; the others go on without.
        assert!(breaker.allows(FIRST) && !breaker.allows(FIRST));
        assert!(!breaker.failed(FIRST));
        assert!(!breaker.allows(2 * FIRST) && breaker.allows(3 * FIRST));
        breaker.succeeded();
        assert!(breaker.allows(3 * FIRST) && !breaker.is_open());
    }

    #[test]
    fn a_disk_that_never_recovers_is_asked_once_a_minute() {
        let mut breaker = Breaker::default();
        let mut asked = Vec::new();
        for now in (0..600_000).step_by(100) {
            if breaker.allows(now) {
                asked.push(now);
                breaker.failed(now);
            }
        }
        assert!(asked.len() < 22, "{asked:?}");
        assert_eq!(asked[asked.len() - 1] - asked[asked.len() - 2], LONGEST);
    }
}

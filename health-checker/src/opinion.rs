//! From results in a row to an opinion: rise and fall, as in HAProxy.

use std::time::Duration;

use cluster::Verdict;

/// Where a target stands with one check of this checker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    verdict: Option<Verdict>,
    last: Option<Verdict>,
    streak: u32,
}

impl Standing {
    /// Takes one more result. The verdict turns to passing after `rise` passes in a row and to critical after `fall` failures in a row;
    /// until one of them is reached for the first time there is none.
    pub fn observe(&mut self, result: Verdict, rise: u32, fall: u32) {
        self.streak = if self.last == Some(result) { self.streak.saturating_add(1) } else { 1 };
        self.last = Some(result);
        let needed = match result {
            Verdict::Passing => rise,
            Verdict::Critical => fall,
        };
        if self.streak >= needed.max(1) {
            self.verdict = Some(result);
        }
    }

    /// The verdict after rise and fall; none is unknown, and unknown is usable.
    #[must_use]
    pub const fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Results in a row that agree with the last one.
    #[must_use]
    pub const fn streak(&self) -> u32 {
        self.streak
    }
}

/// How long an opinion counts: until two more probes have had their chance, so that one slow report does not make a target unknown and a
/// dead checker is forgotten soon.
#[must_use]
pub fn ttl(interval: Duration, timeout: Duration) -> Duration {
    interval * 2 + timeout + Duration::from_secs(2)
}

#[cfg(test)]
mod tests {
    use Verdict::{Critical, Passing};

    use super::*;

    #[test]
    fn rise_and_fall() {
        type Row = (&'static [Verdict], Option<Verdict>, u32);
        let rows: [Row; 7] = [
            (&[], None, 0),
            (&[Passing], None, 1),
            (&[Passing, Passing], Some(Passing), 2),
            (&[Critical, Critical], None, 2),
            (&[Critical, Critical, Critical], Some(Critical), 3),
            (&[Passing, Passing, Critical, Critical], Some(Passing), 2),
            (&[Critical, Critical, Critical, Passing, Critical, Passing, Passing], Some(Passing), 2),
        ];
        for (results, verdict, streak) in rows {
            let mut standing = Standing::default();
            results.iter().for_each(|result| standing.observe(*result, 2, 3));
            assert_eq!((standing.verdict(), standing.streak()), (verdict, streak), "{results:?}");
        }
    }

    #[test]
    fn a_target_that_flaps_keeps_its_verdict() {
        let mut standing = Standing::default();
        standing.observe(Passing, 1, 3);
        for round in 0..100 {
            standing.observe(if round % 2 == 0 { Critical } else { Passing }, 2, 3);
            assert_eq!(standing.verdict(), Some(Passing));
        }
    }
}

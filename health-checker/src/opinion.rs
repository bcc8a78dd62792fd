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
    /// Takes one more result. The verdict turns to passing after `rise` passes in a row and to
    /// critical after `fall` failures in a row; until one of them is reached for the first time
    /// there is none.
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

/// What an opinion says beside its verdict: what the last probe found. While that is against the
/// verdict, it says how far it has come: the detail of a passed probe alone would be no reason for
/// a bad verdict.
#[must_use]
pub fn detail(standing: &Standing, found: &Result<String, String>, rise: u32, fall: u32) -> String {
    let (Ok(said) | Err(said)) = found;
    match (standing.verdict, standing.last) {
        (Some(Verdict::Critical), Some(Verdict::Passing)) => {
            format!("passed {} of {rise} times in a row: {said}", standing.streak)
        }
        (Some(Verdict::Passing), Some(Verdict::Critical)) => {
            format!("failed {} of {fall} times in a row: {said}", standing.streak)
        }
        _ => said.clone(),
    }
}

/// How long an opinion counts: until two more probes have had their chance, so that one slow report
/// does not make a target unknown and a dead checker is forgotten soon.
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
            (
                &[Critical, Critical, Critical, Passing, Critical, Passing, Passing],
                Some(Passing),
                2,
            ),
        ];
        for (results, verdict, streak) in rows {
            let mut standing = Standing::default();
            results.iter().for_each(|result| standing.observe(*result, 2, 3));
            assert_eq!((standing.verdict(), standing.streak()), (verdict, streak), "{results:?}");
        }
    }

    #[test]
    fn a_passed_probe_is_no_reason_for_a_bad_verdict() {
        let rows: [(&[Verdict], &str); 5] = [
            (&[Critical, Critical, Critical], "refused"),
            (&[Critical, Critical, Critical, Passing], "passed 1 of 2 times in a row: status 200"),
            (&[Critical, Critical, Critical, Passing, Passing], "status 200"),
            (&[Passing, Passing, Critical, Critical], "failed 2 of 3 times in a row: refused"),
            (&[Passing], "status 200"),
        ];
        for (results, expected) in rows {
            let mut standing = Standing::default();
            results.iter().for_each(|result| standing.observe(*result, 2, 3));
            let found = if results.last() == Some(&Passing) {
                Ok("status 200".to_owned())
            } else {
                Err("refused".to_owned())
            };
            assert_eq!(detail(&standing, &found, 2, 3), expected, "{results:?}");
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

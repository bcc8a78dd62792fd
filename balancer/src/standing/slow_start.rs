//! How much of its weight a server gets that has come back, or has come: a share that grows evenly
//! from 1 % to all of it. Pure.
//!
//! It begins when a server that got nothing becomes usable while others are: where everybody comes
//! at the same time, somebody has to take everything. One that the panic threshold brings back
//! gets all of its weight at once, as it is needed.

use std::time::{Duration, Instant};

use super::{Cause, Judgement, Standing};

/// The share grows in steps of so many percent, as each of them makes a plan.
const STEP: u8 = 5;

/// One server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlowStart(Option<Instant>);

impl SlowStart {
    /// Looks at a server that is judged anew. `before`: what it was, if it was there; `others`:
    /// whether somebody else was usable.
    pub fn judged(
        &mut self,
        before: Option<Standing>,
        judgement: &Judgement,
        others: bool,
        now: Instant,
    ) {
        let was_used = before.is_some_and(|before| before < Standing::Unwell);
        if judgement.standing != Standing::Usable || judgement.cause == Cause::Loss {
            self.0 = None;
        } else if !was_used && others {
            self.0 = Some(now);
        }
    }

    /// Percent of its weight that it gets now.
    #[must_use]
    pub fn percent(self, within: Duration, now: Instant) -> u8 {
        let Some(since) = self.0 else { return 100 };
        let passed = now.saturating_duration_since(since);
        if passed >= within {
            return 100;
        }
        let percent = passed.as_millis() * 100 / within.as_millis().max(1);
        let percent = u8::try_from(percent).unwrap_or(100);
        (percent - percent % STEP).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    fn judgement(standing: Standing, cause: Cause) -> Judgement {
        Judgement { standing, cause, reasons: Vec::new() }
    }

    #[test]
    fn who_starts_slowly() {
        use Standing::{Backup, Excluded, Last, Unwell, Usable};
        let now = relay::clock::now();
        for (before, after, cause, others, slow) in [
            (Some(Unwell), Usable, Cause::Fine, true, true),
            (Some(Excluded), Usable, Cause::Fine, true, true),
            (None, Usable, Cause::Fine, true, true),
            (None, Usable, Cause::Fine, false, false),
            (Some(Unwell), Usable, Cause::Fine, false, false),
            (Some(Usable), Usable, Cause::Fine, true, false),
            (Some(Last), Usable, Cause::Fine, true, false),
            (Some(Unwell), Usable, Cause::Loss, true, false),
            (Some(Unwell), Last, Cause::Doubt, true, false),
            (Some(Excluded), Backup, Cause::Fine, true, false),
        ] {
            let mut start = SlowStart::default();
            start.judged(before, &judgement(after, cause), others, now);
            let percent = start.percent(WITHIN, now);
            assert_eq!(percent, if slow { 1 } else { 100 }, "{before:?} {after:?} {others}");
        }
    }

    #[test]
    fn it_ends_with_what_it_began_for() {
        let now = relay::clock::now();
        let mut start = SlowStart::default();
        start.judged(None, &judgement(Standing::Usable, Cause::Fine), true, now);
        let later = now + WITHIN / 2;
        assert_eq!(start.percent(WITHIN, later), 50);
        assert_eq!(start.percent(Duration::ZERO, later), 100);
        start.judged(
            Some(Standing::Usable),
            &judgement(Standing::Unwell, Cause::OwnEvidence),
            true,
            later,
        );
        start.judged(
            Some(Standing::Unwell),
            &judgement(Standing::Usable, Cause::Fine),
            true,
            later,
        );
        assert_eq!(start.percent(WITHIN, later), 1, "from the beginning");
    }

    proptest! {
        #[test]
        fn it_grows_to_all_and_never_shrinks(within in 1_u64..600_000, at in 0_u64..700_000) {
            let (now, within) = (relay::clock::now(), Duration::from_millis(within));
            let mut start = SlowStart::default();
            start.judged(None, &judgement(Standing::Usable, Cause::Fine), true, now);
            let percent = |millis| start.percent(within, now + Duration::from_millis(millis));
            prop_assert!((1..=100).contains(&percent(at)) && percent(at) <= percent(at + 1));
            prop_assert_eq!(start.percent(within, now + within), 100);
            let exact = at as f64 * 100.0 / within.as_millis() as f64;
            prop_assert!(exact >= 100.0 || (exact - f64::from(percent(at))).abs() <= 5.0);
        }
    }
}

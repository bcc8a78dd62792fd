//! What is wanted of a trial, and whether it was reached. Pure.

use crate::{
    contender::Who,
    results::{Results, Sample},
    statistics::{Spread, paired},
    trial::{Trial, Unit},
};

/// Which of a sample's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The trial's own.
    Cost,
    /// Requests that failed.
    Failed,
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// So many times what another takes; the median of the rounds counts.
    Times(f64, Who),
    /// So much more than another takes; the median of the rounds counts.
    Above(f64, Who),
    /// So much; the median of the rounds counts.
    Most(f64),
    /// So much in every single round.
    Never(f64),
}

/// One goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Who has to reach it.
    pub who: Who,
    /// With which number.
    pub what: What,
    /// How.
    pub bound: Bound,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Ratio, difference or number, over the rounds.
    pub measured: Spread,
    /// Whether that is within the bound.
    pub reached: bool,
}

impl What {
    /// The number in a sample.
    pub fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Cost => Some(sample.cost),
            Self::Failed => sample.failed.map(|failed| failed as f64),
        }
    }
}

impl Goal {
    /// Judges; none when somebody who is needed for it took no part.
    pub fn judge(&self, results: &Results, trial: &Trial) -> Option<Verdict> {
        let rounds = |who| results.values(trial.name, who, |sample| self.what.of(sample));
        let ours = rounds(self.who);
        let (measured, limit) = match self.bound {
            Bound::Times(limit, than) => {
                (paired(&ours, &rounds(than), |ours, theirs| ours / theirs), limit)
            }
            Bound::Above(limit, than) => {
                (paired(&ours, &rounds(than), |ours, theirs| ours - theirs), limit)
            }
            Bound::Most(limit) | Bound::Never(limit) => (crate::statistics::spread(ours), limit),
        };
        let measured = measured?;
        let judged =
            if matches!(self.bound, Bound::Never(_)) { measured.greatest } else { measured.median };
        Some(Verdict { measured, reached: judged <= limit })
    }

    /// In words: `≤ 0.75 × HAProxy`.
    pub fn text(&self, unit: Unit) -> String {
        let of = match self.what {
            What::Cost => format!(" {}", unit.name()),
            What::Failed => " failed".to_owned(),
        };
        match self.bound {
            Bound::Times(limit, than) => format!("≤ {limit:.2} × {}", than.name()),
            Bound::Above(limit, than) => format!("≤ {limit}{of} more than {}", than.name()),
            Bound::Most(limit) => format!("≤ {limit}{of}"),
            Bound::Never(0.0) => format!("0{of}"),
            Bound::Never(limit) => format!("never over {limit}{of}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial;

    fn results(rounds: &[(Who, f64, u64)]) -> Results {
        let mut results = Results::default();
        for (who, cost, failed) in rounds {
            results
                .samples
                .push(Sample { failed: Some(*failed), ..Sample::new("kill-get", *who, *cost) });
        }
        results
    }

    fn reached(what: What, bound: Bound, results: &Results) -> Option<bool> {
        let goal = Goal { who: Who::ShoalCluster, what, bound };
        goal.judge(results, trial::find("kill-get").unwrap()).map(|verdict| verdict.reached)
    }

    #[test]
    fn one_bad_round_of_several_counts_where_it_must_never_happen() {
        let results = results(&[
            (Who::ShoalCluster, 10.0, 0),
            (Who::ShoalCluster, 11.0, 0),
            (Who::ShoalCluster, 300.0, 1),
        ]);
        assert_eq!(reached(What::Cost, Bound::Most(200.0), &results), Some(true));
        assert_eq!(reached(What::Cost, Bound::Never(200.0), &results), Some(false));
        assert_eq!(reached(What::Failed, Bound::Never(0.0), &results), Some(false));
        assert_eq!(
            reached(What::Cost, Bound::Times(0.5, Who::Reference), &results),
            None,
            "nobody to compare with"
        );
    }

    #[test]
    fn ratios_and_differences() {
        let results = results(&[(Who::ShoalCluster, 6.0, 0), (Who::Reference, 10.0, 9)]);
        assert_eq!(reached(What::Cost, Bound::Times(0.6, Who::Reference), &results), Some(true));
        assert_eq!(reached(What::Cost, Bound::Times(0.5, Who::Reference), &results), Some(false));
        assert_eq!(reached(What::Cost, Bound::Above(-4.0, Who::Reference), &results), Some(true));
    }
}

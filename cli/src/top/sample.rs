//! What processes last told, and how their counters moved. Pure: time is passed in, in seconds.

use std::collections::BTreeMap;

use cluster::InstanceStatus;
use proto::{balancer::Stats, proxy::GetStatsResponse};

/// The last answer of one process, the one before, and what has been wrong since.
#[derive(Clone, Debug)]
pub struct Told<T> {
    now: Option<(T, f64)>,
    before: Option<(T, f64)>,
    /// Why it did not answer the last time; none: it did.
    pub silent: Option<String>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self { now: None, before: None, silent: None }
    }
}

impl<T> Told<T> {
    /// Takes an answer.
    pub fn answered(&mut self, value: T, at: f64) {
        self.before = self.now.replace((value, at));
        self.silent = None;
    }

    /// Notes that there was none. What was told before stays, and grows old; nothing is known of
    /// its movement until the next answer.
    pub fn silent(&mut self, why: String) {
        self.before = None;
        self.silent = Some(why);
    }

    /// What was told last.
    pub fn value(&self) -> Option<&T> {
        self.now.as_ref().map(|(value, _)| value)
    }

    /// How old that is, in seconds; none when nothing was ever told.
    pub fn age(&self, now: f64) -> Option<f64> {
        self.now.as_ref().map(|(_, at)| (now - at).max(0.0))
    }

    /// How a counter moved, each second. None before there are two answers, and after a counter
    /// began anew.
    pub fn rate(&self, counter: impl Fn(&T) -> Option<u64>) -> Option<f64> {
        let (moved, elapsed) = self.moved(counter)?;
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        Some(moved as f64 / elapsed)
    }

    /// How far a counter moved, and in what time.
    pub fn moved(&self, counter: impl Fn(&T) -> Option<u64>) -> Option<(u64, f64)> {
        let ((now, now_at), (before, before_at)) = (self.now.as_ref()?, self.before.as_ref()?);
        let (elapsed, moved) = (now_at - before_at, counter(now)?.checked_sub(counter(before)?)?);
        (elapsed > 0.0).then_some((moved, elapsed))
    }
}

/// Everything that is known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When this was put together.
    pub taken: f64,
    /// The registry's list as last told.
    pub registry: Told<Vec<InstanceStatus>>,
    /// By name.
    pub balancers: BTreeMap<String, Told<Stats>>,
    /// By name.
    pub nodes: BTreeMap<String, Told<GetStatsResponse>>,
    /// Memory in use, by name of the node.
    pub memory: BTreeMap<String, u64>,
}

/// Something `part` of the whole, from how both moved.
pub fn ratio(part: Option<f64>, rest: Option<f64>) -> Option<f64> {
    let (part, rest) = (part?, rest?);
    (part + rest > 0.0).then(|| part / (part + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_two_answers_and_the_time_between() {
        let told = |answers: &[(u64, f64)]| {
            let mut told = Told::default();
            answers.iter().for_each(|(value, at)| told.answered(*value, *at));
            told.rate(|value| Some(*value))
        };
        for (answers, expected) in [
            (&[][..], None),
            (&[(5, 1.0)], None),
            (&[(5, 1.0), (9, 3.0)], Some(2.0)),
            (&[(5, 1.0), (5, 3.0)], Some(0.0)),
            (&[(0, 0.0), (5, 1.0), (9, 1.5)], Some(8.0)),
            // Started again: nothing is known until the next answer.
            (&[(500, 1.0), (9, 2.0)], None),
            (&[(500, 1.0), (9, 2.0), (19, 3.0)], Some(10.0)),
            (&[(1, 1.0), (2, 1.0)], None),
        ] {
            assert_eq!(told(answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn what_is_not_told_any_more_grows_old() {
        let mut told = Told::default();
        assert_eq!((told.age(9.0), told.value()), (None, None));
        told.answered(1_u64, 1.0);
        told.answered(2, 2.0);
        told.silent("no answer".into());
        assert_eq!(
            (told.value(), told.age(5.0), told.silent.as_deref()),
            (Some(&2), Some(3.0), Some("no answer"))
        );
        assert_eq!(
            told.rate(|value| Some(*value)),
            None,
            "an old rate would be taken for the present one"
        );
        told.answered(12, 7.0);
        assert_eq!(told.silent, None);
        assert_eq!(
            told.rate(|value| Some(*value)),
            Some(2.0),
            "since the last answer, however long ago"
        );
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio(Some(3.0), Some(1.0)), Some(0.75));
        assert_eq!(ratio(Some(0.0), Some(0.0)), None);
        assert_eq!(ratio(None, Some(1.0)), None);
    }
}

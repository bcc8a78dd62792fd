//! When which probe runs next.
//!
//! Probes of one checker are spread over the interval and checkers are out of step with each other,
//! so that a node is never hit by all at once. A probe that is still running is not started again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

/// The first probe comes within this time, so that a fresh cluster knows where it stands soon.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Due times by key.
#[derive(Debug)]
pub struct Schedule<K> {
    probes: BTreeMap<K, Due>,
}

#[derive(Debug)]
struct Due {
    interval: Duration,
    due: Instant,
    running: bool,
}

impl<K: Ord + Clone> Default for Schedule<K> {
    fn default() -> Self {
        Self { probes: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Schedule<K> {
    /// Keeps exactly the wanted keys. `wanted` gives for each its interval and a phase, 0 to
    /// `u64::MAX`, that spreads first probes.
    pub fn reconcile(&mut self, now: Instant, wanted: &BTreeMap<K, (Duration, u64)>) {
        self.probes.retain(|key, _| wanted.contains_key(key));
        for (key, (interval, phase)) in wanted {
            let spread = FIRST_WITHIN.min(*interval);
            let first = now + spread.mul_f64(*phase as f64 / u64::MAX as f64);
            let probe = self.probes.entry(key.clone()).or_insert(Due {
                interval: *interval,
                due: first,
                running: false,
            });
            probe.interval = *interval;
            probe.due = probe.due.min(now + *interval);
        }
    }

    /// The keys to probe now. They count as running until [`Schedule::finished`].
    pub fn take_due(&mut self, now: Instant) -> Vec<K> {
        let due = self.probes.iter_mut().filter(|(_, probe)| probe.due <= now && !probe.running);
        due.map(|(key, probe)| {
            probe.running = true;
            probe.due = (probe.due + probe.interval).max(now);
            key.clone()
        })
        .collect()
    }

    /// A probe has ended. False when nobody wants the key any more.
    pub fn finished(&mut self, key: &K) -> bool {
        self.probes.get_mut(key).map(|probe| probe.running = false).is_some()
    }

    /// When the next one is due; none when there is nothing to wait for.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.probes.values().filter(|probe| !probe.running).map(|probe| probe.due).min()
    }

    #[must_use]
    pub fn keys(&self) -> BTreeSet<K> {
        self.probes.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn wanted(keys: &[&'static str]) -> BTreeMap<&'static str, (Duration, u64)> {
        keys.iter()
            .enumerate()
            .map(|(place, key)| (*key, (INTERVAL, u64::MAX / 4 * place as u64)))
            .collect()
    }

    #[test]
    fn first_probes_are_spread_and_soon() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        schedule.reconcile(start, &wanted(&["a", "b", "c"]));
        assert_eq!(schedule.take_due(start), ["a"]);
        assert_eq!(schedule.take_due(start + FIRST_WITHIN), ["b", "c"]);
    }

    #[test]
    fn a_running_probe_is_not_started_again() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        schedule.reconcile(start, &wanted(&["a"]));
        assert_eq!(schedule.take_due(start), ["a"]);
        assert!(schedule.take_due(start + INTERVAL * 3).is_empty());
        assert_eq!(schedule.next(), None);
        assert!(schedule.finished(&"a"));
        assert_eq!(schedule.take_due(start + INTERVAL * 3), ["a"]);
    }

    #[test]
    fn missed_rounds_are_not_made_up_for() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        schedule.reconcile(start, &wanted(&["a"]));
        schedule.take_due(start + INTERVAL * 5);
        schedule.finished(&"a");
        assert_eq!(schedule.take_due(start + INTERVAL * 5), ["a"]);
        schedule.finished(&"a");
        assert!(schedule.take_due(start + INTERVAL * 5).is_empty() || schedule.next().is_some());
    }

    #[test]
    fn what_nobody_wants_any_more_is_gone() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        schedule.reconcile(start, &wanted(&["a", "b"]));
        schedule.reconcile(start, &wanted(&["b"]));
        assert!(!schedule.finished(&"a"));
        assert_eq!(schedule.keys().len(), 1);
    }

    #[test]
    fn a_shorter_interval_takes_effect_at_once() {
        let (start, mut schedule) = (Instant::now(), Schedule::default());
        schedule.reconcile(start, &BTreeMap::from([("a", (Duration::from_secs(600), 0))]));
        schedule.take_due(start);
        schedule.finished(&"a");
        schedule.reconcile(start, &BTreeMap::from([("a", (INTERVAL, 0))]));
        assert_eq!(schedule.next(), Some(start + INTERVAL));
    }
}

//! What is counted goes on in the process that takes over: all counters that only rise, by the name
//! of what is counted.
//!
//! A successor adds what it is told to its own counts: all of it when it begins, and what has come
//! since when the process before has drained.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::count::{Count, PerWorker};

/// By what is counted, and the counter's name.
pub type Totals = BTreeMap<String, BTreeMap<String, u64>>;

/// One worker's counters.
pub trait Counters {
    /// Shows those that only rise, with their names: no gauge, no average.
    fn each(&self, visit: &mut dyn FnMut(&str, &Count));
}

/// Counters that go on in another process.
pub trait Carried: Send + Sync {
    /// What they have counted, by name.
    fn totals(&self) -> BTreeMap<String, u64>;
    /// Adds what a process before this one has counted. Names that it does not know are left out.
    fn add(&self, more: &BTreeMap<String, u64>);
}

impl<T: Counters + Send + Sync> Carried for PerWorker<T> {
    fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for one in self.iter() {
            one.each(&mut |name, count| match totals.get_mut(name) {
                Some(sum) => *sum += count.get(),
                None => drop(totals.insert(name.to_owned(), count.get())),
            });
        }
        totals
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        self.before().each(&mut |name, count| count.add(more.get(name).copied().unwrap_or(0)));
    }
}

/// All of them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    /// In use here.
    open: BTreeMap<String, Arc<dyn Carried>>,
    /// What the process before has told last.
    told: Totals,
}

impl Ledger {
    /// Counts on for `what`, if a process before this one did.
    pub fn enter(&self, what: String, counters: Arc<dyn Carried>) {
        let mut entries = self.lock();
        if let Some(told) = entries.told.get(&what) {
            counters.add(told);
        }
        entries.open.insert(what, counters);
    }

    /// All that was counted, by this process and those before.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let entries = self.lock();
        let mut totals = entries.told.clone();
        totals.extend(entries.open.iter().map(|(what, it)| (what.clone(), it.totals())));
        totals
    }

    /// Takes up what the process before has counted until now.
    pub fn receive(&self, totals: Totals) {
        let mut entries = self.lock();
        for (what, now) in totals {
            let before = entries.told.get(&what).cloned().unwrap_or_default();
            let since = |(name, value): (&String, &u64)| {
                let before = before.get(name).copied().unwrap_or(0);
                (name.clone(), value.saturating_sub(before))
            };
            if let Some(counters) = entries.open.get(&what) {
                counters.add(&now.iter().map(since).collect());
            }
            entries.told.insert(what, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands what only rises on to counters that a process before this one has begun: by what has come
/// since.
#[derive(Debug, Default)]
pub struct Rising(BTreeMap<String, u64>);

impl Rising {
    /// What has come to `of` since this was asked last.
    pub fn since(&mut self, of: &str, now: u64) -> u64 {
        match self.0.get_mut(of) {
            Some(before) => now.saturating_sub(std::mem::replace(before, now)),
            None => {
                self.0.insert(of.to_owned(), now);
                now
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::answers::{Answers, Totals as Sums, of_workers};

    fn counted(requests: usize) -> Arc<PerWorker<Answers>> {
        let answers = Arc::new(PerWorker::<Answers>::new(2));
        for request in 0..requests {
            answers.of(request).note(200, Some(Duration::from_millis(3)));
        }
        answers
    }

    fn sums(answers: &PerWorker<Answers>) -> (u64, u64) {
        let sums = Sums::of(&of_workers(answers, |it| it));
        assert_eq!(sums.microseconds, sums.timed * 3000);
        (sums.classes[2], sums.timed)
    }

    #[test]
    fn a_chain_of_processes_counts_on_and_nothing_is_counted_twice() {
        let first = Ledger::default();
        let one = counted(3);
        first.enter("a".into(), one.clone());
        first.enter("gone".into(), counted(1));
        let second = Ledger::default();
        let two = counted(0);
        second.enter("a".into(), two.clone());
        second.receive(first.totals());
        assert_eq!(sums(&two), (3, 3));
        two.of(1).note(200, Some(Duration::from_millis(3)));
        // While the first one drains; a third takes over from the second meanwhile.
        one.of(0).note(200, Some(Duration::from_millis(3)));
        let third = Ledger::default();
        third.receive(second.totals());
        let three = counted(2);
        third.enter("a".into(), three.clone());
        assert_eq!(sums(&three), (6, 6), "what is entered later counts on, too");
        second.receive(first.totals());
        assert_eq!(sums(&two), (5, 5));
        third.receive(second.totals());
        assert_eq!(sums(&three), (7, 7));
        let gone = third.totals()["gone"]["answers.2xx"];
        assert_eq!(gone, 1, "nobody here counts it, and the next one may");
    }

    #[test]
    fn what_has_come_since() {
        let mut rising = Rising::default();
        let told = [3, 3, 5, 5, 9].map(|now| rising.since("a", now));
        assert_eq!(told, [3, 0, 2, 0, 4]);
        assert_eq!(rising.since("b", 1), 1);
    }
}

//! Who asks most, in bounded memory: the space-saving summary of Metwally, Agrawal and El Abbadi
//! ("Efficient computation of frequent and top-k elements in data streams", 2005), and how
//! summaries are merged (Agarwal et al., "Mergeable summaries", 2012).
//!
//! A summary of k entries over n requests knows every key with more than n/k requests, counts none
//! too low, and says for each by how much its count may be too high. Pure.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// What is known about one key: a heavy hitter, as the papers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hitter<K> {
    pub key: K,
    /// Its requests: an upper bound.
    pub requests: u64,
    /// So many of them may have been other keys'.
    pub overcount: u64,
    /// Bytes that it was sent since it is known: a lower bound where `overcount` is not 0.
    pub bytes: u64,
}

/// A summary that is being made.
#[derive(Clone, Debug)]
pub struct Counter<K> {
    capacity: usize,
    entries: Vec<Hitter<K>>,
    /// Where each key is in `entries`.
    places: HashMap<K, usize>,
    /// The smallest count when `smallest` was last gathered.
    least: u64,
    /// Places that had it then.
    smallest: Vec<usize>,
    /// Some key had to make room for another.
    forgot: bool,
}

impl<K: Clone + Eq + Hash> Counter<K> {
    /// One that keeps at most `capacity` keys, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            entries: Vec::new(),
            places: HashMap::default(),
            least: 0,
            smallest: Vec::new(),
            forgot: false,
        }
    }

    /// Counts a request. `own` makes a key to keep, and is only called for one that is not known.
    pub fn count<Q>(&mut self, key: &Q, bytes: u64, own: impl FnOnce(&Q) -> K)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(&place) = self.places.get(key) {
            let entry = &mut self.entries[place];
            entry.requests += 1;
            entry.bytes += bytes;
            return;
        }
        let key = own(key);
        let (place, overcount) = if self.entries.len() < self.capacity {
            self.entries.push(Hitter { key: key.clone(), requests: 0, overcount: 0, bytes: 0 });
            (self.entries.len() - 1, 0)
        } else {
            let place = self.take_smallest();
            self.forgot = true;
            self.places.remove(self.entries[place].key.borrow());
            (place, self.entries[place].requests)
        };
        self.entries[place] =
            Hitter { key: key.clone(), requests: overcount + 1, overcount, bytes };
        self.places.insert(key, place);
    }

    /// The place of an entry with the smallest count, which the caller raises. Looking through all
    /// of them finds all that have it, so that this costs little on the average.
    fn take_smallest(&mut self) -> usize {
        loop {
            while let Some(place) = self.smallest.pop() {
                if self.entries[place].requests == self.least {
                    return place;
                }
            }
            self.least = self.entries.iter().map(|entry| entry.requests).min().unwrap_or(0);
            let least = self.least;
            self.smallest.extend(
                (0..self.entries.len()).filter(|&place| self.entries[place].requests == least),
            );
        }
    }

    /// What is known now.
    #[must_use]
    pub fn summary(&self) -> Summary<K> {
        // Whoever made room had no more than the smallest count of then, which only grows.
        let least = self.entries.iter().map(|entry| entry.requests).min().unwrap_or(0);
        Summary { entries: self.entries.clone(), unlisted: if self.forgot { least } else { 0 } }
    }
}

/// What is known about all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<K> {
    /// In no order.
    pub entries: Vec<Hitter<K>>,
    /// No key that is not among the entries has more requests than this.
    pub unlisted: u64,
}

impl<K> Default for Summary<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), unlisted: 0 }
    }
}

impl<K: Clone + Eq + Hash + Ord> Summary<K> {
    /// What several summaries of different requests know together.
    #[must_use]
    pub fn merged<'a>(summaries: impl IntoIterator<Item = &'a Self>) -> Self
    where
        K: 'a,
    {
        let mut merged: HashMap<K, (Hitter<K>, u64)> = HashMap::default();
        let mut unlisted = 0;
        for summary in summaries {
            for entry in &summary.entries {
                let fresh =
                    || (Hitter { key: entry.key.clone(), requests: 0, overcount: 0, bytes: 0 }, 0);
                let (sum, known_by) = merged.entry(entry.key.clone()).or_insert_with(fresh);
                sum.requests += entry.requests;
                sum.overcount += entry.overcount;
                sum.bytes += entry.bytes;
                *known_by += summary.unlisted;
            }
            unlisted += summary.unlisted;
        }
        // A summary that does not list a key may have forgotten as many of its requests as it says.
        let entries = merged.into_values().map(|(entry, known_by)| {
            let forgotten = unlisted - known_by;
            Hitter {
                requests: entry.requests + forgotten,
                overcount: entry.overcount + forgotten,
                ..entry
            }
        });
        Self { entries: entries.collect(), unlisted }
    }

    /// The `limit` largest, largest first; equal ones by key, so that the order is always the same.
    #[must_use]
    pub fn top(mut self, limit: usize) -> Self {
        self.entries.sort_unstable_by(|one, other| {
            other.requests.cmp(&one.requests).then_with(|| one.key.cmp(&other.key))
        });
        if let Some(cut) = self.entries.get(limit) {
            self.unlisted = self.unlisted.max(cut.requests);
            self.entries.truncate(limit);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn counted(stream: &[u8], capacity: usize) -> Summary<u8> {
        let mut counter = Counter::new(capacity);
        for key in stream {
            counter.count(key, 10, |key| *key);
        }
        counter.summary()
    }

    fn entry(key: u8, requests: u64, overcount: u64) -> Hitter<u8> {
        Hitter { key, requests, overcount, bytes: (requests - overcount) * 10 }
    }

    #[test]
    fn counts_are_exact_while_there_is_room() {
        let summary = counted(b"abacaba", 3).top(9);
        assert_eq!(
            summary,
            Summary {
                entries: vec![entry(b'a', 4, 0), entry(b'b', 2, 0), entry(b'c', 1, 0)],
                unlisted: 0
            }
        );
        assert_eq!(summary.top(1), Summary { entries: vec![entry(b'a', 4, 0)], unlisted: 2 });
    }

    #[test]
    fn the_rarest_makes_room() {
        let summary = counted(b"aaabc", 2).top(9);
        assert_eq!(
            summary,
            Summary { entries: vec![entry(b'a', 3, 0), entry(b'c', 2, 1)], unlisted: 2 }
        );
    }

    #[test]
    fn who_is_not_listed_may_have_been_forgotten() {
        let (full, roomy) = (counted(b"aaabc", 2), counted(b"bbd", 8));
        let merged = Summary::merged([&full, &roomy]).top(9);
        let expected =
            vec![entry(b'b', 4, 2), entry(b'a', 3, 0), entry(b'd', 3, 2), entry(b'c', 2, 1)];
        assert_eq!(merged, Summary { entries: expected, unlisted: 2 });
        assert_eq!(Summary::<u8>::merged([]), Summary::default());
    }

    /// Every bound that `summary` states holds for what was really there.
    fn holds(summary: &Summary<u8>, stream: &[u8]) -> Result<(), TestCaseError> {
        let mut exact = BTreeMap::<u8, u64>::new();
        stream.iter().for_each(|key| *exact.entry(*key).or_default() += 1);
        for (key, count) in exact {
            match summary.entries.iter().find(|entry| entry.key == key) {
                Some(entry) => {
                    prop_assert!(
                        entry.requests - entry.overcount <= count && count <= entry.requests,
                        "{count} {entry:?}"
                    );
                    prop_assert!(entry.bytes <= count * 10, "{count} {entry:?}");
                }
                None => prop_assert!(
                    count <= summary.unlisted,
                    "{key} has {count}, not listed at most {}",
                    summary.unlisted
                ),
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bounds_hold(
            streams in prop::collection::vec(
                (prop::collection::vec(0_u8..40, 0..400), 1_usize..30),
                1..6,
            ),
            limit in 1_usize..50,
        ) {
            let summaries: Vec<_> =
                streams.iter().map(|(stream, capacity)| counted(stream, *capacity)).collect();
            for (summary, (stream, capacity)) in summaries.iter().zip(&streams) {
                holds(summary, stream)?;
                prop_assert!(summary.entries.len() <= *capacity);
                // What makes it worth having: nobody with more than n/k requests is missing.
                prop_assert!(summary.unlisted <= (stream.len() / capacity) as u64);
            }
            let all: Vec<u8> = streams.iter().flat_map(|(stream, _)| stream.clone()).collect();
            holds(&Summary::merged(&summaries).top(limit), &all)?;
        }
    }
}

//! Where what is: the only thing of the tier that is in memory for each object, 25 bytes of it in
//! tables that are between 7/16 and 7/8 full.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use hashbrown::HashTable;

use super::record::{Place, UNIT};
use crate::cache::vary::Names;

const SHARDS: usize = 64;
/// Objects of one hash: variants of one key, and keys that share it by chance. The oldest goes.
const MOST_OF_A_HASH: usize = 32;
const NAME_BITS: u32 = 12;
const USED_BITS: u32 = 2;
/// The longest record that can be told, in units.
pub const MOST_UNITS: u32 = (1 << (32 - NAME_BITS - USED_BITS)) - 1;

/// One object. The fields of `packed`, from below: how often it was used, up to 3; the list of
/// names that select it; its length in units.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    /// Of what selects it; 0: every request does.
    digest: u32,
    segment: u32,
    unit: u32,
    packed: u32,
}

impl Entry {
    const fn place(&self) -> Place {
        let units = self.packed >> (NAME_BITS + USED_BITS);
        Place { segment: self.segment, unit: self.unit, units }
    }

    const fn names(&self) -> usize {
        ((self.packed >> USED_BITS) & ((1 << NAME_BITS) - 1)) as usize
    }

    const fn is_at(&self, place: &Place) -> bool {
        self.segment == place.segment && self.unit == place.unit
    }
}

/// What may answer a request.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub place: Place,
    /// Of what selects it; 0: every request does.
    pub digest: u32,
    /// The fields that select it; none: every request does.
    pub names: Option<Names>,
}

/// All objects of the tier.
#[derive(Debug)]
pub struct Index {
    shards: Box<[Mutex<HashTable<Entry>>]>,
    /// Lists of names, each once; 0 stands for none.
    names: RwLock<Lists>,
    objects: AtomicU64,
    units: AtomicU64,
}

#[derive(Debug, Default)]
struct Lists {
    all: Vec<Names>,
    numbers: HashMap<Names, u32>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            names: RwLock::default(),
            objects: AtomicU64::new(0),
            units: AtomicU64::new(0),
        }
    }
}

impl Index {
    /// What there is for a hash, newest last.
    #[must_use]
    pub fn candidates(&self, hash: u64) -> Vec<Candidate> {
        let mut found: Vec<Entry> = self.shard(hash).iter_hash(hash).copied().collect();
        found.retain(|entry| entry.hash == hash);
        if found.is_empty() {
            return Vec::new();
        }
        found.sort_by_key(|entry| (entry.segment, entry.unit));
        let lists = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let names = |entry: &Entry| entry.names().checked_sub(1).and_then(|at| lists.all.get(at));
        found
            .iter()
            .map(|entry| Candidate {
                place: entry.place(),
                digest: entry.digest,
                names: names(entry).cloned(),
            })
            .collect()
    }

    /// Whether there is anything for a hash.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        self.shard(hash).find(hash, |entry| entry.hash == hash).is_some()
    }

    /// Puts an object in, in place of the one with the same hash and digest. False: there are too
    /// many lists of names, or it is too long.
    pub fn put(&self, hash: u64, digest: u32, names: &[Box<str>], place: Place) -> bool {
        let Some(list) = self.number(names) else { return false };
        if place.units > MOST_UNITS {
            return false;
        }
        let packed = (place.units << (NAME_BITS + USED_BITS)) | (list << USED_BITS);
        let entry = Entry { hash, digest, segment: place.segment, unit: place.unit, packed };
        let mut shard = self.shard(hash);
        if let Some(old) = shard.find_mut(hash, |old| old.hash == hash && old.digest == digest) {
            self.discount(old);
            *old = entry;
            self.count(&entry);
            return true;
        }
        let of_hash = || shard.iter_hash(hash).filter(|old| old.hash == hash);
        if of_hash().count() >= MOST_OF_A_HASH
            && let Some(oldest) = of_hash().map(Entry::place).min_by_key(|it| (it.segment, it.unit))
        {
            self.take(&mut shard, hash, &oldest);
        }
        shard.insert_unique(hash, entry, |entry| entry.hash);
        self.count(&entry);
        true
    }

    /// It was used.
    pub fn touch(&self, hash: u64, place: &Place) {
        let mut shard = self.shard(hash);
        if let Some(entry) = shard.find_mut(hash, |it| it.hash == hash && it.is_at(place))
            && entry.packed & 3 < 3
        {
            entry.packed += 1;
        }
    }

    /// How often what is there was used since this was asked last. `None`: it is something else by
    /// now.
    pub fn take_used(&self, hash: u64, place: &Place) -> Option<u32> {
        let mut shard = self.shard(hash);
        let entry = shard.find_mut(hash, |it| it.hash == hash && it.is_at(place))?;
        let used = entry.packed & 3;
        entry.packed &= !3;
        Some(used)
    }

    /// Whether it is what stands for its hash and digest.
    #[must_use]
    pub fn is_at(&self, hash: u64, place: &Place) -> bool {
        self.shard(hash).find(hash, |it| it.hash == hash && it.is_at(place)).is_some()
    }

    /// Removes what is at a place. False: it is something else by now.
    pub fn remove_at(&self, hash: u64, place: &Place) -> bool {
        self.take(&mut self.shard(hash), hash, place)
    }

    /// Removes everything for a hash. Tells how many went.
    pub fn remove(&self, hash: u64) -> u64 {
        let mut shard = self.shard(hash);
        let mut removed = 0;
        while let Ok(found) = shard.find_entry(hash, |entry| entry.hash == hash) {
            self.discount(&found.remove().0);
            removed += 1;
        }
        removed
    }

    /// Removes everything.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.iter().for_each(|entry| self.discount(entry));
            *shard = HashTable::new();
        }
    }

    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Bytes of their records; pieces of large bodies not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.units.load(Ordering::Relaxed) * UNIT as u64
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let tables: usize = self
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).allocation_size())
            .sum();
        tables as u64
    }

    fn take(&self, shard: &mut HashTable<Entry>, hash: u64, place: &Place) -> bool {
        match shard.find_entry(hash, |it| it.hash == hash && it.is_at(place)) {
            Ok(found) => {
                self.discount(&found.remove().0);
                true
            }
            Err(_) => false,
        }
    }

    fn count(&self, entry: &Entry) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.units.fetch_add(u64::from(entry.place().units), Ordering::Relaxed);
    }

    fn discount(&self, entry: &Entry) {
        self.objects.fetch_sub(1, Ordering::Relaxed);
        self.units.fetch_sub(u64::from(entry.place().units), Ordering::Relaxed);
    }

    /// The number of a list of names. `None`: there are too many.
    fn number(&self, names: &[Box<str>]) -> Option<u32> {
        if names.is_empty() {
            return Some(0);
        }
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(names) {
            return Some(*number);
        }
        drop(known);
        let mut lists = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = lists.numbers.get(names) {
            return Some(*number);
        }
        let number = u32::try_from(lists.all.len() + 1).ok().filter(|it| *it < 1 << NAME_BITS)?;
        let shared: Names = names.into();
        lists.all.push(shared.clone());
        lists.numbers.insert(shared, number);
        Some(number)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashTable<Entry>> {
        #[allow(clippy::indexing_slicing, reason = "below SHARDS, the length")]
        self.shards[(hash >> 32) as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, unit: u32) -> Place {
        Place { segment, unit, units: 5 }
    }

    #[test]
    fn an_entry_is_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn variants_stand_beside_each_other_and_the_newer_takes_the_place() {
        let index = Index::default();
        let names: Vec<Box<str>> = vec!["accept".into()];
        assert!(index.put(1, 0, &[], at(1, 0)));
        assert!(index.put(1, 7, &names, at(1, 9)));
        assert!(index.put(1, 7, &names, at(2, 3)));
        assert!(index.put(2, 0, &[], at(2, 90)));
        let found = index.candidates(1);
        let places: Vec<Place> = found.iter().map(|it| it.place).collect();
        assert_eq!(places, [at(1, 0), at(2, 3)]);
        assert_eq!(found[1].names.as_deref(), Some(&names[..]));
        assert_eq!((index.objects(), index.bytes()), (3, 15 * 64));
        assert!(!index.remove_at(1, &at(1, 9)) && index.remove_at(1, &at(1, 0)));
        assert_eq!((index.remove(1), index.remove(1), index.objects()), (1, 0, 1));
        index.clear();
        assert_eq!((index.objects(), index.bytes(), index.contains(2)), (0, 0, false));
    }

    #[test]
    fn use_is_counted_and_forgotten() {
        let index = Index::default();
        index.put(1, 0, &[], at(1, 0));
        (0..9).for_each(|_| index.touch(1, &at(1, 0)));
        assert_eq!(index.take_used(1, &at(1, 0)), Some(3));
        assert_eq!(index.take_used(1, &at(1, 0)), Some(0));
        assert_eq!(index.take_used(1, &at(1, 1)), None);
        assert_eq!(index.candidates(1)[0].place, at(1, 0));
    }

    #[test]
    fn a_hash_has_a_bounded_number_of_objects_and_the_oldest_goes() {
        let index = Index::default();
        for number in 1..=100 {
            index.put(1, number, &["a".into()], at(1, number));
        }
        let found = index.candidates(1);
        assert_eq!((found.len(), found[0].place.unit), (MOST_OF_A_HASH, 69));
    }

    #[test]
    fn memory_for_each_of_many_objects() {
        let index = Index::default();
        let secret = super::super::record::Secret(9);
        for number in 0..200_000u32 {
            index.put(secret.sum(&number.to_le_bytes()), 0, &[], at(1, number));
        }
        assert!(index.memory() / 200_000 < 60, "{} bytes", index.memory() / 200_000);
    }
}

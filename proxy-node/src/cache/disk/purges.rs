//! What has been purged, in a file of its own that is on the disk before a purge is acknowledged.
//!
//! A purge has a number from the same sequence as the records: it takes away those before it. It is
//! forgotten once no record is left that is older. A file with a byte that is not right empties the
//! whole tier: what it said is not known then.

use std::collections::HashMap;

use super::{
    bytes::{Cursor, put_string},
    record::Secret,
};

/// Purges of single keys that are remembered. With more of them everything is purged at once.
const MOST_KEYS: usize = 1 << 18;
/// Prefixes that are remembered: each is compared with the key of every object that is read.
const MOST_PREFIXES: usize = 256;

/// What is taken away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Purge {
    /// Everything that is stored for a key, by its hash.
    Key(u64),
    /// Everything whose key begins so.
    Prefix(Vec<u8>),
}

/// All that may still concern something stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purges {
    keys: HashMap<u64, u64>,
    prefixes: Vec<(Vec<u8>, u64)>,
    newest: u64,
}

impl Purges {
    /// Adds one. Answers what has to be written for it: where it is one too many, everything is
    /// purged.
    pub fn add(&mut self, purge: Purge, sequence: u64) -> Purge {
        self.newest = self.newest.max(sequence);
        let too_many = match &purge {
            Purge::Key(hash) => self.keys.len() >= MOST_KEYS && !self.keys.contains_key(hash),
            Purge::Prefix(prefix) => {
                // A longer one that came before says nothing more.
                self.prefixes.retain(|(old, _)| !old.starts_with(prefix));
                self.prefixes.len() >= MOST_PREFIXES
            }
        };
        let purge = if too_many { Purge::Prefix(Vec::new()) } else { purge };
        match &purge {
            Purge::Key(hash) => {
                self.keys.insert(*hash, sequence);
            }
            Purge::Prefix(prefix) => {
                if prefix.is_empty() {
                    *self = Self { newest: self.newest, ..Self::default() };
                }
                self.prefixes.push((prefix.clone(), sequence));
            }
        }
        purge
    }

    /// Whether a record with this number has been purged.
    #[must_use]
    pub fn take_away(&self, hash: u64, key: &[u8], sequence: u64) -> bool {
        sequence < self.newest
            && (self.keys.get(&hash).is_some_and(|purged| sequence < *purged)
                || self
                    .prefixes
                    .iter()
                    .any(|(prefix, purged)| sequence < *purged && key.starts_with(prefix)))
    }

    /// Forgets those that no record is older than.
    pub fn forget(&mut self, oldest: u64) {
        self.keys.retain(|_, purged| *purged > oldest);
        self.prefixes.retain(|(_, purged)| *purged > oldest);
    }

    /// The number of the newest.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// All of them, as they stand in the file.
    #[must_use]
    pub fn encode(&self, secret: Secret) -> Vec<u8> {
        let mut out = Vec::new();
        for (prefix, sequence) in &self.prefixes {
            encode(&mut out, secret, &Purge::Prefix(prefix.clone()), *sequence);
        }
        for (hash, sequence) in &self.keys {
            encode(&mut out, secret, &Purge::Key(*hash), *sequence);
        }
        out
    }

    /// Reads the file. `None`: it is not what was written.
    #[must_use]
    pub fn decode(bytes: &[u8], secret: Secret) -> Option<Self> {
        let mut purges = Self::default();
        let mut cursor = Cursor(bytes);
        while !cursor.0.is_empty() {
            let said = cursor.string()?;
            if cursor.u64()? != secret.sum(said) {
                return None;
            }
            let mut said = Cursor(said);
            let sequence = said.u64()?;
            let purge = match said.u8()? {
                1 => Purge::Key(said.u64()?),
                2 => Purge::Prefix(said.string()?.to_vec()),
                _ => return None,
            };
            purges.add(purge, sequence);
        }
        Some(purges)
    }
}

/// Appends one as it stands in the file.
pub fn encode(out: &mut Vec<u8>, secret: Secret, purge: &Purge, sequence: u64) {
    let mut said = sequence.to_le_bytes().to_vec();
    match purge {
        Purge::Key(hash) => {
            said.push(1);
            said.extend(hash.to_le_bytes());
        }
        Purge::Prefix(prefix) => {
            said.push(2);
            put_string(&mut said, prefix);
        }
    }
    put_string(out, &said);
    out.extend(secret.sum(&said).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret(5);

    #[test]
    fn what_came_before_is_taken_away() {
        let mut purges = Purges::default();
        assert!(!purges.take_away(1, b"http://a/", 0));
        purges.add(Purge::Key(1), 10);
        purges.add(Purge::Prefix(b"http://b/".to_vec()), 20);
        for (hash, key, sequence, gone) in [
            (1, "http://a/", 9, true),
            (1, "http://a/", 10, false),
            (1, "http://a/", 11, false),
            (2, "http://b/x", 19, true),
            (2, "http://b/x", 21, false),
            (2, "http://c/x", 1, false),
        ] {
            assert_eq!(purges.take_away(hash, key.as_bytes(), sequence), gone, "{key} {sequence}");
        }
        let read = Purges::decode(&purges.encode(SECRET), SECRET).unwrap();
        assert_eq!(read, purges);
        purges.forget(10);
        assert!(!purges.take_away(1, b"http://a/", 9) && purges.take_away(2, b"http://b/", 9));
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_believed() {
        let mut purges = Purges::default();
        purges.add(Purge::Key(1), 10);
        purges.add(Purge::Prefix(b"http://b/".to_vec()), 20);
        let bytes = purges.encode(SECRET);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Purges::decode(&flipped, SECRET), None, "bit {bit}");
        }
        let mut first = Vec::new();
        encode(&mut first, SECRET, &Purge::Prefix(b"http://b/".to_vec()), 20);
        for cut in (1..bytes.len()).filter(|cut| *cut != first.len()) {
            assert_eq!(Purges::decode(&bytes[..cut], SECRET), None, "cut at {cut}");
        }
    }

    #[test]
    fn too_many_are_one_of_everything() {
        let mut purges = Purges::default();
        let mut last = Purge::Key(0);
        for number in 0..=MOST_KEYS as u64 {
            last = purges.add(Purge::Key(number), number + 1);
        }
        assert_eq!(last, Purge::Prefix(Vec::new()));
        assert!(purges.take_away(99, b"http://any/", MOST_KEYS as u64));
    }
}

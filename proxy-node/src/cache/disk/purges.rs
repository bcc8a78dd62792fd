//! What has been purged, in a file of its own that is on the disk before a purge is acknowledged.
//!
//! A purge has a number from the same sequence as the records: it concerns those before it. It is
//! forgotten once no record is left that is older. A file with a byte that is not right empties the
//! whole tier: what it said is not known then.

use std::collections::HashMap;

use super::{
    bytes::{Cursor, put_string},
    record::Secret,
    segment::Listed,
};
use crate::cache::{
    purge::{self, Mode, Scope},
    tags::Tags,
};

/// Purges of single keys that are remembered. With more of them everything is purged at once.
const MOST_KEYS: usize = 1 << 18;
/// Others that are remembered: each is compared with every object that is read.
const MOST_OTHERS: usize = 256;

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything that is stored for a key, by its hash.
    Key(u64, Mode),
    /// What is not one key.
    Other(purge::Purge),
}

impl Purge {
    /// Of everything.
    #[must_use]
    pub const fn everything(mode: Mode) -> Self {
        Self::Other(purge::Purge { scope: Scope::Everything, mode })
    }

    #[must_use]
    pub const fn mode(&self) -> Mode {
        match self {
            Self::Key(_, mode) => *mode,
            Self::Other(purge) => purge.mode,
        }
    }
}

/// The numbers of the newest purges of something; 0: there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest {
    soft: u64,
    hard: u64,
}

impl Newest {
    fn note(&mut self, mode: Mode, sequence: u64) {
        let newest = match mode {
            Mode::Soft => &mut self.soft,
            Mode::Hard => &mut self.hard,
        };
        *newest = sequence.max(*newest);
    }

    fn of(self, sequence: u64) -> Option<Mode> {
        let hard = (sequence < self.hard).then_some(Mode::Hard);
        hard.or((sequence < self.soft).then_some(Mode::Soft))
    }

    fn each(self) -> impl Iterator<Item = (Mode, u64)> {
        let both = [(Mode::Soft, self.soft), (Mode::Hard, self.hard)];
        both.into_iter().filter(|(_, sequence)| *sequence > 0)
    }
}

/// All that may still concern something stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purges {
    keys: HashMap<u64, Newest>,
    others: Vec<(purge::Purge, u64)>,
    everything: Newest,
    newest: u64,
}

impl Purges {
    /// Adds one. Answers what has to be written for it: where it is one too many, everything is
    /// purged.
    pub fn add(&mut self, purge: Purge, sequence: u64) -> Purge {
        self.newest = self.newest.max(sequence);
        let too_many = match &purge {
            Purge::Key(hash, _) => self.keys.len() >= MOST_KEYS && !self.keys.contains_key(hash),
            Purge::Other(new) => {
                // One that came before and is about nothing else says nothing more.
                self.others.retain(|(old, _)| !says_all_of(new, old));
                self.others.len() >= MOST_OTHERS
            }
        };
        let purge = if too_many { Purge::everything(purge.mode()) } else { purge };
        match &purge {
            Purge::Key(hash, mode) => self.keys.entry(*hash).or_default().note(*mode, sequence),
            Purge::Other(purge::Purge { scope: Scope::Everything, mode }) => {
                self.everything.note(*mode, sequence);
                let hardest = *mode;
                self.others.retain(|(old, _)| old.mode > hardest);
                if hardest == Mode::Hard {
                    self.keys.clear();
                }
            }
            Purge::Other(other) => self.others.push((other.clone(), sequence)),
        }
        purge
    }

    /// What became of a record with this number.
    #[must_use]
    pub fn of(&self, hash: u64, key: &[u8], tags: &Tags, sequence: u64) -> Option<Mode> {
        if sequence >= self.newest {
            return None;
        }
        let of_key = self.keys.get(&hash).and_then(|newest| newest.of(sequence));
        let found = of_key.max(self.everything.of(sequence));
        if found == Some(Mode::Hard) {
            return found;
        }
        let others = self.others.iter().filter(|(purge, purged)| {
            sequence < *purged && found < Some(purge.mode) && purge.scope.matches(key, tags)
        });
        others.map(|(purge, _)| Some(purge.mode)).max().unwrap_or(found)
    }

    /// What became of a record that is listed.
    #[must_use]
    pub fn of_listed(&self, listed: &Listed) -> Option<Mode> {
        self.of(listed.hash, &listed.key, &listed.tags, listed.sequence)
    }

    /// Forgets those that no record is older than.
    pub fn forget(&mut self, oldest: u64) {
        let forget = |newest: &mut Newest| {
            for sequence in [&mut newest.soft, &mut newest.hard] {
                if *sequence <= oldest {
                    *sequence = 0;
                }
            }
        };
        self.keys.retain(|_, newest| {
            forget(newest);
            *newest != Newest::default()
        });
        forget(&mut self.everything);
        self.others.retain(|(_, purged)| *purged > oldest);
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
        for (mode, sequence) in self.everything.each() {
            encode(&mut out, secret, &Purge::everything(mode), sequence);
        }
        for (purge, sequence) in &self.others {
            encode(&mut out, secret, &Purge::Other(purge.clone()), *sequence);
        }
        for (hash, newest) in &self.keys {
            for (mode, sequence) in newest.each() {
                encode(&mut out, secret, &Purge::Key(*hash, mode), sequence);
            }
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
                1 => Purge::Key(said.u64()?, Mode::Hard),
                2 => match said.string()? {
                    // As earlier versions wrote it.
                    b"" => Purge::everything(Mode::Hard),
                    prefix => Purge::Other(purge::Purge {
                        scope: Scope::Prefix(prefix.to_vec()),
                        mode: Mode::Hard,
                    }),
                },
                3 => Purge::Key(said.u64()?, Mode::Soft),
                4 => {
                    let mode = match said.u8()? {
                        0 => Mode::Soft,
                        1 => Mode::Hard,
                        _ => return None,
                    };
                    let scope = Scope::written(said.u8()?, said.string()?)?;
                    Purge::Other(purge::Purge { scope, mode })
                }
                _ => return None,
            };
            purges.add(purge, sequence);
        }
        Some(purges)
    }
}

/// Whether a later purge does all that an earlier one does.
fn says_all_of(new: &purge::Purge, old: &purge::Purge) -> bool {
    let wider = match (&new.scope, &old.scope) {
        (Scope::Prefix(new), Scope::Prefix(old)) => old.starts_with(new),
        (new, old) => new == old,
    };
    wider && new.mode >= old.mode
}

/// Appends one as it stands in the file.
pub fn encode(out: &mut Vec<u8>, secret: Secret, purge: &Purge, sequence: u64) {
    let mut said = sequence.to_le_bytes().to_vec();
    match purge {
        Purge::Key(hash, mode) => {
            said.push(if *mode == Mode::Hard { 1 } else { 3 });
            said.extend(hash.to_le_bytes());
        }
        Purge::Other(purge) => {
            let (kind, text) = purge.scope.parts();
            said.extend([4, u8::from(purge.mode == Mode::Hard), kind]);
            put_string(&mut said, &text);
        }
    }
    put_string(out, &said);
    out.extend(secret.sum(&said).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Secret = Secret(5);

    fn other(scope: Scope, mode: Mode) -> Purge {
        Purge::Other(purge::Purge { scope, mode })
    }

    fn tagged(tag: &str) -> Tags {
        Tags::of([(&b"cache-tag"[..], tag.as_bytes())].into_iter())
    }

    #[test]
    fn what_came_before_is_concerned_and_what_comes_after_is_not() {
        let mut purges = Purges::default();
        assert_eq!(purges.of(1, b"http://a/", &Tags::default(), 0), None);
        let prefix = Scope::prefix("http://b/").unwrap();
        for (purge, sequence) in [
            (Purge::Key(1, Mode::Hard), 10),
            (Purge::Key(1, Mode::Soft), 15),
            (other(prefix, Mode::Hard), 20),
            (other(Scope::tag("t").unwrap(), Mode::Soft), 30),
            (other(Scope::tag("u").unwrap(), Mode::Hard), 40),
        ] {
            purges.add(purge, sequence);
        }
        let check = |purges: &Purges| {
            for (hash, key, tag, sequence, became) in [
                (1, "http://a/", "", 9, Some(Mode::Hard)),
                (1, "http://a/", "", 10, Some(Mode::Soft)),
                (1, "http://a/", "", 15, None),
                (2, "http://b/x", "", 19, Some(Mode::Hard)),
                (2, "http://b/x", "t", 21, Some(Mode::Soft)),
                (2, "http://b/x", "", 21, None),
                (2, "http://c/x", "", 1, None),
                (2, "http://c/x", "t,u", 1, Some(Mode::Hard)),
                (2, "http://c/x", "t,u", 40, None),
            ] {
                let said = purges.of(hash, key.as_bytes(), &tagged(tag), sequence);
                assert_eq!(said, became, "{key} {tag} {sequence}");
            }
        };
        check(&purges);
        let read = Purges::decode(&purges.encode(SECRET), SECRET).unwrap();
        check(&read);
        assert_eq!(read, purges);
        purges.add(Purge::everything(Mode::Soft), 50);
        assert_eq!(purges.of(9, b"http://z/", &Tags::default(), 49), Some(Mode::Soft));
        assert_eq!(purges.of(1, b"http://a/", &Tags::default(), 9), Some(Mode::Hard));
        purges.forget(20);
        assert_eq!(purges.of(1, b"http://a/", &Tags::default(), 9), Some(Mode::Soft));
        assert_eq!(purges.of(2, b"http://b/", &tagged("u"), 9), Some(Mode::Hard));
        purges.add(Purge::everything(Mode::Hard), 60);
        assert_eq!(purges.of(9, b"http://z/", &Tags::default(), 59), Some(Mode::Hard));
        let read = Purges::decode(&purges.encode(SECRET), SECRET).unwrap();
        assert_eq!(read, purges);
    }

    #[test]
    fn a_file_that_is_not_whole_is_not_believed() {
        let mut purges = Purges::default();
        purges.add(Purge::Key(1, Mode::Hard), 10);
        purges.add(other(Scope::prefix("http://b/").unwrap(), Mode::Soft), 20);
        let bytes = purges.encode(SECRET);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Purges::decode(&flipped, SECRET), None, "bit {bit}");
        }
        let mut first = Vec::new();
        encode(&mut first, SECRET, &other(Scope::prefix("http://b/").unwrap(), Mode::Soft), 20);
        for cut in (1..bytes.len()).filter(|cut| *cut != first.len()) {
            assert_eq!(Purges::decode(&bytes[..cut], SECRET), None, "cut at {cut}");
        }
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let mut bytes = Vec::new();
        for (sequence, prefix) in [(7u64, &b"http://b/"[..]), (9, b"")] {
            let mut said = sequence.to_le_bytes().to_vec();
            said.push(2);
            put_string(&mut said, prefix);
            put_string(&mut bytes, &said);
            bytes.extend(SECRET.sum(&said).to_le_bytes());
        }
        let purges = Purges::decode(&bytes, SECRET).unwrap();
        assert_eq!(purges.of(1, b"http://z/", &Tags::default(), 8), Some(Mode::Hard));
        assert_eq!(purges.of(1, b"http://z/", &Tags::default(), 9), None);
    }

    #[test]
    fn too_many_are_one_of_everything() {
        let mut purges = Purges::default();
        let mut last = Purge::Key(0, Mode::Hard);
        for number in 0..=MOST_KEYS as u64 {
            last = purges.add(Purge::Key(number, Mode::Hard), number + 1);
        }
        assert_eq!(last, Purge::everything(Mode::Hard));
        let number = MOST_KEYS as u64;
        assert_eq!(purges.of(99, b"http://any/", &Tags::default(), number), Some(Mode::Hard));
        // Of soft ones too many are soft.
        for number in 0..=MOST_OTHERS as u64 {
            let tag = Scope::tag(&format!("t{number}")).unwrap();
            last = purges.add(other(tag, Mode::Soft), (1 << 20) + number);
        }
        assert_eq!(last, Purge::everything(Mode::Soft));
        assert_eq!(purges.of(9, b"http://any/", &Tags::default(), 1 << 20), Some(Mode::Soft));
    }
}

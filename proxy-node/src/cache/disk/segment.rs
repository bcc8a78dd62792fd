//! A segment: a file of records, one behind the other, and behind them, once it is full, a list of
//! the objects in it, so that starting reads the lists and not the objects.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    bytes::{Cursor, put_string},
    device::File,
    record::{HEADER, Header, Kind, Place, Secret, UNIT},
    stored::{self, Stored},
};
use crate::cache::{object, tags::Tags};

/// Behind the list: magic, version, where it begins, how many objects are in it, its sum, and the
/// sum of this.
const TRAILER: usize = 40;
const MAGIC: u32 = 0x4C67_7253;
/// A segment with a list of another version is looked through, and gets one of this.
const VERSION: u32 = 2;
/// Stands for more tags than are kept.
const MORE: u16 = u16::MAX;
/// Bytes that a list may have.
const MOST_LIST: u64 = 64 << 20;

#[derive(Debug)]
pub struct Segment {
    pub id: u32,
    pub file: Box<dyn File>,
    /// Bytes of the file.
    pub length: AtomicU64,
    /// The smallest number of a record in it.
    oldest: AtomicU64,
}

impl Segment {
    #[must_use]
    pub fn new(id: u32, file: Box<dyn File>) -> Self {
        Self { id, file, length: AtomicU64::new(0), oldest: AtomicU64::new(u64::MAX) }
    }

    pub fn note(&self, sequence: u64) {
        self.oldest.fetch_min(sequence, Ordering::Relaxed);
    }

    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }
}

/// An object as a list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub hash: u64,
    /// Of what selects it; 0: every request does.
    pub digest: u32,
    pub sequence: u64,
    pub unit: u32,
    pub units: u32,
    pub names: Vec<Box<str>>,
    pub key: Vec<u8>,
    pub tags: Tags,
}

impl Listed {
    #[must_use]
    pub const fn place(&self, segment: u32) -> Place {
        Place { segment, unit: self.unit, units: self.units }
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.hash.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        for number in [self.digest, self.unit, self.units] {
            out.extend(number.to_le_bytes());
        }
        stored::put_names(out, &self.names);
        put_string(out, &self.key);
        let hashes = if self.tags.has_more() { &[][..] } else { self.tags.hashes() };
        let count = u16::try_from(hashes.len()).unwrap_or(MORE);
        out.extend(if self.tags.has_more() { MORE } else { count }.to_le_bytes());
        hashes.iter().for_each(|hash| out.extend(hash.to_le_bytes()));
    }

    fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let (hash, sequence) = (cursor.u64()?, cursor.u64()?);
        let (digest, unit, units) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let names = stored::names(cursor)?;
        let key = cursor.string()?.to_vec();
        let tags = match cursor.u16()? {
            MORE => Tags::with(Vec::new(), true),
            count => {
                let hashes: Option<Vec<u64>> = (0..count).map(|_| cursor.u64()).collect();
                Tags::with(hashes?, false)
            }
        };
        Some(Self { hash, digest, sequence, unit, units, names, key, tags })
    }

    /// Reads all of a list.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> + '_ {
        let mut cursor = Cursor(bytes);
        std::iter::from_fn(move || Self::decode(&mut cursor))
    }
}

/// What goes behind a list that begins at `at`.
#[must_use]
pub fn trailer(secret: Secret, id: u32, list: &[u8], at: u64) -> [u8; TRAILER] {
    let mut out = Vec::with_capacity(TRAILER);
    for number in [MAGIC, VERSION, id, 0] {
        out.extend(number.to_le_bytes());
    }
    out.extend(at.to_le_bytes());
    out.extend(secret.sum(list).to_le_bytes());
    let sum = secret.sum(&out);
    out.extend(sum.to_le_bytes());
    let mut trailer = [0; TRAILER];
    trailer.copy_from_slice(&out);
    trailer
}

/// The list at the end of a file. `None`: there is none that could be believed.
#[must_use]
pub fn list(file: &dyn File, secret: Secret, id: u32) -> Option<Vec<u8>> {
    let end = file.length().ok()?.checked_sub(TRAILER as u64)?;
    let mut trailer = [0; TRAILER];
    file.read_at(&mut trailer, end).ok()?;
    let mut cursor = Cursor(&trailer);
    let right = (cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?);
    let (at, sum) = (cursor.u64()?, cursor.u64()?);
    if right != (MAGIC, VERSION, id, 0) || cursor.u64()? != secret.sum(trailer.get(..TRAILER - 8)?)
    {
        return None;
    }
    let length = end.checked_sub(at).filter(|length| *length <= MOST_LIST)?;
    let mut list = vec![0; usize::try_from(length).ok()?];
    file.read_at(&mut list, at).ok()?;
    (secret.sum(&list) == sum).then_some(list)
}

/// Looks for the objects in a file without a list: its process ended before it was full. Answers
/// where the last record ends, too.
///
/// Where something is that is no record, the next one is looked for: it does not take away what
/// comes behind it.
#[must_use]
pub fn scan(file: &dyn File, secret: Secret, id: u32) -> (Vec<Listed>, u64) {
    let (mut found, mut end, mut at) = (Vec::new(), 0, 0u64);
    let Ok(length) = file.length() else { return (found, 0) };
    let mut header = [0; HEADER];
    while at + HEADER as u64 <= length {
        let unit = u32::try_from(at / UNIT as u64).unwrap_or(u32::MAX);
        let read = file.read_at(&mut header, at).is_ok();
        let here = if read { Header::decode(&header, secret, id, unit) } else { None };
        let Some(here) = here.filter(|here| at + here.length() <= length) else {
            at += UNIT as u64;
            continue;
        };
        if here.kind == Kind::Object
            && let Some(stored) = meta(file, secret, &here, at)
        {
            let varied = stored.varied.as_ref();
            found.push(Listed {
                hash: here.hash,
                digest: varied.map_or(0, |it| stored::short(&it.digest)),
                sequence: here.sequence,
                unit,
                units: u32::try_from(here.length() / UNIT as u64).unwrap_or(u32::MAX),
                names: stored.varied.map(|it| it.names).unwrap_or_default(),
                tags: Tags::of(object::fields(&stored.head)),
                key: stored.key,
            });
        }
        at += here.length();
        end = at;
    }
    (found, end)
}

fn meta(file: &dyn File, secret: Secret, header: &Header, at: u64) -> Option<Stored> {
    let mut meta = vec![0; header.meta as usize];
    file.read_at(&mut meta, at + HEADER as u64).ok()?;
    Stored::decode(&meta).filter(|_| secret.sum(&meta) == header.meta_sum)
}

/// The name of a segment's file.
#[must_use]
pub fn name(id: u32) -> String {
    format!("{id:08x}.segment")
}

/// The segment that a file is.
#[must_use]
pub fn parse(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment").filter(|digits| digits.len() == 8)?;
    u32::from_str_radix(digits, 16).ok()
}

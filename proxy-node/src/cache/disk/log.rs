//! The log: what is stored is appended to the newest segment, and the oldest segment goes when
//! there is no room for another. Whatever was used since it was written is written again first, so
//! that what is popular stays (FIFO with reinsertion). It belongs to one thread.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    counts::Counts,
    device::{Device, File},
    index::Index,
    purges::{self, Purge, Purges},
    record::{self, Kind, Place, Secret, UNIT},
    segment::{self, Listed, Segment},
    stored::{Extent, Stored},
};
use crate::cache::{
    object,
    purge::{self, Mode},
    tags::Tags,
};

/// Bytes that are written at once.
const FLUSH: usize = 1 << 20;
const LEAST_SEGMENT: u64 = 1 << 20;
const MOST_SEGMENT: u64 = 64 << 20;
/// A tier has so many segments at least, while each has its least size.
const SEGMENTS: u64 = 32;
/// The least that a tier may have, in bytes.
pub const LEAST: u64 = 4 * LEAST_SEGMENT;
/// Bytes that the file system keeps for others: before there is less left, the oldest segment goes.
const RESERVE: u64 = 64 << 20;
/// Bytes of the file of purges from which on it is written anew without those that say nothing any
/// more.
const MUCH_PURGED: u64 = 256 << 10;
pub(super) const PURGES: &str = "purges";

/// What readers and the log share.
#[derive(Debug)]
pub struct Shared {
    pub device: Arc<dyn Device>,
    pub secret: Secret,
    pub index: Index,
    pub(super) segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    pub(super) purges: Mutex<Purges>,
    pub(super) sequence: AtomicU64,
    /// Records before this number are of a time of which the clock does not say how long ago it
    /// was.
    pub(super) doubtful: u64,
    /// Whether the oldest has gone already for want of room.
    pub(super) full: std::sync::atomic::AtomicBool,
    pub counts: Arc<Counts>,
}

impl Shared {
    /// The hash of a key.
    #[must_use]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.secret.sum(key)
    }

    /// A segment that is still there.
    #[must_use]
    pub fn segment(&self, id: u32) -> Option<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The number of the next record or purge.
    pub fn number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// Purges at once. Answers what has to be written so that it stays so, and how many objects it
    /// concerned; those of more than a key are counted by [`Log::sweep`].
    pub fn purge(&self, purge: Purge) -> (Purge, u64, u64) {
        let mut purges = self.purges();
        let sequence = self.number();
        let removed = match &purge {
            Purge::Key(hash, Mode::Hard) => self.index.remove(*hash),
            Purge::Key(hash, Mode::Soft) => self.index.candidates(*hash).len() as u64,
            Purge::Other(_) => 0,
        };
        (purges.add(purge, sequence), sequence, removed)
    }

    /// What purges made of a record.
    #[must_use]
    pub fn purged(&self, hash: u64, stored: &Stored, sequence: u64) -> Option<Mode> {
        let tags = Tags::of(object::fields(&stored.head));
        self.purges().of(hash, &stored.key, &tags, sequence)
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn used(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.values().map(|segment| segment.length()).sum()
    }

    fn purges(&self) -> MutexGuard<'_, Purges> {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something to append.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub sequence: u64,
    pub stored: &'a Stored,
    /// The pieces of its body; none where that is in extents.
    pub body: &'a [bytes::Bytes],
}

/// Why something was not appended.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    #[error("larger than what a record or this disk may hold")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    open: Option<Open>,
    next: u32,
    capacity: u64,
    purges: Box<dyn File>,
    purges_length: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Open {
    segment: Arc<Segment>,
    /// What is not written yet, and where that will begin.
    buffer: Vec<u8>,
    begins: u64,
    /// The list that goes behind the records.
    list: Vec<u8>,
    /// Objects that are in the buffer: nobody finds them yet.
    unwritten: Vec<Listed>,
}

impl Log {
    /// A log that goes on behind these segments.
    #[must_use]
    pub fn new(shared: Arc<Shared>, next: u32, capacity: u64, purges: Box<dyn File>) -> Self {
        let purges_length = purges.length().unwrap_or(0);
        Self { shared, open: None, next, capacity, purges, purges_length }
    }

    #[must_use]
    pub const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Bytes of a segment.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        (self.capacity / SEGMENTS).clamp(LEAST_SEGMENT, MOST_SEGMENT)
    }

    /// The largest body that is stored, in bytes.
    #[must_use]
    pub const fn largest(&self) -> u64 {
        self.capacity / 4
    }

    /// Appends an object. Others find it once it is [flushed](Self::flush).
    ///
    /// # Errors
    /// It is too large, or the disk does not take it; then nothing of it is found.
    pub fn append(&mut self, record: Record<'_>) -> Result<Place, NotWritten> {
        let Record { sequence, stored, body } = record;
        let hash = self.shared.hash(&stored.key);
        let listed = |place: Place| Listed {
            hash,
            digest: stored.varied.as_ref().map_or(0, |it| super::stored::short(&it.digest)),
            sequence,
            unit: place.unit,
            units: place.units,
            names: stored.varied.as_ref().map(|it| it.names.clone()).unwrap_or_default(),
            key: stored.key.clone(),
            tags: Tags::of(object::fields(&stored.head)),
        };
        let meta = stored.encode();
        let body = body.iter().map(|piece| &**piece);
        let place = self.put(Kind::Object, sequence, hash, &meta, body)?;
        if let Some(open) = &mut self.open {
            let listed = listed(place);
            listed.encode(&mut open.list);
            open.unwritten.push(listed);
        }
        self.flush_if_much()?;
        Ok(place)
    }

    /// Appends a piece of a body, to which an object will refer.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_extent(&mut self, sequence: u64, bytes: &[u8]) -> Result<Extent, NotWritten> {
        let pieces = std::iter::once(bytes);
        let place = self.put(Kind::Extent, sequence, 0, &[], pieces)?;
        let at = place.at() + record::HEADER as u64;
        self.flush_if_much()?;
        Ok(Extent {
            segment: place.segment,
            at: u32::try_from(at).unwrap_or(u32::MAX),
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            sum: self.shared.secret.sum(bytes),
        })
    }

    fn put<'a>(
        &mut self,
        kind: Kind,
        sequence: u64,
        hash: u64,
        meta: &[u8],
        body: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Place, NotWritten> {
        let bytes = body.clone().map(<[u8]>::len).sum();
        let length = record::length(meta.len(), bytes)
            .filter(|length| *length <= self.segment_size() / 2)
            .ok_or(NotWritten::TooLarge)?;
        self.make_room(length)?;
        let secret = self.shared.secret;
        let open = self.open.as_mut().ok_or_else(|| io::Error::other("no segment is open"))?;
        let at = open.begins + open.buffer.len() as u64;
        let unit = u32::try_from(at / UNIT as u64).unwrap_or(u32::MAX);
        let units = u32::try_from(length / UNIT as u64).unwrap_or(u32::MAX);
        let place = Place { segment: open.segment.id, unit, units };
        record::encode(
            &mut open.buffer,
            secret,
            (place.segment, unit),
            kind,
            sequence,
            hash,
            meta,
            body,
        );
        open.segment.note(sequence);
        Ok(place)
    }

    fn flush_if_much(&mut self) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.buffer.len() >= FLUSH) {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was appended: from now on it is found, and stays if the process is killed.
    ///
    /// # Errors
    /// The disk does not take it. What was not written is lost.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut written = self.write();
        let is_full = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        };
        if written.as_ref().is_err_and(is_full) && self.drop_oldest() {
            written = self.write();
        }
        if let Err(error) = written {
            // Its file may hold half of it: nothing more is put behind that.
            if let Some(open) = self.open.take() {
                drop(open.segment.file.truncate(open.begins));
                self.shared.counts.lost.fetch_add(open.unwritten.len() as u64, Ordering::Relaxed);
                open.segment.length.store(open.begins, Ordering::Relaxed);
            }
            return Err(error);
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.buffer.is_empty() {
            return Ok(());
        }
        open.segment.file.write_at(&open.buffer, open.begins)?;
        open.begins += open.buffer.len() as u64;
        open.segment.length.store(open.begins, Ordering::Relaxed);
        open.buffer.clear();
        let shared = &self.shared;
        shared.counts.written.fetch_add(open.unwritten.len() as u64, Ordering::Relaxed);
        for listed in open.unwritten.drain(..) {
            // Under the lock, so that no purge comes in between.
            let purges = shared.purges();
            if purges.of_listed(&listed) != Some(Mode::Hard) {
                let place = listed.place(open.segment.id);
                shared.index.put(listed.hash, listed.digest, &listed.names, place);
            }
        }
        Ok(())
    }

    /// Closes the segment: behind its records comes the list of them.
    ///
    /// # Errors
    /// The disk does not take it. What is in the segment is found again by a scan.
    pub fn seal(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(open) = self.open.take() else { return Ok(()) };
        let file = &open.segment.file;
        let mut list = open.list;
        let length = list.len();
        list.extend(segment::trailer(self.shared.secret, open.segment.id, &list, open.begins));
        debug_assert!(list.len() > length);
        file.write_at(&list, open.begins)?;
        open.segment.length.store(open.begins + list.len() as u64, Ordering::Relaxed);
        file.sync()
    }

    /// Sees to it that a record of this length fits into the open segment.
    fn make_room(&mut self, length: u64) -> io::Result<()> {
        let size = self.segment_size();
        if let Some(open) = &self.open {
            let used = open.begins + (open.buffer.len() + open.list.len()) as u64;
            if used + length <= size {
                return Ok(());
            }
            self.seal()?;
        }
        // The file system may be everybody's: a cache is the last that should fill it.
        while self.shared.device.left().is_some_and(|left| left < RESERVE) {
            self.shared.full.store(true, Ordering::Relaxed);
            if !self.drop_oldest() {
                return Err(ErrorKind::StorageFull.into());
            }
        }
        let id = self.next;
        let file = self.shared.device.open(&segment::name(id))?;
        self.next += 1;
        let segment = Arc::new(Segment::new(id, file));
        self.segments().insert(id, segment.clone());
        self.open = Some(Open {
            segment,
            buffer: Vec::with_capacity(FLUSH + 64 * 1024),
            begins: 0,
            list: Vec::new(),
            unwritten: Vec::new(),
        });
        while self.shared.used() + size > self.capacity {
            self.shared.full.store(true, Ordering::Relaxed);
            let Some(oldest) = self.oldest() else { break };
            self.rescue(&oldest, size / 4)?;
            self.remove(&oldest);
        }
        Ok(())
    }

    /// The oldest segment that is not open.
    fn oldest(&self) -> Option<Arc<Segment>> {
        let open = self.open.as_ref().map(|open| open.segment.id);
        self.segments().values().find(|segment| Some(segment.id) != open).cloned()
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.oldest();
        if let Some(oldest) = &oldest {
            self.remove(oldest);
        }
        oldest.is_some()
    }

    /// Writes again, up to so many bytes, what was used since it was written.
    fn rescue(&mut self, segment: &Arc<Segment>, mut most: u64) -> io::Result<()> {
        for listed in self.listed(segment) {
            let place = listed.place(segment.id);
            let used = self.shared.index.take_used(listed.hash, &place);
            if used.is_none_or(|used| used == 0) || place.bytes() > most {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(place.bytes()).unwrap_or(0)];
            if segment.file.read_at(&mut bytes, place.at()).is_err() {
                continue;
            }
            let (secret, id) = (self.shared.secret, segment.id);
            let Some((header, meta, body)) = record::decode(&bytes, secret, id, listed.unit) else {
                continue;
            };
            // Pieces elsewhere are older, and go with their own segments.
            let whole = Stored::decode(meta)
                .is_some_and(|stored| stored.body == super::stored::Place::Inline);
            if !whole {
                continue;
            }
            most -= place.bytes();
            let (unit, id) = {
                let Some(open) = &mut self.open else { return Ok(()) };
                let at = open.begins + open.buffer.len() as u64;
                (u32::try_from(at / UNIT as u64).unwrap_or(u32::MAX), open.segment.id)
            };
            if let Some(open) = &mut self.open {
                record::encode(
                    &mut open.buffer,
                    secret,
                    (id, unit),
                    Kind::Object,
                    header.sequence,
                    header.hash,
                    meta,
                    std::iter::once(body),
                );
                open.segment.note(header.sequence);
                let listed = Listed { unit, ..listed };
                listed.encode(&mut open.list);
                open.unwritten.push(listed);
                self.shared.counts.rescued.fetch_add(1, Ordering::Relaxed);
            }
            self.flush_if_much()?;
        }
        // What takes their place has to be there before they go.
        self.flush()
    }

    /// Removes a segment and what is in it.
    fn remove(&self, segment: &Arc<Segment>) {
        for listed in self.listed(segment) {
            self.shared.index.remove_at(listed.hash, &listed.place(segment.id));
        }
        self.segments().remove(&segment.id);
        if let Err(error) = self.shared.device.remove(&segment::name(segment.id)) {
            let segment = segment.id;
            tracing::warn!(%error, segment, "cannot remove a segment of the disk cache");
        }
        self.shared.counts.reclaimed.fetch_add(1, Ordering::Relaxed);
    }

    /// What is in a segment that is not open.
    fn listed(&self, segment: &Segment) -> Vec<Listed> {
        let secret = self.shared.secret;
        match segment::list(&*segment.file, secret, segment.id) {
            Some(list) => Listed::all(&list).collect(),
            None => segment::scan(&*segment.file, secret, segment.id).0,
        }
    }

    /// Removes what is purged and has an earlier number; of a soft purge only counts it. Tells how
    /// many they were.
    pub fn sweep(&mut self, purge: &purge::Purge, sequence: u64) -> u64 {
        let open = self.open.as_ref().map(|open| open.segment.id);
        let segments: Vec<Arc<Segment>> = self.segments().values().cloned().collect();
        let (mut found, index) = (0, &self.shared.index);
        for segment in segments {
            let listed = match &self.open {
                Some(current) if Some(segment.id) == open => Listed::all(&current.list).collect(),
                _ => self.listed(&segment),
            };
            for listed in listed {
                let place = listed.place(segment.id);
                let concerned =
                    listed.sequence < sequence && purge.scope.matches(&listed.key, &listed.tags);
                let there = || match purge.mode {
                    Mode::Hard => index.remove_at(listed.hash, &place),
                    Mode::Soft => index.is_at(listed.hash, &place),
                };
                if concerned && there() {
                    found += 1;
                }
            }
        }
        found
    }

    /// Writes purges, and returns when they are on the disk. `oldest`: the smallest number of what
    /// is still to be appended.
    ///
    /// # Errors
    /// They are not on the disk: after a restart, what they took away might be back.
    pub fn write_purges(&mut self, purges: &[(Purge, u64)], oldest: u64) -> io::Result<()> {
        let secret = self.shared.secret;
        let mut bytes = Vec::new();
        for (purge, sequence) in purges {
            purges::encode(&mut bytes, secret, purge, *sequence);
        }
        if self.purges_length + bytes.len() as u64 > MUCH_PURGED {
            let segments = self.segments().values().map(|it| it.oldest()).min();
            let all = {
                let mut purges = self.shared.purges();
                purges.forget(oldest.min(segments.unwrap_or(u64::MAX)));
                purges.encode(secret)
            };
            if (all.len() as u64) < self.purges_length {
                self.shared.device.replace(PURGES, &all)?;
                self.purges = self.shared.device.open(PURGES)?;
                self.purges_length = all.len() as u64;
                return Ok(());
            }
        }
        let written = self.purges.write_at(&bytes, self.purges_length);
        let written = written.and_then(|()| self.purges.sync());
        if written.is_err() {
            // A half of one would empty the tier.
            drop(self.purges.truncate(self.purges_length));
        } else {
            self.purges_length += bytes.len() as u64;
        }
        written
    }

    /// Sets the bound in bytes, and removes what is beyond it.
    ///
    /// # Errors
    /// The open segment could not be closed.
    pub fn set_capacity(&mut self, capacity: u64) -> io::Result<()> {
        self.capacity = capacity;
        let sealed = self.seal();
        while self.shared.used() > capacity && self.drop_oldest() {}
        sealed
    }

    fn segments(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.shared.segments.write().unwrap_or_else(PoisonError::into_inner)
    }
}

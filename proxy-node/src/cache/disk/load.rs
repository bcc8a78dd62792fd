//! From a directory to a log: what a process finds when it starts, whether the one before it
//! stopped or was killed.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{
    bytes::Cursor,
    counts::Counts,
    device::Device,
    index::Index,
    log::{Log, PURGES, Shared},
    purges::Purges,
    record::Secret,
    segment::{self, Listed, Segment},
};
use crate::cache::purge::Mode;

/// Says that the directory is a cache's, in which format, and its secret.
const MARKER: &str = "cache";
const MAGIC: &[u8; 16] = b"shoal disk cache";
/// Of everything in the directory. What another version wrote is removed: it is a cache.
const FORMAT: u32 = 1;
const CLOCK: &str = "clock";
/// So far behind what it said last, a clock that is looked at now may be, in seconds.
const JITTER: u64 = 2;

/// Whether a file can be the cache's.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    matches!(name, MARKER | CLOCK | PURGES | "new") || segment::parse(name).is_some()
}

/// Opens what is in a directory. `now`: seconds since the epoch; `seed`: the secret of a new one.
///
/// # Errors
/// The directory cannot be read or written.
pub fn open(
    device: Arc<dyn Device>,
    capacity: u64,
    now: u64,
    seed: u64,
    counts: Arc<Counts>,
) -> io::Result<Log> {
    let found = marker(&*device)?.and_then(|secret| Some((secret, purges(&*device, secret)?)));
    let (secret, purges) = match found {
        Some(found) => found,
        None => make(&*device, seed)?,
    };
    let (index, mut segments) = (Index::default(), BTreeMap::new());
    let mut newest = purges.newest();
    let mut ids: Vec<u32> = device.names()?.iter().filter_map(|it| segment::parse(it)).collect();
    ids.sort_unstable();
    for id in &ids {
        let segment = Segment::new(*id, device.open(&segment::name(*id))?);
        for listed in listed(&segment, secret) {
            newest = newest.max(listed.sequence);
            segment.note(listed.sequence);
            if purges.of_listed(&listed) != Some(Mode::Hard) {
                index.put(listed.hash, listed.digest, &listed.names, listed.place(*id));
            }
        }
        segment.length.store(segment.file.length()?, Ordering::Relaxed);
        segments.insert(*id, Arc::new(segment));
    }
    let was = clock(&*device, secret);
    let doubtful = if was.is_some_and(|was| was > now + JITTER) { newest + 1 } else { 0 };
    let file = device.open(PURGES)?;
    let shared = Arc::new(Shared {
        device,
        secret,
        index,
        segments: RwLock::new(segments),
        purges: Mutex::new(purges),
        sequence: AtomicU64::new(newest + 1),
        doubtful,
        full: AtomicBool::new(false),
        counts,
    });
    let next = ids.last().map_or(1, |last| last + 1);
    let mut log = Log::new(shared, next, capacity, file);
    log.set_capacity(capacity)?;
    Ok(log)
}

/// The objects of a segment. One that its process did not close is closed now.
fn listed(segment: &Segment, secret: Secret) -> Vec<Listed> {
    if let Some(list) = segment::list(&*segment.file, secret, segment.id) {
        return Listed::all(&list).collect();
    }
    let (found, end) = segment::scan(&*segment.file, secret, segment.id);
    let mut list = Vec::new();
    found.iter().for_each(|listed| listed.encode(&mut list));
    list.extend(segment::trailer(secret, segment.id, &list, end));
    let closed = segment
        .file
        .truncate(end)
        .and_then(|()| segment.file.write_at(&list, end))
        .and_then(|()| segment.file.sync());
    if let Err(error) = closed {
        // It will be looked through again.
        tracing::debug!(%error, segment = segment.id, "cannot close a segment of the disk cache");
    }
    found
}

/// The secret of the directory. `None`: it is new, of another format, or unreadable.
fn marker(device: &dyn Device) -> io::Result<Option<Secret>> {
    let bytes = match device.read(MARKER) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = || {
        let mut cursor = Cursor(&bytes);
        let (magic, format) = (cursor.array::<16>()?, cursor.u32()?);
        let secret = Secret(cursor.u64()?);
        let right = cursor.u64()? == secret.sum(bytes.get(..28)?);
        (magic == *MAGIC && format == FORMAT && right).then_some(secret)
    };
    Ok(read())
}

fn purges(device: &dyn Device, secret: Secret) -> Option<Purges> {
    Purges::decode(&device.read(PURGES).ok()?, secret)
}

/// Makes an empty cache of the directory.
fn make(device: &dyn Device, seed: u64) -> io::Result<(Secret, Purges)> {
    let names = device.names()?;
    // First what says that the rest is good.
    for name in [MARKER, CLOCK] {
        if names.iter().any(|known| known == name) {
            device.remove(name)?;
        }
    }
    for name in names.iter().filter(|name| segment::parse(name).is_some()) {
        device.remove(name)?;
    }
    let secret = Secret(seed);
    device.replace(PURGES, &[])?;
    let mut marker = MAGIC.to_vec();
    marker.extend(FORMAT.to_le_bytes());
    marker.extend(secret.0.to_le_bytes());
    let sum = secret.sum(&marker);
    marker.extend(sum.to_le_bytes());
    device.replace(MARKER, &marker)?;
    Ok((secret, Purges::default()))
}

/// What the clock of the process before this one said last.
fn clock(device: &dyn Device, secret: Secret) -> Option<u64> {
    let bytes = device.read(CLOCK).ok()?;
    let mut cursor = Cursor(&bytes);
    let was = cursor.u64()?;
    // One that cannot be read says that it was later than now.
    Some(if cursor.u64() == Some(secret.sum(&was.to_le_bytes())) { was } else { u64::MAX - JITTER })
}

/// Writes down what time it is, so that a clock that was set back is noticed.
///
/// # Errors
/// The disk does not take it.
pub fn note_clock(device: &dyn Device, secret: Secret, now: u64) -> io::Result<()> {
    let mut bytes = now.to_le_bytes().to_vec();
    bytes.extend(secret.sum(&now.to_le_bytes()).to_le_bytes());
    // In place: a torn one cannot be read, and makes stale.
    let file = device.open(CLOCK)?;
    file.write_at(&bytes, 0)
}

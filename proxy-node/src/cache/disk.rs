//! The disk tier: what the memory cannot hold, and what is there again after a restart, whether the
//! process before it stopped or was killed.
//!
//! Reading order: [`record`] and [`stored`] (what stands on the disk), [`segment`] (a file of
//! that), [`log`] (files one behind the other), [`index`] (where what is), [`purges`] (what was
//! taken away), [`load`] (all of it again after a restart), [`breaker`] (when the disk is left
//! alone), [`inbox`] and [`writer`] with [`spool`] (a body that is written while it comes),
//! [`reads`] (the threads that wait for the disk, so that no worker does), [`device`] and [`bytes`]
//! below all. Why it is made so is in `docs/decisions/disk-tier.md`.
//!
//! A tier that is not there (another process has its directory, the disk fails or is slow) is a
//! miss, and never an error.

pub mod breaker;
pub mod bytes;
pub mod counts;
pub mod device;
pub mod inbox;
pub mod index;
pub mod load;
pub mod log;
pub mod purges;
pub mod reads;
pub mod record;
pub mod segment;
pub mod spool;
pub mod stored;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::bytes::Bytes;
use tokio::sync::oneshot;

use crate::cache::{
    budget::Budget,
    content::{self, Content, memory::Body},
    key::Key,
    object::{Object, Parts},
    policy::Freshness,
    purge::{self, Mode, Scope},
    sketch::Sketch,
    vary::{self, Selection},
};
use breaker::Breaker;
use counts::Counts;
use device::{Device, Directory, Unusable};
use inbox::{Inbox, Offer, Order};
use log::Shared;
use purges::Purge;
use reads::{Loaded, NotRead, Reads};
use record::Place;

/// How long a request waits for the disk before it asks the origin.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Bodies up to here stand behind their heads, are read with them, and come into memory when they
/// are asked for; larger ones are in pieces, and are read piece by piece.
pub const INLINE: u64 = 256 << 10;
/// 2 to the power of so many counters say how often things were asked for; so many uses make one
/// worth a place on a disk that is full. While there is room, everything is stored: it displaces
/// nothing.
const SKETCH: u32 = 20;
const ASKED: u8 = 2;
/// Purges that wait until the tier is loaded. With more, everything is purged.
const MOST_EARLY: usize = 4096;

/// Opens the directory.
pub type Opener = Box<dyn Fn() -> Result<Arc<dyn Device>, Unusable> + Send>;
/// A clock.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a tier has to know.
pub struct Settings {
    pub open: Opener,
    /// Bytes that it may take.
    pub capacity: u64,
    /// Bytes of memory that what waits to be written may hold.
    pub queue: u64,
    /// Threads that read.
    pub readers: usize,
    /// The secret of a new directory.
    pub seed: u64,
    /// Milliseconds since the epoch, had the wall clock not been set since the start.
    pub clock: Clock,
}

impl Settings {
    /// Of a tier in a directory of the file system.
    #[must_use]
    pub fn new(path: PathBuf, capacity: u64, queue: u64, seed: u64, clock: Clock) -> Self {
        let open = move || -> Result<Arc<dyn Device>, Unusable> {
            Ok(Arc::new(Directory::open(&path, load::is_ours)?))
        };
        Self { open: Box::new(open), capacity, queue, readers: 4, seed, clock }
    }
}

/// Whether the tier can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What is on the disk is being looked through.
    Loading,
    Ready,
    /// The node serves from memory alone, for this reason; it is tried again.
    Down(String),
}

/// The disk tier.
pub struct Disk {
    ready: OnceLock<Ready>,
    standing: Mutex<Standing>,
    /// What was purged before it was loaded; `None`: it is.
    early: Mutex<Option<Vec<Early>>>,
    inbox: Inbox,
    sketch: Sketch,
    breaker: Mutex<Breaker>,
    capacity: AtomicU64,
    queue: u64,
    clock: Clock,
    budget: Arc<Budget>,
    counts: Arc<Counts>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Ready {
    shared: Arc<Shared>,
    reads: Arc<Reads>,
}

type Answer = oneshot::Sender<Result<u64, String>>;

struct Early {
    purge: purge::Purge,
    answer: Option<Answer>,
}

/// Something on its way from the disk.
#[derive(Debug)]
pub struct Reading {
    pub answer: oneshot::Receiver<Result<Box<Loaded>, NotRead>>,
    hash: u64,
    place: Place,
    digest: Option<stored::Digest>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Disk").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

impl Disk {
    /// Starts a tier. It is of no use until it has been loaded, on a thread of its own.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(settings: Settings, budget: &Arc<Budget>) -> std::io::Result<Arc<Self>> {
        let Settings { open, capacity, queue, readers, seed, clock } = settings;
        let disk = Arc::new(Self {
            ready: OnceLock::new(),
            standing: Mutex::new(Standing::Loading),
            early: Mutex::new(Some(Vec::new())),
            inbox: Inbox::default(),
            sketch: Sketch::new(SKETCH),
            breaker: Mutex::default(),
            capacity: AtomicU64::new(capacity),
            queue,
            clock,
            budget: budget.clone(),
            counts: Arc::default(),
            thread: Mutex::default(),
        });
        let writing = disk.clone();
        let thread = std::thread::Builder::new()
            .name("disk-write".into())
            .spawn(move || writer::run(&writing, &open, readers, seed))?;
        *lock(&disk.thread) = Some(thread);
        Ok(disk)
    }

    /// Writes what waits, closes the log, and lets the directory go.
    pub fn stop(&self) {
        self.inbox.stop();
        if let Some(ready) = self.ready.get() {
            ready.reads.stop();
        }
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the disk cache has panicked");
        }
    }

    /// Whether it can be used.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let standing = lock(&self.standing).clone();
        if standing == Standing::Ready && lock(&self.breaker).is_open() {
            return Standing::Down("it fails or does not answer in time".into());
        }
        standing
    }

    #[must_use]
    pub const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Objects that it has.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.ready.get().map_or(0, |ready| ready.shared.index.objects())
    }

    /// Bytes of its files.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.ready.get().map_or(0, |ready| ready.shared.used())
    }

    /// Bytes of memory that its index takes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.ready.get().map_or(0, |ready| ready.shared.index.memory())
    }

    /// Bytes that its files may take.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub fn set_capacity(&self, capacity: u64) {
        if self.capacity.swap(capacity, Ordering::Relaxed) != capacity {
            self.inbox.set_capacity(capacity);
        }
    }

    /// Whether it has anything for a key. Asks the index alone.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        let Some(ready) = self.ready.get() else { return false };
        ready.shared.index.contains(ready.shared.hash(key.as_bytes()))
    }

    /// Has read what a request with these fields selects. `None`: there is nothing, or the disk
    /// cannot be asked.
    pub fn find<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Reading> {
        let Ready { shared, .. } = self.ready.get()?;
        self.sketch.note(shared.hash(key.as_bytes()));
        self.locate(key, fields)
    }

    fn locate<'a>(
        &self,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Reading> {
        let Ready { shared, .. } = self.ready.get()?;
        let hash = shared.hash(key.as_bytes());
        let selects = |candidate: &index::Candidate| match &candidate.names {
            None => Some((candidate.place, None)),
            Some(names) => {
                let digest = stored::digest(names, fields.clone());
                (stored::short(&digest) == candidate.digest)
                    .then_some((candidate.place, Some(digest)))
            }
        };
        let (place, digest) = shared.index.candidates(hash).iter().rev().find_map(selects)?;
        self.ask(hash, place, digest)
    }

    fn ask(&self, hash: u64, place: Place, digest: Option<stored::Digest>) -> Option<Reading> {
        let Ready { shared, reads } = self.ready.get()?;
        if !lock(&self.breaker).allows((self.clock)()) {
            return None;
        }
        let Some(answer) = reads.object(hash, place) else {
            // Its segment has gone, or the queue is full.
            if shared.segment(place.segment).is_none() {
                shared.index.remove_at(hash, &place);
            }
            return None;
        };
        Some(Reading { answer, hash, place, digest })
    }

    /// What has come of it. `read`: none where it was not waited for any longer. `None`: it is of
    /// no use, and the origin is asked.
    pub fn take(
        self: &Arc<Self>,
        reading: &Reading,
        key: &Key,
        read: Option<Result<Box<Loaded>, NotRead>>,
    ) -> Option<Found> {
        let found = self.judge(reading, key, read)?;
        if let Some(ready) = self.ready.get() {
            ready.shared.index.touch(reading.hash, &reading.place);
        }
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// What a request with these fields would get. Does not count as a use.
    pub async fn peek<'a>(
        self: &Arc<Self>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> Option<Found> {
        let reading = self.locate(key, fields)?;
        self.looked_at(key, reading).await
    }

    /// Everything that there is for a key, newest first. Does not count as a use.
    pub async fn variants(self: &Arc<Self>, key: &Key) -> Vec<Found> {
        let Some(Ready { shared, .. }) = self.ready.get() else { return Vec::new() };
        let hash = shared.hash(key.as_bytes());
        let mut found = Vec::new();
        for candidate in shared.index.candidates(hash).iter().rev() {
            if let Some(reading) = self.ask(hash, candidate.place, None) {
                found.extend(self.looked_at(key, reading).await);
            }
        }
        found
    }

    async fn looked_at(self: &Arc<Self>, key: &Key, mut reading: Reading) -> Option<Found> {
        let read = tokio::time::timeout(PATIENCE, &mut reading.answer).await.ok()?.ok()?;
        if let Ok(loaded) = &read
            && reading.digest.is_none()
        {
            // Whoever looks at everything selects everything.
            reading.digest = loaded.stored.varied.as_ref().map(|varied| varied.digest);
        }
        self.judge(&reading, key, Some(read))
    }

    fn judge(
        self: &Arc<Self>,
        reading: &Reading,
        key: &Key,
        read: Option<Result<Box<Loaded>, NotRead>>,
    ) -> Option<Found> {
        let ready = self.ready.get()?;
        let shared = &ready.shared;
        let now = (self.clock)();
        let loaded = match read {
            Some(Ok(loaded)) => *loaded,
            Some(Err(NotRead::Corrupt)) => {
                shared.index.remove_at(reading.hash, &reading.place);
                tracing::warn!(url = %key, "the disk cache had something else than was written");
                return None;
            }
            Some(Err(NotRead::Io(error))) => {
                shared.index.remove_at(reading.hash, &reading.place);
                self.failed(&format!("cannot be read: {error}"));
                return None;
            }
            None => {
                self.counts.late.fetch_add(1, Ordering::Relaxed);
                self.failed("does not answer in time");
                return None;
            }
        };
        lock(&self.breaker).succeeded();
        let Loaded { stored, sequence, body } = loaded;
        let selected = stored.varied.as_ref().map(|varied| varied.digest) == reading.digest;
        if stored.key != key.as_bytes() || !selected {
            return None;
        }
        let purged = match shared.purged(reading.hash, &stored, sequence) {
            Some(Mode::Hard) => return None,
            other => other.is_some(),
        };
        let content = match &stored.body {
            stored::Place::Inline => None,
            stored::Place::Extents(extents) => {
                let of = (reading.hash, reading.place);
                let new = content::disk::Body::new(self, &ready.reads, shared, extents, of);
                let Some(body) = new else {
                    // A part of it has gone with its segment.
                    shared.index.remove_at(reading.hash, &reading.place);
                    return None;
                };
                Some(Content::Disk(Arc::new(body)))
            }
        };
        let facts = stored.facts();
        let doubtful = sequence < shared.doubtful;
        let freshness = stored.freshness(&facts, now / 1000, doubtful);
        Some(Found { stored, facts, freshness, purged, content, body })
    }

    /// An object is complete: it is written, if that is worth it. `popular`: it is known to be.
    /// `holds` says whether it still may be, once it has its number: what is purged after that has
    /// a later one.
    pub fn offer(&self, object: &Arc<Object>, popular: bool, holds: impl FnOnce() -> bool) {
        let Some(Ready { shared, .. }) = self.ready.get() else { return };
        if lock(&self.breaker).is_open() || object.content.len() > self.capacity() / 4 {
            return;
        }
        let hash = shared.hash(object.key.as_bytes());
        let full = shared.full.load(Ordering::Relaxed);
        if full && !popular && self.sketch.estimate(hash) < ASKED {
            self.counts.declined.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let varied = object.selection.names().zip(object.selection.durable());
        let bytes = object.bytes();
        let make = || {
            let sequence = shared.number();
            holds().then(|| Offer {
                sequence,
                what: inbox::What::Object {
                    object: object.clone(),
                    varied: varied.map(|(names, digest)| (names.clone(), *digest)),
                },
                bytes,
            })
        };
        if !self.inbox.offer(self.queue, bytes, make) {
            self.counts.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes everything away that is stored for a key: from now on nobody gets it, and it is
    /// written down soon. Tells how many objects went.
    pub fn forget(&self, key: &Key) -> u64 {
        if let Some(Ready { shared, .. }) = self.ready.get() {
            // Most of what changes has never been stored.
            let hash = shared.hash(key.as_bytes());
            if self.inbox.is_empty() && !shared.index.contains(hash) {
                return 0;
            }
        }
        self.take_away(purge::Purge { scope: Scope::Url(key.clone()), mode: Mode::Hard }, None)
    }

    /// Purges: from now on nobody gets it, or not before it is validated. The answer comes when
    /// that is on the disk, and tells how many objects it concerned; or that it is so for now, but
    /// may be otherwise after a restart.
    pub fn begin_purge(&self, purge: purge::Purge) -> oneshot::Receiver<Result<u64, String>> {
        let (answer, answered) = oneshot::channel();
        self.take_away(purge, Some(answer));
        answered
    }

    fn take_away(&self, purge: purge::Purge, answer: Option<Answer>) -> u64 {
        let mut early = lock(&self.early);
        if let Some(early) = &mut *early {
            if let Standing::Down(reason) = &*lock(&self.standing)
                && let Some(answer) = answer
            {
                drop(answer.send(Err(reason.clone())));
                early.push(Early { purge, answer: None });
            } else {
                early.push(Early { purge, answer });
            }
            if early.len() > MOST_EARLY {
                early.retain(|it| it.answer.is_some());
                let everything = purge::Purge { scope: Scope::Everything, mode: Mode::Hard };
                early.push(Early { purge: everything, answer: None });
            }
            return 0;
        }
        drop(early);
        self.ready.get().map_or(0, |ready| self.order(&ready.shared, purge, answer))
    }

    /// Has a purge written down.
    fn order(&self, shared: &Shared, purge: purge::Purge, answer: Option<Answer>) -> u64 {
        let purge = match purge.scope {
            Scope::Url(key) => Purge::Key(shared.hash(key.as_bytes()), purge.mode),
            scope => Purge::Other(purge::Purge { scope, mode: purge.mode }),
        };
        let (purge, sequence, removed) = shared.purge(purge);
        let everything = || {
            let (purge, sequence, _) = shared.purge(Purge::everything(Mode::Hard));
            (purge, sequence)
        };
        self.inbox.order(Order { purge, sequence, removed, answer }, everything);
        removed
    }

    /// The disk failed. Said once until it has recovered.
    pub(crate) fn failed(&self, how: &str) {
        if lock(&self.breaker).failed((self.clock)()) {
            tracing::error!("the disk cache {how}: this node serves from memory until it recovers");
        }
    }

    /// A part of an object cannot be read.
    pub(crate) fn spoiled(&self, (hash, place): (u64, Place), error: &NotRead) {
        if let Some(ready) = self.ready.get() {
            ready.shared.index.remove_at(hash, &place);
        }
        if matches!(error, NotRead::Io(_)) {
            self.failed(&format!("cannot be read: {error}"));
        }
    }

    /// The account that what is read is charged to.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn stand(&self, standing: Standing) {
        *lock(&self.standing) = standing;
    }
}

impl Found {
    /// The object that it is, of a request with these fields, and the body that is still to be
    /// filled with these bytes, if any.
    pub fn object<'a>(
        self,
        budget: &Arc<Budget>,
        key: &Key,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) -> (Arc<Object>, Option<Arc<Body>>, Bytes) {
        let Self { stored, facts, freshness, purged, content, body: bytes } = self;
        // What the request has is what it has been selected by.
        let selection = match &stored.varied {
            None => Selection::default(),
            Some(varied) => vary::select(&varied.names, fields),
        };
        let (content, body) = match content {
            Some(content) => (content, None),
            None => {
                let body = Body::new(budget);
                (Content::Memory(body.clone()), Some(body))
            }
        };
        let length = if body.is_none() { content.len() } else { bytes.len() as u64 };
        let parts = Parts {
            key: key.clone(),
            head: stored.head,
            selection,
            from: stored.from,
            freshness,
            declared: stored.declared.or(Some(length)),
            content,
        };
        let object = Object::new(&facts, parts);
        object.purged.store(purged, Ordering::Release);
        (Arc::new(object), body, bytes)
    }
}

/// A response as it comes from the disk.
#[derive(Debug)]
pub struct Found {
    pub stored: stored::Stored,
    pub facts: crate::cache::facts::ResponseFacts,
    pub freshness: Freshness,
    /// It was purged softly: it is validated before it is used again.
    pub purged: bool,
    /// The body, where that stays on the disk.
    pub content: Option<Content>,
    /// The body otherwise.
    pub body: Bytes,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

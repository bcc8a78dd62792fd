//! Reading: threads of their own with a bounded queue, so that no worker waits for a disk.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    log::Shared,
    record::{self, Kind, Place},
    segment::Segment,
    stored::{Extent, Stored},
};
use crate::cache::budget::{Budget, Charge};

/// Reads that wait. One more is a miss.
const MOST_WAITING: usize = 1024;

/// An object as it stands on the disk.
#[derive(Debug)]
pub struct Loaded {
    pub stored: Stored,
    /// Its number among records and purges.
    pub sequence: u64,
    /// The body, where it is in the same record.
    pub body: Bytes,
}

/// Why something was not read.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    #[error("not what was written")]
    Corrupt,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Something to be read.
#[derive(Debug)]
enum Job {
    Object { hash: u64, place: Place, answer: oneshot::Sender<Result<Box<Loaded>, NotRead>> },
    Extent { extent: Extent, answer: oneshot::Sender<Result<Bytes, NotRead>> },
}

impl Job {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Object { answer, .. } => answer.is_closed(),
            Self::Extent { answer, .. } => answer.is_closed(),
        }
    }
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<(Arc<Segment>, Job)>,
    stopped: bool,
}

/// The queue of what is to be read.
#[derive(Debug)]
pub struct Reads {
    state: Mutex<State>,
    more: Condvar,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
}

impl Reads {
    #[must_use]
    pub fn new(shared: Arc<Shared>, budget: Arc<Budget>) -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), stopped: false };
        Arc::new(Self { state: Mutex::new(state), more: Condvar::new(), shared, budget })
    }

    /// Has an object read. `None`: the queue is full, or the object has gone.
    pub fn object(
        &self,
        hash: u64,
        place: Place,
    ) -> Option<oneshot::Receiver<Result<Box<Loaded>, NotRead>>> {
        let segment = self.shared.segment(place.segment)?;
        let (answer, read) = oneshot::channel();
        self.push(segment, Job::Object { hash, place, answer }).then_some(read)
    }

    /// Has a piece of a body read. `None`: the queue is full.
    pub fn extent(
        &self,
        segment: &Arc<Segment>,
        extent: Extent,
    ) -> Option<oneshot::Receiver<Result<Bytes, NotRead>>> {
        let (answer, read) = oneshot::channel();
        self.push(segment.clone(), Job::Extent { extent, answer }).then_some(read)
    }

    fn push(&self, segment: Arc<Segment>, job: Job) -> bool {
        let mut state = self.lock();
        if state.stopped || state.waiting.len() >= MOST_WAITING {
            drop(state);
            self.shared.counts.queue_full.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        state.waiting.push_back((segment, job));
        drop(state);
        self.more.notify_one();
        true
    }

    /// Reads what comes until it is stopped: what a thread of its own does.
    pub fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some((segment, job)) = state.waiting.pop_front() {
                drop(state);
                if !job.is_abandoned() {
                    self.read(&segment, job);
                }
                state = self.lock();
            } else if state.stopped {
                return;
            } else {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// What waits is not read any more, and its threads end.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
        self.more.notify_all();
    }

    fn read(&self, segment: &Segment, job: Job) {
        // Who asked may have gone meanwhile.
        match job {
            Job::Object { hash, place, answer } => {
                let read = self.read_object(segment, hash, place);
                self.note(read.as_ref().err());
                drop(answer.send(read));
            }
            Job::Extent { extent, answer } => {
                let read = self.read_extent(segment, extent);
                self.note(read.as_ref().err());
                drop(answer.send(read));
            }
        }
    }

    fn note(&self, not_read: Option<&NotRead>) {
        let counts = &self.shared.counts;
        match not_read {
            None => {}
            Some(NotRead::Corrupt) => drop(counts.corrupt.fetch_add(1, Ordering::Relaxed)),
            Some(NotRead::Io(_)) => drop(counts.errors.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn read_object(
        &self,
        segment: &Segment,
        hash: u64,
        place: Place,
    ) -> Result<Box<Loaded>, NotRead> {
        let bytes = self.bytes(segment, place.at(), place.bytes())?;
        let secret = self.shared.secret;
        let (header, meta, body) =
            record::decode(&bytes, secret, place.segment, place.unit).ok_or(NotRead::Corrupt)?;
        let stored = Stored::decode(meta).ok_or(NotRead::Corrupt)?;
        if header.kind != Kind::Object || header.hash != hash {
            return Err(NotRead::Corrupt);
        }
        let from = record::HEADER + meta.len();
        let body = from..from + body.len();
        Ok(Box::new(Loaded { stored, sequence: header.sequence, body: bytes.slice(body) }))
    }

    fn read_extent(&self, segment: &Segment, extent: Extent) -> Result<Bytes, NotRead> {
        let bytes = self.bytes(segment, u64::from(extent.at), u64::from(extent.length))?;
        if self.shared.secret.sum(&bytes) != extent.sum {
            return Err(NotRead::Corrupt);
        }
        Ok(bytes)
    }

    /// Bytes of a file, charged for as long as somebody has them.
    fn bytes(&self, segment: &Segment, at: u64, length: u64) -> Result<Bytes, NotRead> {
        // What is longer than the file is no place that was ever written.
        if at.saturating_add(length) > segment.length() {
            return Err(NotRead::Corrupt);
        }
        let charge = self.budget.work(length);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| NotRead::Corrupt)?];
        segment.file.read_at(&mut bytes, at)?;
        Ok(Bytes::from_owner(Charged { bytes, _charge: charge }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Charged {
    bytes: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

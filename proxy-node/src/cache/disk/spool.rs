//! A body that is written while it comes, because memory may not hold all of it: its pieces go to
//! the log one by one, and an object that refers to them when the last one has come. One that
//! breaks off, or that the disk does not take in time, leaves pieces to which nothing refers.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::{
    ASKED, Disk, INLINE,
    inbox::{Offer, What},
    lock,
    stored::Extent,
};
use crate::cache::{budget::Charge, object::Object};

/// Bytes of a piece: readers have two of them in memory at a time.
const PIECE: u64 = 64 << 10;
const LARGE_PIECE: u64 = 256 << 10;
/// So many pieces make an object's record small enough.
const PIECES: u64 = 4096;

/// What the disk has of a body so far.
#[derive(Debug, Default)]
pub struct Written {
    extents: Mutex<Vec<Extent>>,
    lost: AtomicBool,
}

impl Written {
    pub(super) fn add(&self, extent: Extent) {
        self.extents.lock().unwrap_or_else(PoisonError::into_inner).push(extent);
    }

    /// A piece of it is not there.
    pub(super) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// All of it, if it has this length.
    pub(super) fn whole(&self, length: u64) -> Option<Vec<Extent>> {
        let extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written: u64 = extents.iter().map(|extent| u64::from(extent.length)).sum();
        (!self.is_lost() && written == length).then_some(extents)
    }
}

/// A piece that waits to be written, with its memory.
#[derive(Debug)]
pub struct Piece {
    pub(super) written: Arc<Written>,
    pub(super) bytes: Bytes,
    _charge: Charge,
}

/// The way of one body to the disk.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<Disk>,
    written: Arc<Written>,
    /// Its number: a purge with a later one concerns it.
    sequence: u64,
    piece: Vec<u8>,
    length: u64,
    size: usize,
    finished: bool,
    /// For the piece that is being gathered.
    _charge: Charge,
}

impl Disk {
    /// Whether it may have a body of so many bytes, which is written while it comes.
    #[must_use]
    pub fn takes(&self, length: u64) -> bool {
        let ready = self.ready.get().is_some() && !lock(&self.breaker).is_open();
        ready && length > INLINE && length <= self.capacity() / 4
    }

    /// Begins to write the body of an object, of so many bytes, if that is worth a place.
    pub fn spool(self: &Arc<Self>, object: &Object, length: u64) -> Option<Spool> {
        let shared = &self.ready.get()?.shared;
        if !self.takes(length) {
            return None;
        }
        let hash = shared.hash(object.key.as_bytes());
        if shared.full.load(Ordering::Relaxed) && self.sketch.estimate(hash) < ASKED {
            self.counts.declined.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let sequence = self.inbox.begin(|| shared.number());
        let size = (length / PIECES).clamp(PIECE, LARGE_PIECE);
        Some(Spool {
            disk: self.clone(),
            written: Arc::default(),
            sequence,
            piece: Vec::new(),
            length: 0,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            finished: false,
            _charge: self.budget.work(size),
        })
    }
}

impl Spool {
    /// What comes next of the body.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.written.is_lost() {
            self.piece.reserve_exact(self.size - self.piece.len());
            let (now, later) = rest.split_at(rest.len().min(self.size - self.piece.len()));
            self.piece.extend_from_slice(now);
            rest = later;
            if self.piece.len() == self.size {
                self.send();
            }
        }
    }

    /// Whether the disk does not keep up: what comes now is lost if it does not wait.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.written.is_lost() && self.disk.inbox.is_nearly_full(self.disk.queue)
    }

    /// Whether all of it so far will be there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.written.is_lost()
    }

    fn send(&mut self) {
        let bytes = Bytes::from(std::mem::take(&mut self.piece));
        let length = bytes.len() as u64;
        self.length += length;
        let make = || {
            let charge = self.disk.budget.work(length);
            let written = self.written.clone();
            let piece = Piece { written, bytes, _charge: charge };
            Some(Offer { sequence: self.sequence, what: What::Piece(piece), bytes: length })
        };
        if !self.disk.inbox.offer(self.disk.queue, length, make) {
            self.disk.counts.queue_full.fetch_add(1, Ordering::Relaxed);
            self.written.lose();
        }
    }

    /// The body is complete: the object is found from now on, if it still `holds` what it says.
    pub fn finish(mut self, object: &Arc<Object>, holds: impl FnOnce() -> bool) {
        if !self.piece.is_empty() {
            self.send();
        }
        if self.written.is_lost() || !holds() {
            return;
        }
        let varied = object.selection.names().zip(object.selection.durable());
        let what = What::Spooled {
            written: self.written.clone(),
            object: object.clone(),
            varied: varied.map(|(names, digest)| (names.clone(), *digest)),
            length: self.length,
        };
        // Its body does not wait any more: there is always room for it.
        let offer = Offer { sequence: self.sequence, what, bytes: 0 };
        // The writer says when it is over.
        self.finished = self.disk.inbox.offer(u64::MAX, 0, || Some(offer));
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !self.finished {
            self.disk.inbox.end(self.sequence);
        }
    }
}

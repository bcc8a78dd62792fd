//! The access log: what workers hand over goes through a bounded queue to a thread of its own, which
//! writes it and keeps it for those who ask.
//!
//! A full queue drops and counts: a slow disk costs lines, never requests.

mod file;
pub mod recent;
pub mod tail;

use std::{
    borrow::Cow,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use cluster_config::document::proxy::Rotate;

use self::file::File;
pub use self::file::Rotation;
use self::recent::Recent;
use crate::search::aside::Searcher;

/// Lines are gathered up to this many bytes before they are written.
const GATHER: usize = 64 * 1024;
/// How often the file is looked after while nothing happens.
const CHECK: Duration = Duration::from_millis(250);
/// How long the first record of a batch is kept for others to join it. A thread that sleeps in the
/// queue is woken by every record, which costs the worker a system call and both two context
/// switches and a write: more than a hit out of memory.
const JOIN: Duration = Duration::from_millis(10);

/// What is written, and kept.
pub trait Log: Send + Sync + 'static {
    /// What a worker hands over at once.
    type Records: Send + 'static;

    /// How many they are.
    fn count(records: &Self::Records) -> u64;

    /// Appends their lines, each with its newline.
    fn write(&self, records: &Self::Records, lines: &mut Vec<u8>);

    /// Takes what has been written as these lines, or could not be. Answers the lines that
    /// [`Recent`] keeps of it.
    fn keep<'l>(
        &self,
        records: impl Iterator<Item = Self::Records>,
        lines: &'l [u8],
    ) -> Cow<'l, [u8]>;
}

/// The workers' end of a log, and everybody's who asks. Cheap to clone.
#[derive(Debug)]
pub struct Recorder<L: Log> {
    queue: SyncSender<L::Records>,
    dropped: Arc<AtomicU64>,
    recent: Recent,
    searcher: Searcher,
    rotation: Arc<Rotation>,
    log: Arc<L>,
}

impl<L: Log> Clone for Recorder<L> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
            dropped: Arc::clone(&self.dropped),
            recent: self.recent.clone(),
            searcher: self.searcher.clone(),
            rotation: Arc::clone(&self.rotation),
            log: Arc::clone(&self.log),
        }
    }
}

impl<L: Log> Recorder<L> {
    fn new(log: L, path: PathBuf, room: usize, rotate: Rotate) -> (Self, Receiver<L::Records>) {
        let (queue, records) = sync_channel(room);
        let recorder = Self {
            queue,
            dropped: Arc::default(),
            recent: Recent::default(),
            searcher: Searcher::of(path),
            rotation: Arc::new(Rotation::new(rotate)),
            log: Arc::new(log),
        };
        (recorder, records)
    }

    /// Hands records over. Never waits.
    pub fn record(&self, records: L::Records) {
        let count = L::count(&records);
        if self.queue.try_send(records).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Records dropped so far: there was no room in the queue, or they could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The last lines.
    #[must_use]
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Looks into the file and those it was moved aside to.
    #[must_use]
    pub const fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// When the file is moved aside.
    #[must_use]
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// What is written, and kept.
    #[must_use]
    pub fn log(&self) -> &L {
        &self.log
    }
}

/// Starts the thread that writes the log at `path`. It ends when all [`Recorder`]s are gone and
/// everything is written. So many records, or pieces of several, may wait for it.
///
/// # Errors
/// The thread cannot be made.
pub fn start<L: Log>(
    log: L,
    path: PathBuf,
    room: usize,
    rotate: Rotate,
) -> io::Result<(Recorder<L>, JoinHandle<()>)> {
    let (recorder, records) = Recorder::new(log, path.clone(), room, rotate);
    let writer = Writer {
        records,
        file: File::new(path, Arc::clone(&recorder.rotation)),
        log: Arc::clone(&recorder.log),
        recent: recorder.recent.clone(),
        dropped: Arc::clone(&recorder.dropped),
    };
    let thread =
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
    Ok((recorder, thread))
}

/// The thread that writes.
struct Writer<L: Log> {
    records: Receiver<L::Records>,
    file: File,
    log: Arc<L>,
    recent: Recent,
    dropped: Arc<AtomicU64>,
}

impl<L: Log> Writer<L> {
    fn run(mut self) {
        let (mut lines, mut batch) = (Vec::with_capacity(GATHER), Vec::new());
        let mut behind = false;
        loop {
            let first = self.records.recv_timeout(CHECK);
            let over = matches!(first, Err(RecvTimeoutError::Disconnected));
            if let Ok(first) = first {
                if !behind {
                    std::thread::park_timeout(JOIN);
                }
                self.gather(first, &mut batch, &mut lines);
            }
            behind = lines.len() >= GATHER;
            self.file.follow_rotation();
            self.write(&mut batch, &lines);
            lines.clear();
            if over {
                return;
            }
        }
    }

    /// Takes what waits in the queue, as far as there is room for its lines.
    fn gather(&self, first: L::Records, batch: &mut Vec<L::Records>, lines: &mut Vec<u8>) {
        let mut next = Some(first);
        while let Some(records) = next {
            self.log.write(&records, lines);
            batch.push(records);
            next = (lines.len() < GATHER).then(|| self.records.try_recv().ok()).flatten();
        }
    }

    fn write(&mut self, batch: &mut Vec<L::Records>, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let count = batch.iter().map(L::count).sum();
        if self.file.write(lines).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
        self.recent.keep(&self.log.keep(batch.drain(..), lines), count);
    }
}

#[cfg(test)]
mod tests;

//! The access log: workers hand their records over through a bounded queue to one thread, which
//! writes them to the file and keeps the latest for whoever asks.
//!
//! A full queue drops and counts: a slow disk costs lines, never requests.

mod file;
pub mod recent;
pub mod tail;
pub mod target;

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

/// How often the end of the thread is looked for.
const FINISHED: Duration = Duration::from_millis(5);

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
    /// None ends the log.
    queue: SyncSender<Option<L::Records>>,
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
    fn new(
        log: L,
        path: PathBuf,
        room: usize,
        rotate: Rotate,
    ) -> (Self, Receiver<Option<L::Records>>) {
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
        if self.queue.try_send(Some(records)).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Ends the log: what has been handed over is written, and the thread ends. For the end of the
    /// process, when nobody records any more. A disk that hangs is not waited for longer than
    /// `within`.
    pub async fn finish(&self, thread: &JoinHandle<()>, within: Duration) {
        let mut told = false;
        let finished = async {
            while !thread.is_finished() {
                // The queue may be full for a while.
                told = told || self.queue.try_send(None).is_ok();
                tokio::time::sleep(FINISHED).await;
            }
        };
        if tokio::time::timeout(within, finished).await.is_err() {
            tracing::warn!("the disk takes the last lines of the access log too slowly");
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

/// Starts the thread that writes the log at `path`. It ends when everything is written and either
/// all [`Recorder`]s are gone or one of them has [finished](Recorder::finish) it. So many records,
/// or pieces of several, may wait for it.
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
    records: Receiver<Option<L::Records>>,
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
            let mut over = matches!(first, Ok(None) | Err(RecvTimeoutError::Disconnected));
            if let Ok(Some(first)) = first {
                if !behind {
                    std::thread::park_timeout(JOIN);
                }
                over = self.gather(first, &mut batch, &mut lines);
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

    /// Takes what waits in the queue, as far as there is room for its lines. Answers whether the
    /// log ends here.
    fn gather(&self, first: L::Records, batch: &mut Vec<L::Records>, lines: &mut Vec<u8>) -> bool {
        let mut next = Ok(Some(first));
        while let Ok(Some(records)) = next {
            self.log.write(&records, lines);
            batch.push(records);
            if lines.len() >= GATHER {
                return false;
            }
            next = self.records.try_recv();
        }
        matches!(next, Ok(None))
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

//! What is written down of every request. Records leave a worker through a bounded queue; a thread of its own writes them.
//!
//! A full queue drops and counts: a slow disk costs lines, never requests. The same thread keeps [`lately`], from which operators are told who asks
//! for what.

pub mod heavy;
pub mod lately;
pub mod squid;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use lately::Lately;
pub use squid::{Hierarchy, Outcome, Record};

/// Records that wait to be written.
const QUEUE: usize = 16_384;
/// Lines are gathered up to this many bytes before they are written.
const GATHER: usize = 64 * 1024;
/// How often the file is looked after while nothing happens.
const CHECK: Duration = Duration::from_millis(250);
/// How long the first record of a batch is kept for others to join it. A thread that sleeps in the queue is woken by every record, which costs
/// the worker a system call and both two context switches and a write: more than a hit out of memory.
const JOIN: Duration = Duration::from_millis(10);

/// The workers' end of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
    recent: Recent,
}

impl Recorder {
    /// Hands a record over. Never waits.
    pub fn record(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What was answered lately.
    #[must_use]
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }
}

/// [`Lately`] with its clock, shared by the log's thread and those who ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recent {
    since: Instant,
    lately: Arc<Mutex<Lately>>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { since: Instant::now(), lately: Arc::new(Mutex::new(Lately::new(0))) }
    }
}

impl Recent {
    /// Seconds of its clock now.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// To be held for a moment only: the log's thread waits meanwhile.
    pub fn look(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, records: &mut Vec<Record>) {
        let now = self.now();
        let mut lately = self.look();
        records.drain(..).for_each(|record| lately.note(record, now));
    }
}

/// Opens the log and starts its thread, which ends when all [`Recorder`]s are gone and everything is written.
pub fn start(path: PathBuf) -> io::Result<(Recorder, std::thread::JoinHandle<()>)> {
    let (queue, records) = sync_channel(QUEUE);
    let recorder = Recorder { queue, dropped: Arc::default(), recent: Recent::default() };
    let log = Log::open(path)?;
    let (lost, recent) = (recorder.dropped.clone(), recorder.recent.clone());
    let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(log, &records, &lost, &recent))?;
    Ok((recorder, thread))
}

fn write_all(mut log: Log, records: &Receiver<Record>, dropped: &AtomicU64, recent: &Recent) {
    let (mut lines, mut batch) = (Vec::with_capacity(GATHER), Vec::new());
    let mut behind = false;
    loop {
        let first = records.recv_timeout(CHECK);
        let over = matches!(first, Err(RecvTimeoutError::Disconnected));
        if let Ok(first) = first {
            if !behind {
                std::thread::park_timeout(JOIN);
            }
            first.write(&mut lines);
            batch.push(first);
            while lines.len() < GATHER
                && let Ok(next) = records.try_recv()
            {
                next.write(&mut lines);
                batch.push(next);
            }
        }
        behind = lines.len() >= GATHER;
        log.follow_rotation();
        if !lines.is_empty() && log.write(&lines).is_err() {
            dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
        lines.clear();
        recent.take(&mut batch);
        if over {
            return;
        }
    }
}

/// The file, which may be moved away under us.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    inode: u64,
    failing: bool,
}

impl Log {
    fn open(path: PathBuf) -> io::Result<Self> {
        let (file, inode) = open(&path)?;
        Ok(Self { path, file, inode, failing: false })
    }

    /// Opens the path anew when it no longer is our file: logrotate moves it away, and no signal is needed.
    fn follow_rotation(&mut self) {
        let same = std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if !same {
            match open(&self.path) {
                Ok((file, inode)) => (self.file, self.inode) = (file, inode),
                Err(error) => self.complain(&error),
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(lines);
        match &written {
            Ok(()) => self.failing = false,
            Err(error) => self.complain(error),
        }
        written
    }

    /// Once per trouble, not once per line.
    fn complain(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::error!(path = %self.path.display(), %error, "the access log cannot be written; records are counted as dropped");
        }
        self.failing = true;
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (recorder, thread) = start(path.clone()).unwrap();
        let record = |status| Record { status, ..Record::default() };
        recorder.record(record(201));
        let rotated = dir.path().join("access.log.1");
        while std::fs::read(&path).unwrap().is_empty() {
            std::thread::yield_now();
        }
        std::fs::rename(&path, &rotated).unwrap();
        recorder.record(record(202));
        while std::fs::read(&path).unwrap_or_default().is_empty() {
            std::thread::yield_now();
        }
        recorder.record(record(203));
        let recent = recorder.recent().clone();
        drop(recorder);
        thread.join().unwrap();
        assert!(std::fs::read_to_string(&rotated).unwrap().contains("/201 "));
        let new = std::fs::read_to_string(&path).unwrap();
        assert!(new.contains("/202 ") && new.contains("/203 "));
        let kept = recent.look().last(9, &dataplane::filter::Filter::default()).records;
        assert_eq!(kept.iter().map(|record| record.status).collect::<Vec<_>>(), [201, 202, 203]);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, _kept) = sync_channel(1);
        let recorder = Recorder { queue, dropped: Arc::default(), recent: Recent::default() };
        for _ in 0..3 {
            recorder.record(Record::default());
        }
        assert_eq!(recorder.dropped(), 2);
    }
}

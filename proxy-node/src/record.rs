//! What is written down of every request. Records leave a worker through a bounded queue; a thread
//! of its own writes them.
//!
//! A full queue drops and counts: a slow disk costs lines, never requests. The same thread keeps
//! [`lately`], from which operators are told who asks for what.

pub mod heavy;
pub mod lately;
mod parse;
pub mod search;
pub mod squid;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use cluster_config::document::proxy::{AccessLog, Rotate};
use dataplane::search::aside::Searcher;
use lately::Lately;
pub use squid::{Hierarchy, Outcome, Record};

/// Records that wait to be written.
const QUEUE: usize = 16_384;
/// Lines are gathered up to this many bytes before they are written.
const GATHER: usize = 64 * 1024;
/// How often the file is looked after while nothing happens.
const CHECK: Duration = Duration::from_millis(250);
/// How long the first record of a batch is kept for others to join it. A thread that sleeps in the
/// queue is woken by every record, which costs the worker a system call and both two context
/// switches and a write: more than a hit out of memory.
const JOIN: Duration = Duration::from_millis(10);

/// The workers' end of the log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
    recent: Recent,
    searcher: Searcher,
    form: Arc<Form>,
}

/// What the configuration in force says of the file: when it is moved aside, and whether lines have
/// the request's id.
#[derive(Debug)]
struct Form {
    size: AtomicU64,
    keep: AtomicU32,
    ids: AtomicBool,
}

impl Default for Form {
    fn default() -> Self {
        let Rotate { size, keep } = Rotate::default();
        Self { size: AtomicU64::new(size), keep: AtomicU32::new(keep), ids: AtomicBool::new(true) }
    }
}

impl Recorder {
    /// The file is moved aside at another size, and its lines look otherwise, from now on.
    pub fn configure(
        &self,
        AccessLog { rotate: Rotate { size, keep }, request_id, .. }: &AccessLog,
    ) {
        self.form.size.store(*size, Ordering::Relaxed);
        self.form.keep.store(*keep, Ordering::Relaxed);
        self.form.ids.store(*request_id, Ordering::Relaxed);
    }

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

    /// Looks into the file and those it was moved aside to.
    #[must_use]
    pub const fn searcher(&self) -> &Searcher {
        &self.searcher
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

/// Opens the log and starts its thread, which ends when all [`Recorder`]s are gone and everything
/// is written.
pub fn start(path: PathBuf) -> io::Result<(Recorder, std::thread::JoinHandle<()>)> {
    let (queue, records) = sync_channel(QUEUE);
    let searcher = Searcher::of(path.clone());
    let recorder = Recorder {
        queue,
        dropped: Arc::default(),
        recent: Recent::default(),
        searcher,
        form: Arc::default(),
    };
    let log = Log::open(path, recorder.form.clone())?;
    let (lost, recent) = (recorder.dropped.clone(), recorder.recent.clone());
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_all(log, &records, &lost, &recent))?;
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
            let ids = log.form.ids.load(Ordering::Relaxed);
            first.write(&mut lines, ids);
            batch.push(first);
            while lines.len() < GATHER
                && let Ok(next) = records.try_recv()
            {
                next.write(&mut lines, ids);
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
    form: Arc<Form>,
}

impl Log {
    fn open(path: PathBuf, form: Arc<Form>) -> io::Result<Self> {
        let (file, inode) = open(&path)?;
        Ok(Self { path, file, inode, failing: false, form })
    }

    /// Moves the file aside when it is large. Opens the path anew when it no longer is our file,
    /// also because logrotate moved it away: no signal is needed.
    fn follow_rotation(&mut self) {
        let found = std::fs::metadata(&self.path).ok().filter(|found| found.ino() == self.inode);
        let full = found
            .as_ref()
            .is_some_and(|found| found.len() >= self.form.size.load(Ordering::Relaxed));
        if full && let Err(error) = move_aside(&self.path, self.form.keep.load(Ordering::Relaxed)) {
            return self.complain(&error);
        }
        if full || found.is_none() {
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
            tracing::error!(path = %self.path.display(), %error, "the access log cannot be \
                written; records are counted as dropped");
        }
        self.failing = true;
    }
}

/// `access.log` becomes `access.log.1`, that becomes `access.log.2`, and so on; what would be more
/// than `keep` goes.
fn move_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    // More than that were kept before the configuration changed.
    for number in (keep.max(1)..).take_while(|number| numbered(*number).exists()) {
        gone(std::fs::remove_file(numbered(number)))?;
    }
    for number in (1..keep).rev() {
        gone(std::fs::rename(numbered(number), numbered(number + 1)))?;
    }
    gone(if keep == 0 { std::fs::remove_file(path) } else { std::fs::rename(path, numbered(1)) })
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

#[cfg(test)]
mod tests {
    use cluster_config::document::proxy::AccessLogFormat;

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
    fn the_file_is_moved_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (recorder, thread) = start(path.clone()).unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        recorder.configure(&AccessLog {
            format: AccessLogFormat::Squid,
            rotate: Rotate { size: 1, keep: 2 },
            request_id: true,
        });
        for status in 201..=205 {
            recorder.record(Record { status, ..Record::default() });
            let line = format!("/{status} ");
            while !std::fs::read_to_string(&path).unwrap_or_default().contains(&line)
                && !std::fs::read_to_string(dir.path().join("access.log.1"))
                    .unwrap_or_default()
                    .contains(&line)
            {
                std::thread::yield_now();
            }
        }
        drop(recorder);
        thread.join().unwrap();
        assert_eq!(names().len(), 3, "one that is written and two that were: {:?}", names());
        let all: String = names()
            .iter()
            .map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap())
            .collect();
        assert!(all.contains("/205 ") && !all.contains("/201 "), "the newest are kept: {all}");
        // With fewer, those that are too many go; with none, nothing but what is written stays.
        move_aside(&path, 1).unwrap();
        assert_eq!(names(), ["access.log.1"]);
        std::fs::write(&path, "x").unwrap();
        move_aside(&path, 0).unwrap();
        assert_eq!(names(), Vec::<String>::new());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, _kept) = sync_channel(1);
        let searcher = Searcher::of(PathBuf::new());
        let recorder = Recorder {
            queue,
            dropped: Arc::default(),
            recent: Recent::default(),
            searcher,
            form: Arc::default(),
        };
        for _ in 0..3 {
            recorder.record(Record::default());
        }
        assert_eq!(recorder.dropped(), 2);
    }
}

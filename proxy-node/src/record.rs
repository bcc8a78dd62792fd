//! What is written down of every request: records leave a worker through a bounded queue, and a
//! thread of its own writes them ([`dataplane::log`]). The same thread keeps [`lately`], from which
//! operators are told who asks for what.

pub mod heavy;
pub mod lately;
mod parse;
pub mod search;
pub mod squid;
mod targets;

use std::{
    borrow::Cow,
    fs::OpenOptions,
    io,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use cluster_config::document::{ProxyDocument, proxy::Rotate};
use dataplane::log::{self, Log, target::Targets};
use lately::Lately;
pub use squid::{Hierarchy, Outcome, Record};

/// Records that wait to be written.
const QUEUE: usize = 16_384;

/// The workers' end of the log. Cheap to clone.
pub type Recorder = log::Recorder<AccessLog>;

/// The lines of the log, and the counts of an hour, with the clock that they go by.
#[derive(Debug)]
pub struct AccessLog {
    since: Instant,
    lately: Mutex<Lately>,
    /// Lines of the file have the request's id.
    ids: AtomicBool,
    /// Where copies go.
    pub targets: Targets,
}

impl AccessLog {
    fn new(name: &str) -> Self {
        Self {
            since: relay::clock::now(),
            lately: Mutex::new(Lately::new(0)),
            ids: AtomicBool::new(true),
            targets: Targets::new(name),
        }
    }

    /// Seconds of its clock now.
    #[must_use]
    pub fn now(&self) -> u64 {
        relay::clock::since(self.since).as_secs()
    }

    /// What was counted lately. To be held for a moment only: the log's thread waits meanwhile.
    pub fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for AccessLog {
    type Records = Record;

    fn count(_: &Record) -> u64 {
        1
    }

    fn write(&self, record: &Record, lines: &mut Vec<u8>) {
        record.write(lines, self.ids.load(Ordering::Relaxed));
    }

    /// What is kept can be found by its id, whether or not the file's lines have it.
    fn keep<'l>(&self, records: impl Iterator<Item = Record>, lines: &'l [u8]) -> Cow<'l, [u8]> {
        let ids = self.ids.load(Ordering::Relaxed);
        let (now, mut with_ids) = (self.now(), Vec::new());
        let mut copies = targets::Copies::of(&self.targets);
        let mut lately = self.lately();
        for record in records {
            lately.note(&record, now);
            copies.add(&record);
            if !ids {
                record.write(&mut with_ids, true);
            }
        }
        drop(lately);
        copies.send(lines);
        if ids { Cow::Borrowed(lines) } else { Cow::Owned(with_ids) }
    }
}

/// The file is moved aside at another size, its lines look otherwise, and copies go elsewhere, from
/// now on.
pub fn configure(recorder: &Recorder, document: &ProxyDocument) {
    let settings = &document.access_log;
    recorder.rotation().set(settings.rotate);
    recorder.log().ids.store(settings.request_id, Ordering::Relaxed);
    if let Err(error) = recorder.log().targets.set(&document.log_targets) {
        tracing::error!("the thread of a log target cannot be made, so none is changed: {error}");
    }
}

/// Opens the log of the node of that name, and starts its thread, which ends when all [`Recorder`]s
/// are gone and everything is written.
///
/// # Errors
/// The file cannot be written, or the thread not be made.
pub fn start(path: PathBuf, name: &str) -> io::Result<(Recorder, JoinHandle<()>)> {
    OpenOptions::new().create(true).append(true).open(&path)?;
    log::start(AccessLog::new(name), path, QUEUE, Rotate::default())
}

#[cfg(test)]
mod tests {
    use dataplane::{log::tail::Wanted, search::Record as _};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_kept_has_its_id_whether_or_not_the_file_has() {
        let log = AccessLog::new("node-1");
        let record = |id| Record { id: Uuid::from_u128(id), status: 200, ..Record::default() };
        for (ids, columns) in [(true, 11), (false, 10)] {
            log.ids.store(ids, Ordering::Relaxed);
            let mut lines = Vec::new();
            log.write(&record(7), &mut lines);
            let text = String::from_utf8(lines.clone()).unwrap();
            assert_eq!(text.split_ascii_whitespace().count(), columns);
            let kept = log.keep([record(7)].into_iter(), &lines);
            assert_eq!(Record::parse(kept.trim_ascii_end()), Some(record(7)));
        }
        assert_eq!(log.lately().windows(0, 60)[0].requests, 2);
    }

    #[test]
    fn a_record_is_found_by_what_it_says() {
        let filter = |request: &str, client: &str, status: &str, domain: &str| {
            dataplane::filter::Filter::parse(request, client, status, domain).unwrap()
        };
        let record = Record {
            id: Uuid::from_u128(2),
            client: Some([10, 0, 0, 7].into()),
            url: "http://a.example/".into(),
            status: 404,
            ..Record::default()
        };
        assert!(filter("", "10.0.0.0/8", "4xx", "a.example").takes(&record));
        assert!(filter(&record.id.to_string(), "", "", "").takes(&record));
        assert!(!filter("", "", "", "b.example").takes(&record));
    }
}

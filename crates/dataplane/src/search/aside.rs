//! A search on a thread of its own, of which its process has one at a time, told to whoever waits
//! for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc};

use super::{Bounds, Record, Searched, Stopped, Wanted, search};

/// Bytes that one search reads.
pub const BYTES: u64 = 4 << 30;
/// How long it may take.
const TIME: Duration = Duration::from_secs(10);
/// How often it tells how far it is.
const TELL: Duration = Duration::from_millis(500);
/// How long it waits for the one before it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who may search now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Searcher {
    path: PathBuf,
    one: Arc<Semaphore>,
}

/// What is told of a search.
#[derive(Debug)]
pub struct Report<R> {
    /// Newest first; with the last report only.
    pub records: Vec<R>,
    /// How far it is.
    pub searched: Searched,
    /// Whether this is the last report.
    pub last: bool,
}

impl Searcher {
    /// For the log at this path.
    #[must_use]
    pub fn of(path: PathBuf) -> Self {
        Self { path, one: Arc::new(Semaphore::new(1)) }
    }

    /// Begins a search and tells of it until it has ended. It ends soon, too, when nobody listens
    /// any more.
    pub async fn begin<R, W>(&self, wanted: W, bounds: Bounds) -> mpsc::Receiver<Report<R>>
    where
        R: Record + Send + 'static,
        W: Wanted<R> + Send + 'static,
    {
        let (reports, listener) = mpsc::channel(2);
        let failed = |stopped| {
            let report = Report {
                records: Vec::new(),
                searched: Searched { stopped: Some(stopped), ..Searched::default() },
                last: true,
            };
            // The channel is new and has room.
            reports.try_send(report).ok();
        };
        let Ok(Ok(permit)) = tokio::time::timeout(PATIENCE, self.one.clone().acquire_owned()).await
        else {
            failed(Stopped::Busy);
            return listener;
        };
        let (path, teller) = (self.path.clone(), reports.clone());
        let search = move || {
            let (begun, mut told) = (relay::clock::now(), relay::clock::now());
            let found = search(&path, &wanted, &bounds, |searched| {
                if relay::clock::since(told) >= TELL {
                    told = relay::clock::now();
                    // A slow listener misses how far it was, and nothing else.
                    teller
                        .try_send(Report {
                            records: Vec::new(),
                            searched: searched.clone(),
                            last: false,
                        })
                        .ok();
                }
                !teller.is_closed() && relay::clock::since(begun) < TIME
            });
            teller
                .blocking_send(Report {
                    records: found.records,
                    searched: found.searched,
                    last: true,
                })
                .ok();
            drop(permit);
        };
        if std::thread::Builder::new().name("log-search".to_owned()).spawn(search).is_err() {
            failed(Stopped::Busy);
        }
        listener
    }
}

//! Workers: each is one OS thread with a current-thread runtime, and shares nothing with others.
//!
//! A worker owns its listeners, connections, pools, buffers, pipes and timer wheel, and reads what
//! it needs of the rest of the process from snapshots. Every connection is a local task of its own,
//! so that a panic is counted and loses that connection only. A drain goes through the [`Phase`]s
//! in order; every connection can read the current one.

mod accept;
mod connections;
mod descriptors;
mod local;
mod task;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::clients::Clients;

pub use accept::Unwanted;
pub(crate) use connections::{NOBODY, Place};
pub use local::{Worker, block_on};

/// How many workers, and what their threads are called.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Prefix of the threads' names.
    pub name: &'static str,
    /// Number of workers; at least one is started.
    pub workers: usize,
}

/// The steps of a drain, in order. A worker never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No drain has begun.
    Serving,
    /// The worker still accepts; its answers carry `Connection: close`.
    Leaving,
    /// Listeners accept what is in their backlog, then close.
    Closing,
    /// Connections that wait for a request ([`crate::wheel::Kind::Idle`]) end; busy ones finish
    /// what they do.
    Finishing,
    /// The connections that are left are cut.
    Aborting,
}

/// What the workers have seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connection tasks alive now.
    pub live: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Connections closed at once because the process had no file descriptors left.
    pub refused: u64,
}

/// One worker's counters, written by it alone.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) live: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) refused: AtomicU64,
}

/// Counts one up (or down, wrapping): there is a single writer, so no locked instruction is needed.
pub(crate) fn bump(counter: &AtomicU64, by: i64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add_signed(by), Ordering::Relaxed);
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still busy at the deadline and were cut.
    pub aborted: u64,
}

/// The running workers, seen from the control runtime. Dropping it aborts them.
pub struct Workers {
    phase: watch::Sender<Phase>,
    meters: Vec<Arc<Meter>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Threads that have ended.
    ended: watch::Receiver<usize>,
    clients: Arc<Clients>,
    /// Open listeners of all workers: zero means that the backlogs are empty and closed.
    listening: watch::Receiver<usize>,
}

impl Workers {
    /// Starts the threads; `body` runs on each of them, sets its worker up and usually ends in
    /// [`Worker::serve`].
    ///
    /// The thread lives until `body` has returned and the drain has reached its end. A `body` that
    /// panics is counted and run again.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made; what was started is ended.
    pub fn start<F, Fut>(settings: Settings, body: F) -> io::Result<Self>
    where
        F: Fn(Worker) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let body = Arc::new(body);
        let (phase, phases) = watch::channel(Phase::Serving);
        let (ended_sender, ended) = watch::channel(0);
        let (listening_sender, listening) = watch::channel(0);
        let clients = Arc::new(Clients::default());
        let mut workers = Self {
            phase,
            meters: Vec::new(),
            threads: Vec::new(),
            ended,
            clients: clients.clone(),
            listening,
        };
        for index in 0..settings.workers.max(1) {
            let meter = Arc::new(Meter::default());
            let runtime_parts = local::Parts {
                index,
                meter: meter.clone(),
                phases: phases.clone(),
                listening: listening_sender.clone(),
                clients: clients.clone(),
            };
            let (body, ended) = (body.clone(), ended_sender.clone());
            let runtime = local::runtime_builder();
            let thread = std::thread::Builder::new()
                .name(format!("{}-{index}", settings.name))
                .spawn(move || {
                    local::run(runtime, runtime_parts, &*body);
                    ended.send_modify(|count| *count += 1);
                })?;
            workers.meters.push(meter);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Sums of all workers' counters.
    pub fn counts(&self) -> Counts {
        let sum = |field: fn(&Meter) -> &AtomicU64| {
            self.meters.iter().map(|meter| field(meter).load(Ordering::Relaxed)).sum()
        };
        Counts {
            live: sum(|m| &m.live),
            accepted: sum(|m| &m.accepted),
            panics: sum(|m| &m.panics),
            refused: sum(|m| &m.refused),
        }
    }

    /// What each client has, summed over all workers.
    pub fn clients(&self) -> Arc<Clients> {
        self.clients.clone()
    }

    /// Moves all workers on to a later phase; an earlier one is ignored.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = *current < phase;
            *current = (*current).max(phase);
            later
        });
    }

    /// Closes the listeners once their backlogs are empty, ends idle connections, gives busy ones
    /// `finish_within`, then cuts them.
    ///
    /// The caller has been in [`Phase::Leaving`] for the propagation time before.
    pub async fn drain(mut self, finish_within: Duration) -> Drained {
        self.advance(Phase::Closing);
        let deadline = tokio::time::Instant::now() + finish_within;
        // A worker that cannot empty its backlog within the deadline is cut with the rest.
        let closed =
            tokio::time::timeout_at(deadline, self.listening.wait_for(|open| *open == 0)).await;
        drop(closed);
        self.advance(Phase::Finishing);
        let threads = self.threads.len();
        let ended =
            tokio::time::timeout_at(deadline, self.ended.wait_for(|ended| *ended == threads)).await;
        drop(ended);
        let aborted = self.counts().live;
        self.advance(Phase::Aborting);
        // Workers end as soon as they are scheduled; a task that blocks its thread is not waited
        // for longer than this.
        let ended = tokio::time::timeout(
            Duration::from_secs(2),
            self.ended.wait_for(|ended| *ended == threads),
        )
        .await;
        drop(ended);
        Drained { aborted }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.advance(Phase::Aborting);
    }
}

#[cfg(test)]
mod tests;

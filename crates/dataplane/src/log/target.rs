//! Places to which copies of the records go, besides the file: standard output, and syslog over
//! UDP, TCP or a unix socket.
//!
//! Each has a thread and a bounded queue of its own. A place that is slow or away costs its copies
//! and nobody else anything: what finds no room in the queue, or cannot be sent, is dropped and
//! counted.

pub mod syslog;
mod transport;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use cluster_config::document::log::LogTarget;

use self::{syslog::Header, transport::Transport};

/// Pieces of up to some hundred lines that may wait for one place.
const QUEUE: usize = 64;
/// How often the end of a thread is looked for.
const FINISHED: Duration = Duration::from_millis(5);

/// Whole lines, each with its newline.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Their bytes.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub count: u64,
}

/// What became of the copies for one place.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// Records sent so far. Of UDP nobody knows what arrived.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records that found no room, or could not be sent.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// One place.
#[derive(Debug)]
pub struct Target {
    settings: LogTarget,
    queue: SyncSender<Lines>,
    counts: Arc<Counts>,
    thread: JoinHandle<()>,
}

impl Target {
    /// Starts its thread, which ends when this is gone and everything is sent.
    ///
    /// # Errors
    /// The thread cannot be made.
    fn start(settings: LogTarget, host: &str) -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let sender = Sender {
            lines,
            header: Header::new(&settings, host),
            transport: Transport::new(&settings.to),
            counts: Arc::clone(&counts),
            message: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("log-target".to_owned())
            .spawn(move || sender.run())?;
        Ok(Self { settings, queue, counts, thread })
    }

    /// Where it is, and how records are written there.
    #[must_use]
    pub const fn settings(&self) -> &LogTarget {
        &self.settings
    }

    /// What became of its copies.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Hands lines over. Never waits.
    pub fn send(&self, lines: Lines) {
        let count = lines.count;
        if self.queue.try_send(lines).is_err() {
            self.counts.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// All places of a process. What writes for them asks for the [`current`](Targets::current) ones
/// from time to time.
#[derive(Debug)]
pub struct Targets {
    /// The name of this process, as syslog is told.
    host: String,
    current: ArcSwap<Vec<Arc<Target>>>,
}

impl Targets {
    /// None yet.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self { host: host.to_owned(), current: ArcSwap::default() }
    }

    /// The name of this process.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Those that there are now.
    #[must_use]
    pub fn current(&self) -> Arc<Vec<Arc<Target>>> {
        self.current.load_full()
    }

    /// These from now on. Those that stay as they were go on undisturbed; the others end once all
    /// that was handed to them is sent.
    ///
    /// # Errors
    /// A thread cannot be made; nothing has changed then.
    pub fn set(&self, wanted: &[LogTarget]) -> io::Result<()> {
        let current = self.current();
        let mut next = Vec::with_capacity(wanted.len());
        for settings in wanted {
            let kept = current.iter().find(|target| target.settings == *settings);
            next.push(match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(Target::start(settings.clone(), &self.host)?),
            });
        }
        self.current.store(Arc::new(next));
        Ok(())
    }

    /// Ends all of them, and waits until everything is sent: for the end of the process, when
    /// nobody writes any more. A place that takes nothing is not waited for longer than `within`.
    pub async fn finish(&self, within: Duration) {
        let ended = self.current.swap(Arc::default());
        let threads: Vec<_> = std::sync::Arc::try_unwrap(ended)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|target| Arc::into_inner(target).map(|target| target.thread))
            .collect();
        let finished = async {
            while threads.iter().any(|thread| !thread.is_finished()) {
                tokio::time::sleep(FINISHED).await;
            }
        };
        if tokio::time::timeout(within, finished).await.is_err() {
            tracing::warn!("a log target takes the last records too slowly");
        }
    }
}

/// The thread of a place.
struct Sender {
    lines: Receiver<Lines>,
    header: Header,
    transport: Transport,
    counts: Arc<Counts>,
    message: Vec<u8>,
}

impl Sender {
    fn run(mut self) {
        while let Ok(lines) = self.lines.recv() {
            self.header.set_time(relay::clock::exact_wall());
            let sent = self.send(&lines.bytes);
            self.counts.sent.fetch_add(sent, Ordering::Relaxed);
            self.counts.dropped.fetch_add(lines.count.saturating_sub(sent), Ordering::Relaxed);
        }
    }

    /// How many of them were sent.
    fn send(&mut self, lines: &[u8]) -> u64 {
        let Self { header, transport, message, .. } = self;
        let each = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        if transport.takes_datagrams() {
            let mut sent = 0;
            for line in each {
                message.clear();
                header.write(message, line, Some(transport::MOST_DATAGRAM));
                sent += u64::from(transport.send(message));
            }
            return sent;
        }
        message.clear();
        let mut count = 0;
        for line in each {
            header.write(message, line, None);
            message.push(b'\n');
            count += 1;
        }
        if transport.send(message) { count } else { 0 }
    }
}

#[cfg(test)]
mod tests;

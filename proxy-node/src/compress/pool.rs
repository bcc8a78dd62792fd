//! The threads that compress: a few, which are there once something has been compressed that is too
//! large for a worker, and a bound on what is under way. Beyond it an answer is sent as it is.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::encoder::Encoder;

/// Bodies that are compressed at a time.
const MOST: usize = 8;
/// The most threads.
const THREADS: usize = 4;

/// What a thread gives back: the encoder, and what came out of it.
type Done = io::Result<(Encoder, Vec<u8>)>;

struct Job {
    encoder: Encoder,
    bytes: Bytes,
    flush: bool,
    done: oneshot::Sender<Done>,
}

/// The threads.
#[derive(Debug, Default)]
pub struct Pool {
    jobs: OnceLock<Option<SyncSender<Job>>>,
    busy: Arc<AtomicUsize>,
}

/// The right to compress one body.
#[derive(Debug)]
pub struct Permit {
    busy: Arc<AtomicUsize>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// `None`: enough is compressed already.
    #[must_use]
    pub fn permit(&self) -> Option<Permit> {
        let more = |busy: usize| (busy < MOST).then_some(busy + 1);
        self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit { busy: Arc::clone(&self.busy) })
    }

    /// Feeds an encoder on another thread. Whoever asks has a [`Permit`], and waits for one job at
    /// a time: there is always room in the queue.
    ///
    /// # Errors
    /// The encoder fails, or there is no thread.
    pub async fn feed(&self, encoder: Encoder, bytes: Bytes, flush: bool) -> Done {
        let (done, answer) = oneshot::channel();
        let jobs = self.jobs.get_or_init(start).as_ref();
        let sent = jobs.map(|jobs| jobs.try_send(Job { encoder, bytes, flush, done }).is_ok());
        if sent != Some(true) {
            return Err(io::Error::other("there is no thread to compress"));
        }
        answer.await.unwrap_or_else(|_| Err(io::Error::other("the encoder panicked")))
    }
}

fn start() -> Option<SyncSender<Job>> {
    let (jobs, queue) = sync_channel(MOST);
    let queue = Arc::new(Mutex::new(queue));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let started = (0..(cores / 2).clamp(1, THREADS)).filter(|_| {
        let queue = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("compress".into());
        thread.spawn(move || serve(&queue)).is_ok()
    });
    (started.count() > 0).then_some(jobs)
}

/// Until nobody can send anything any more.
fn serve(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { mut encoder, bytes, flush, done }) = job else { return };
        let fed = catch_unwind(AssertUnwindSafe(move || {
            let out = encoder.feed(&bytes, flush)?;
            Ok((encoder, out))
        }));
        match fed {
            // Who asked may be gone.
            Ok(fed) => drop(done.send(fed)),
            Err(_) => tracing::error!("an encoder panicked; its answer is cut"),
        }
    }
}

//! The worker as its own thread sees it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::connections::{Connections, Place};
use super::descriptors::Descriptors;
use super::task::Counted;
use super::{Meter, Phase, bump};
use crate::buffer::Buffers;
use crate::clients::Clients;
use crate::proof::{Nonce, Nonces};
use crate::tunnel::Pipes;
use crate::wheel::{Kind, Wheel};

/// What a worker is made of that is shared with the handle outside.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) meter: Arc<Meter>,
    pub(super) phases: watch::Receiver<Phase>,
    pub(super) listening: watch::Sender<usize>,
    pub(super) clients: Arc<Clients>,
}

struct Inner {
    index: usize,
    /// What the handle outside reads of this worker.
    meter: Arc<Meter>,
    /// The newest of `phases`, for every request to look at without a lock.
    phase: Cell<Phase>,
    /// It accepts nothing, and lets what it has come to an end.
    rests: Cell<bool>,
    phases: watch::Receiver<Phase>,
    /// Counts, for the handle outside, the listeners that workers accept from.
    listening: watch::Sender<usize>,
    /// Notified when the last connection task has ended.
    idle: Notify,
    wheel: Wheel,
    buffers: Buffers,
    pipes: Pipes,
    /// Scratch for small writes of several parts.
    gathered: RefCell<Vec<u8>>,
    descriptors: Descriptors,
    connections: Connections,
    nonces: RefCell<Nonces>,
}

/// One worker, seen from its own thread; cheap to clone, cannot leave the thread.
#[derive(Clone)]
pub struct Worker(Rc<Inner>);

impl Worker {
    fn new(parts: Parts) -> Self {
        let phase = *parts.phases.borrow();
        let wheel = Wheel::new();
        Self(Rc::new(Inner {
            index: parts.index,
            meter: parts.meter,
            phase: Cell::new(phase),
            rests: Cell::new(false),
            phases: parts.phases,
            listening: parts.listening,
            idle: Notify::new(),
            connections: Connections::new(parts.clients, wheel.clone()),
            wheel,
            buffers: Buffers::new(),
            pipes: Pipes::new(),
            gathered: RefCell::default(),
            descriptors: Descriptors::new(),
            nonces: RefCell::default(),
        }))
    }

    /// Which of the workers this is, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// Where the drain stands.
    pub fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// True when answers should carry `Connection: close`.
    pub fn leaving(&self) -> bool {
        self.phase() >= Phase::Leaving || self.0.rests.get()
    }

    /// Has its answers carry `Connection: close`, or no longer: whether it is one of those that
    /// accept connections.
    pub fn rest(&self, rests: bool) {
        self.0.rests.set(rests);
    }

    /// Waits until the drain has reached `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.0.phases.clone();
        // An error means that the handle outside is gone, which has set Aborting before.
        drop(phases.wait_for(|now| *now >= phase).await);
    }

    /// This worker's deadlines.
    pub fn wheel(&self) -> &Wheel {
        &self.0.wheel
    }

    /// This worker's read buffers.
    pub fn buffers(&self) -> &Buffers {
        &self.0.buffers
    }

    /// This worker's splice pipes.
    pub(crate) fn pipes(&self) -> &Pipes {
        &self.0.pipes
    }

    /// Descriptors that clients may have.
    pub(crate) fn descriptors(&self) -> &Descriptors {
        &self.0.descriptors
    }

    /// What the clients of all workers have.
    pub fn clients(&self) -> &Clients {
        self.0.connections.clients()
    }

    /// Connections of clients.
    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Counts one more connection of the client whose connection is at `place`; it waits with the
    /// timer of this key. None: the client has its share.
    pub(crate) fn enter_beside(&self, place: Place, timer: u32) -> Option<Place> {
        let (source, allowance) = self.0.connections.whose(place)?;
        let (left, all) = self.0.descriptors.left_now();
        let most = allowance.connections(left, all);
        let may = self.0.connections.enter_beside(&source, most, &allowance);
        may.then(|| self.0.connections.place(source, timer, &allowance))
    }

    /// Where the parts of a small write are put together.
    pub(crate) fn gathered(&self) -> &RefCell<Vec<u8>> {
        &self.0.gathered
    }

    /// A nonce for a proof.
    ///
    /// # Errors
    /// The kernel gives no randomness.
    pub fn nonce(&self) -> std::io::Result<Nonce> {
        self.0.nonces.borrow_mut().take()
    }

    /// What the handle outside reads of this worker.
    pub(super) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// The count of listeners that workers accept from.
    pub(super) fn listening(&self) -> &watch::Sender<usize> {
        &self.0.listening
    }

    /// Connection tasks alive on this worker.
    pub fn live(&self) -> u64 {
        self.0.meter.live.load(Ordering::Relaxed)
    }

    /// Runs a connection as a task of its own: counted while it lives, cut when the worker aborts;
    /// a panic ends it alone.
    pub fn spawn<F: Future<Output = ()> + 'static>(&self, task: F) {
        tokio::task::spawn_local(Counted::new(task, self.clone()));
    }

    /// Runs a background task of the worker: not counted as a connection, restarted a second later
    /// when it panics.
    pub fn background<F, Fut>(&self, task: F)
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let worker = self.clone();
        tokio::task::spawn_local(async move { worker.insist(task).await });
    }

    /// Runs a task until it returns, again after a pause when it panicked.
    async fn insist<F, Fut>(&self, task: F)
    where
        F: Fn() -> Fut,
        Fut: Future<Output = ()> + 'static,
    {
        while let Err(error) = tokio::task::spawn_local(task()).await {
            if !error.is_panic() {
                return;
            }
            bump(&self.0.meter.panics, 1);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Follows the phase for this thread, so that reading it costs nothing.
    async fn follow_phase(self) {
        let mut phases = self.0.phases.clone();
        loop {
            let phase = *phases.borrow_and_update();
            self.0.phase.set(phase);
            if phase >= Phase::Finishing {
                self.0.wheel.expire(Kind::Idle);
            }
            if phases.changed().await.is_err() {
                // The handle is gone.
                self.0.phase.set(Phase::Aborting);
                return;
            }
        }
    }

    /// One connection task less.
    pub(super) fn ended(&self) {
        bump(&self.0.meter.live, -1);
        if self.live() == 0 {
            self.0.idle.notify_one();
        }
    }

    /// Waits until the last connection task has ended.
    async fn idle(&self) {
        while self.live() > 0 {
            self.0.idle.notified().await;
        }
    }
}

/// The runtime of one worker. It looks at its sockets after 61 polls of tasks at the latest.
pub(super) fn runtime_builder() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().event_interval(61);
    builder
}

/// The worker thread's whole life.
pub(super) fn run<F, Fut>(mut runtime: tokio::runtime::Builder, parts: Parts, body: &F)
where
    F: Fn(Worker) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    // A thread without a runtime ends here, which the handle sees as ended; the process' own
    // start-up has failed long before.
    let Ok(runtime) = runtime.build_local(Default::default()) else { return };
    runtime.block_on(async {
        let worker = Worker::new(parts);
        tokio::task::spawn_local(worker.0.wheel.clone().drive());
        tokio::task::spawn_local(worker.clone().follow_phase());
        let work = async {
            worker.insist(|| body(worker.clone())).await;
            worker.reached(Phase::Finishing).await;
            worker.idle().await;
        };
        tokio::select! {
            () = work => {}
            () = worker.reached(Phase::Aborting) => {}
        }
        worker.0.phase.set(Phase::Aborting);
    });
    // Dropping the runtime drops, and so cuts, every task that is left.
}

/// Runs one worker on this thread until `body` returns: for tests and tools.
///
/// # Panics
/// When the operating system has no descriptors left for a runtime.
pub fn block_on<F, Fut, T>(body: F) -> T
where
    F: FnOnce(Worker) -> Fut,
    Fut: Future<Output = T>,
{
    let runtime = runtime_builder().build_local(Default::default()).expect("a runtime can be made");
    let (_phase, phases) = watch::channel(Phase::Serving);
    let (listening, _) = watch::channel(0);
    runtime.block_on(async {
        let worker = Worker::new(Parts {
            index: 0,
            meter: Arc::default(),
            phases,
            listening,
            clients: Arc::default(),
        });
        tokio::task::spawn_local(worker.0.wheel.clone().drive());
        body(worker).await
    })
}

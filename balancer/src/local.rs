//! What one worker has for itself: the newest snapshot as a [`table`] of backends and servers, one
//! pool of idle connections, its access records, and memory that is used again.
//!
//! Everything here belongs to one thread. It follows the roster's snapshots, and looks for late
//! servers every 50 ms.

pub mod backend;
pub mod latencies;
pub mod scratch;
pub mod slot;
pub mod table;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use dataplane::{
    id::Ids,
    scratch::Head,
    trace::{Trace, span::Tracer},
};
use relay::{pool::Pool, worker::Worker};
use tokio::sync::mpsc;

use crate::{
    check::Suspect,
    listen::Frontend,
    liveness,
    pages::Asker,
    record::{Journal, Record, Recorder},
    roster,
    route::Question,
    stats::Uptime,
};
pub use backend::{Backend, Pick};
use scratch::Pools;
pub use scratch::Scratch;
pub use slot::{Exchanging, Owing, Slot};
pub use table::{Routed, Served, Table};

/// Records of connections that were refused, of one worker in one second.
const REFUSALS: u32 = 20;
/// How often a worker looks whether a server that owes answers is late.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// What all workers share.
pub struct Shared {
    /// Who the servers are.
    pub roster: roster::Handle,
    /// Takes servers to probe.
    pub suspects: mpsc::Sender<Suspect>,
    /// For times in atomics.
    pub uptime: Uptime,
    /// This balancer's name, for Proxy-Status.
    pub name: String,
    /// Name and cluster id, by which it knows its own entry in Via.
    pub pseudonym: String,
    /// The whole entry.
    pub via: String,
    /// Where access records go.
    pub recorder: Recorder,
    /// Makes pages, where there are any.
    pub pages: Option<Asker>,
    /// Traces requests, where traces go anywhere.
    pub tracer: Option<Tracer>,
}

/// One worker's. Cheap to clone.
#[derive(Clone)]
pub struct Local(Rc<Inner>);

struct Inner {
    worker: Worker,
    shared: Arc<Shared>,
    table: RefCell<Rc<Table>>,
    idle: Pool<u64>,
    journal: Journal,
    pools: Pools,
    ids: Ids,
    /// In which second there were how many records of connections that were refused.
    refusals: Cell<(u64, u32)>,
}

impl Local {
    /// For this worker, with what is known now.
    #[must_use]
    pub fn new(worker: &Worker, shared: &Arc<Shared>) -> Self {
        let local = Self(Rc::new(Inner {
            worker: worker.clone(),
            shared: Arc::clone(shared),
            table: RefCell::new(Rc::new(Table::empty())),
            idle: Pool::new(worker, relay::pool::Limits::default()),
            journal: Journal::new(shared.recorder.clone()),
            pools: Pools::default(),
            ids: Ids::seeded(seed()),
            refusals: Cell::default(),
        }));
        local.take_up_newest();
        local
    }

    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.0.worker
    }

    /// What all workers share.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Idle connections by server key.
    #[must_use]
    pub fn idle(&self) -> &Pool<u64> {
        &self.0.idle
    }

    /// A request has ended: its record is written, and its span is exported if it is sampled.
    pub fn record(&self, record: &Record<'_>, trace: Option<&Trace>) {
        self.0.journal.add(record);
        if let (Some(trace), Some(tracer)) = (trace, &self.0.shared.tracer) {
            record.trace(trace, tracer);
        }
    }

    /// Whether one connection more that was refused before a request may be written down: there is
    /// a bound for each second.
    #[must_use]
    pub fn may_record_refusal(&self) -> bool {
        let second = self.0.shared.uptime.millis(relay::clock::now()) / 1000;
        let (last, count) = self.0.refusals.get();
        let count = if last == second { count } else { 0 };
        self.0.refusals.set((second, count + 1));
        count < REFUSALS
    }

    /// Makes request ids.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.0.ids
    }

    /// An index for a request's head; to be given back with [`Local::give_head`].
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.pools.heads.take()
    }

    /// Takes it back.
    pub fn give_head(&self, head: Head) {
        self.0.pools.heads.give(head);
    }

    /// Memory for a request's attempts; to be given back with [`Local::give`].
    #[must_use]
    pub fn scratch(&self) -> Box<Scratch> {
        self.0.pools.scratch.take()
    }

    /// Takes it back.
    pub fn give(&self, scratch: Box<Scratch>) {
        self.0.pools.scratch.give(scratch);
    }

    /// Everything of the newest snapshot: the worker takes it up before it decides anything,
    /// because whoever was told of a change (by a statistic, an answered command, an opened
    /// frontend) may already act on it.
    #[must_use]
    pub fn table(&self) -> Rc<Table> {
        self.catch_up();
        Rc::clone(&self.0.table.borrow())
    }

    /// The backend of a request or a connection, from the newest snapshot.
    #[must_use]
    pub fn backend(&self, frontend: &Frontend, question: Question<'_>) -> Option<Rc<Backend>> {
        let table = self.table();
        match table.route(table.served(frontend)?, question)? {
            Routed::Backend(backend) => Some(backend),
            Routed::Health(_) | Routed::Stats(_) | Routed::Pac => None,
        }
    }

    /// Whether idle connections to a server are worth keeping.
    #[must_use]
    pub fn may_be_pooled(&self, key: u64) -> bool {
        self.0.table.borrow().may_be_pooled(key)
    }

    /// Whether a server has just died (see [`liveness`]).
    pub async fn is_dead(&self, slot: &Slot) -> bool {
        liveness::is_dead(&self.0.worker, &slot.server, &slot.liveness, &self.0.shared.roster).await
    }

    /// Follows the roster for as long as the worker lives, so that idle connections and waiting
    /// requests hear of a change without a request.
    pub async fn follow_roster(self) {
        while self.0.shared.roster.newer_than(self.number()).await {
            self.catch_up();
        }
    }

    fn number(&self) -> u64 {
        self.0.table.borrow().number()
    }

    fn catch_up(&self) {
        if self.0.shared.roster.number() != self.number() {
            self.take_up_newest();
        }
    }

    /// What belongs to servers that stay is kept; connections to those that left, drain or failed
    /// are closed when idle.
    fn take_up_newest(&self) {
        let old = Rc::clone(&self.0.table.borrow());
        let table = Rc::new(old.next(
            self.0.shared.roster.snapshot(),
            (self.0.worker.index(), self.0.ids.span()),
            relay::clock::now(),
        ));
        self.0.idle.retain(|key, _| table.may_be_pooled(*key));
        self.0.idle.set_limits(table.pool_limits());
        *self.0.table.borrow_mut() = table;
        old.slots().for_each(|slot| slot.notify());
    }

    /// Looks for late servers for as long as the worker lives, and hands access records on.
    pub async fn watch(self) {
        loop {
            self.0.worker.wheel().sleep(WATCH_EVERY).await;
            self.watch_once(relay::clock::now());
            self.0.journal.flush();
        }
    }

    fn watch_once(&self, now: Instant) {
        let table = Rc::clone(&self.0.table.borrow());
        for backend in &table.backends {
            backend.slots.iter().for_each(|slot| slot.cut_if_asked());
            for slot in backend.slots.iter().filter(|slot| slot.owes()) {
                slot.notify();
                if slot.is_suspect(self.0.shared.uptime, now, backend.pool.settings.suspicion.after)
                {
                    self.suspect(backend, slot);
                }
            }
        }
    }

    /// Has a server probed, unless it is already.
    fn suspect(&self, backend: &Backend, slot: &Slot) {
        if !slot.server.signs.begin_probe() {
            return;
        }
        let suspect = Suspect {
            server: Arc::clone(&slot.server),
            settings: Arc::clone(&backend.pool.settings),
        };
        if self.0.shared.suspects.try_send(suspect).is_err() {
            slot.server.signs.end_probe();
        }
    }
}

/// Differs between workers and between starts.
fn seed() -> u64 {
    chassis::random::seed()
}

//! What one worker has at hand: for every backend the picker, for every server the watch over its answers, and one pool of idle connections.
//!
//! Everything here belongs to one thread. It follows the roster's snapshots and the bound frontends, and looks at late servers every 50 ms.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_config::document::balancer as document;
use dataplane::trace::{Trace, span::Tracer};
use relay::{
    head::{Request, RequestHead},
    pool::Pool,
    retry::Budget,
    worker::Worker,
};
use tokio::sync::{Notify, mpsc};

use crate::{
    attempt::Scratch,
    check::Suspect,
    config::Generation,
    id::Ids,
    listen::Frontend,
    pick,
    record::{self, Journal, Record},
    roster,
    route::{Destination, Route},
    server::Server,
    snapshot::{self, Snapshot},
    stats::{ServerCounts, Uptime},
    suspect::Watch,
};

/// How often a worker looks whether a server that owes answers is late.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Rooms for attempts that are kept while nobody uses them.
const SCRATCHES: usize = 64;
/// One that grew larger for one large head is not kept.
const LARGEST_SCRATCH: usize = 64 * 1024;

/// Room for an attempt; boxed, as it moves between the desk and the requests.
type Room = Box<Scratch>;

/// Room for the index of a request's head; boxed for the same reason.
pub type Head = Box<RequestHead>;

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
    pub records: mpsc::Sender<record::Lines>,
    /// Traces requests, where traces go anywhere.
    pub tracer: Option<Tracer>,
}

/// One server on one worker.
pub struct Slot {
    /// Who it is.
    pub server: Arc<Server>,
    watch: Cell<Watch>,
    released: Notify,
    /// When it was last looked whether it is alive, and what was seen (see [`crate::look`]).
    pub last_look: Cell<Option<(Instant, bool)>>,
    /// Taken while somebody looks.
    pub looking: tokio::sync::Mutex<()>,
    worker: usize,
}

impl Slot {
    fn new(server: Arc<Server>, worker: usize, now: Instant) -> Self {
        Self {
            server,
            watch: Cell::new(Watch::new(now)),
            released: Notify::new(),
            last_look: Cell::new(None),
            looking: tokio::sync::Mutex::new(()),
            worker,
        }
    }

    /// This worker's counters of it.
    #[must_use]
    pub fn counts(&self) -> &ServerCounts {
        self.server.tally.counts.of(self.worker)
    }

    /// It owes an answer until what this returns is dropped.
    #[must_use]
    pub fn owing(self: &Rc<Self>, now: Instant) -> Owing {
        self.update(|watch| watch.owes(now));
        self.counts().active_requests.up();
        Owing { slot: Rc::clone(self), since: now, settled: Cell::new(false) }
    }

    /// Bytes came from it.
    pub fn heard(&self, at: Instant) {
        self.update(|watch| watch.heard(at));
    }

    fn update(&self, change: impl FnOnce(&mut Watch)) {
        let mut watch = self.watch.get();
        change(&mut watch);
        self.watch.set(watch);
    }

    /// Returns once the requests that waited for it at `releases` shall go elsewhere, and there is somewhere to go.
    pub async fn until_released(&self, releases: u64, elsewhere: impl Fn() -> bool) {
        loop {
            // Registered before looking, so that nothing is missed in between.
            let notified = self.released.notified();
            if self.server.signs.releases() != releases && elsewhere() {
                return;
            }
            notified.await;
        }
    }
}

/// A request that a server owes an answer to.
pub struct Owing {
    slot: Rc<Slot>,
    since: Instant,
    settled: Cell<bool>,
}

impl Owing {
    /// The answer has begun; answers after how long.
    pub fn answered(&self, at: Instant) -> Duration {
        self.slot.heard(at);
        self.settle();
        at.saturating_duration_since(self.since)
    }

    fn settle(&self) {
        if !self.settled.replace(true) {
            self.slot.update(Watch::settled);
        }
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        self.settle();
        self.slot.counts().active_requests.down();
    }
}

/// One backend on one worker, for one snapshot.
pub struct Backend {
    /// The snapshot's view of it.
    pub pool: Arc<snapshot::Pool>,
    /// What picking remembers.
    picked: RefCell<pick::State>,
    /// By the same index as the pool's servers.
    pub slots: Vec<Rc<Slot>>,
    /// Retries that are not caused by a loss.
    pub budget: Rc<RefCell<Budget>>,
}

impl Backend {
    /// Whether somebody better than unwell is not among the servers with these keys.
    #[must_use]
    pub fn has_others(&self, tried: &[u64]) -> bool {
        self.pool.plan.has_others(|index| tried.contains(&self.slots[index].server.key))
    }

    /// Picks a server whose key is not among these, and takes its turn.
    #[must_use]
    pub fn pick(&self, head: Request<'_>, client: IpAddr, tried: &[u64]) -> Option<&Rc<Slot>> {
        let server = |index: usize| &self.slots[index].server;
        let request = pick::Request {
            head: Some(head),
            client: Some(client),
            load: &|index| server(index).tally.counts.sum(|it| &it.active_requests),
            tried: &|index| tried.contains(&server(index).key),
        };
        let index = pick::pick(&self.pool.plan, &mut self.picked.borrow_mut(), &request)?;
        Some(&self.slots[index])
    }
}

/// A frontend as a snapshot has it.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// What the bundle says of it.
    pub settings: &'a document::Frontend,
    /// Where its requests go.
    pub route: &'a Route,
}

/// Everything of one snapshot.
pub struct Table {
    snapshot: Arc<Snapshot>,
    /// In the bundle's order.
    pub backends: Vec<Rc<Backend>>,
    /// Keys of the servers to which idle connections are kept. Few: a scan is quicker than a hash.
    pooled: Vec<u64>,
}

impl Table {
    /// What is served at a frontend's address: one that is renamed, or that changes places with another, finds what is served there from the
    /// snapshot on, whatever the socket has been told so far. By its name where the address is gone or was any port.
    #[must_use]
    pub fn served(&self, frontend: &Frontend) -> Option<Served<'_>> {
        let Generation { document, routes, .. } = &*self.snapshot.generation;
        // Few: a scan is quicker than a hash.
        let there = document.frontends.iter().position(|it| it.bind.port() != 0 && it.bind == frontend.asked);
        let index = there.or_else(|| document.frontends.iter().position(|it| it.name == frontend.name))?;
        Some(Served { settings: &document.frontends[index], route: &routes[index] })
    }

    /// Where a request goes. None: nothing is configured for its frontend (any more).
    #[must_use]
    pub fn route(&self, frontend: &Frontend, request: Request<'_>) -> Option<Routed> {
        let route = self.served(frontend)?.route;
        let backend = |index: usize| self.backends.get(index).cloned();
        match route.choose(request) {
            Destination::Health => backend(route.backend).map(Routed::Health),
            Destination::Backend(index) => backend(index).map(Routed::Backend),
        }
    }
}

/// A [`Destination`] on this worker.
pub enum Routed {
    /// The balancer answers for itself, and for this backend.
    Health(Rc<Backend>),
    /// To the servers of this backend.
    Backend(Rc<Backend>),
}

/// One worker's desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Rc<Inner>);

struct Inner {
    worker: Worker,
    shared: Arc<Shared>,
    table: RefCell<Rc<Table>>,
    idle: Pool<u64>,
    journal: Journal,
    scratch: RefCell<Vec<Room>>,
    heads: RefCell<Vec<Head>>,
    ids: Ids,
}

impl Desk {
    /// A desk for this worker, with what is known now.
    #[must_use]
    pub fn new(worker: &Worker, shared: &Arc<Shared>) -> Self {
        let table = Rc::new(Table { snapshot: Arc::new(Snapshot::empty()), backends: Vec::new(), pooled: Vec::new() });
        let desk = Self(Rc::new(Inner {
            worker: worker.clone(),
            shared: Arc::clone(shared),
            table: RefCell::new(table),
            idle: Pool::new(worker, relay::pool::Limits::default()),
            scratch: RefCell::default(),
            heads: RefCell::default(),
            ids: Ids::seeded(seed()),
            journal: Journal::new(shared.records.clone()),
        }));
        desk.lay(shared.roster.snapshot());
        desk
    }

    /// The worker.
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

    /// This worker's access records.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// A request has ended: its record is written, and its span is exported if it is sampled.
    pub fn record(&self, record: &Record<'_>, trace: Option<&Trace>) {
        self.journal().add(record);
        if let (Some(trace), Some(tracer)) = (trace, &self.0.shared.tracer) {
            record.trace(trace, tracer);
        }
    }

    /// Makes request ids.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.0.ids
    }

    /// Room for the index of a request's head; to be given back with [`Desk::give_head`].
    #[must_use]
    pub fn head(&self) -> Head {
        self.0.heads.borrow_mut().pop().unwrap_or_else(|| Box::new(RequestHead::new()))
    }

    /// Takes it back.
    pub fn give_head(&self, head: Head) {
        let mut kept = self.0.heads.borrow_mut();
        if kept.len() < SCRATCHES {
            kept.push(head);
        }
    }

    /// Room for an attempt; to be given back with [`Desk::give`].
    #[must_use]
    pub fn scratch(&self) -> Room {
        self.0.scratch.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes room back.
    pub fn give(&self, scratch: Room) {
        let mut kept = self.0.scratch.borrow_mut();
        if kept.len() < SCRATCHES && scratch.out.capacity() <= LARGEST_SCRATCH {
            kept.push(scratch);
        }
    }

    /// Everything of the newest snapshot: whoever was told of a change (a statistic, an answered command, an opened frontend) finds every
    /// worker acting on it.
    #[must_use]
    pub fn table(&self) -> Rc<Table> {
        self.catch_up();
        Rc::clone(&self.0.table.borrow())
    }

    /// The backend of a request, from the newest snapshot.
    #[must_use]
    pub fn backend(&self, frontend: &Frontend, request: Request<'_>) -> Option<Rc<Backend>> {
        match self.table().route(frontend, request)? {
            Routed::Backend(backend) => Some(backend),
            Routed::Health(_) => None,
        }
    }

    /// Whether idle connections to a server are worth keeping.
    #[must_use]
    pub fn may_be_pooled(&self, key: u64) -> bool {
        self.0.table.borrow().pooled.contains(&key)
    }

    /// The number of the snapshot on the desk.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.table.borrow().snapshot.number
    }

    /// Follows the roster for as long as the worker lives, so that idle connections and waiting requests hear of a change without a request.
    pub async fn follow_roster(self) {
        while self.0.shared.roster.newer_than(self.number()).await {
            self.catch_up();
        }
    }

    fn catch_up(&self) {
        if self.0.shared.roster.number() != self.number() {
            self.lay(self.0.shared.roster.snapshot());
        }
    }

    /// Looks at late servers for as long as the worker lives.
    pub async fn watch(self) {
        loop {
            self.0.worker.wheel().sleep(LOOK_EVERY).await;
            self.look(Instant::now());
            self.0.journal.flush();
        }
    }

    /// Takes up a snapshot. What belongs to servers that stay is kept; connections to those that left, drain or failed are closed when idle.
    fn lay(&self, snapshot: Arc<Snapshot>) {
        let old = Rc::clone(&self.0.table.borrow());
        let mut slots: HashMap<u64, Rc<Slot>> = HashMap::new();
        for slot in old.backends.iter().flat_map(|backend| &backend.slots) {
            slots.insert(slot.server.key, Rc::clone(slot));
        }
        let (worker, now) = (self.0.worker.index(), Instant::now());
        let lay = |pool: &Arc<snapshot::Pool>| {
            let slot = |listed: &snapshot::Listed| {
                let known = slots.get(&listed.server.key).cloned();
                known.unwrap_or_else(|| Rc::new(Slot::new(Arc::clone(&listed.server), worker, now)))
            };
            let before = old.backends.iter().find(|it| it.pool.settings.name == pool.settings.name);
            let picked = match before {
                Some(before) if !before.slots.is_empty() => before.picked.borrow().carried_over(&before.pool.plan, &pool.plan),
                _ => pick::begin(&pool.plan, worker),
            };
            Rc::new(Backend {
                pool: Arc::clone(pool),
                picked: RefCell::new(picked),
                slots: pool.servers.iter().map(slot).collect(),
                budget: before
                    .map_or_else(|| Rc::new(RefCell::new(Budget::new(u32::from(pool.settings.retry.budget)))), |it| Rc::clone(&it.budget)),
            })
        };
        let backends: Vec<_> = snapshot.pools.iter().map(lay).collect();
        let listed = snapshot.pools.iter().flat_map(|pool| &pool.servers);
        let pooled: Vec<u64> = listed.filter(|it| it.may_be_pooled()).map(|it| it.server.key).collect();
        self.0.idle.retain(|key, _| pooled.contains(key));
        self.0.idle.set_limits(pool_limits(&snapshot));
        *self.0.table.borrow_mut() = Rc::new(Table { snapshot, backends, pooled });
        for slot in old.backends.iter().flat_map(|backend| &backend.slots) {
            slot.released.notify_waiters();
        }
    }

    fn look(&self, now: Instant) {
        let table = Rc::clone(&self.0.table.borrow());
        for backend in &table.backends {
            for slot in backend.slots.iter().filter(|slot| slot.watch.get().owed() > 0) {
                self.look_at(backend, slot, now);
            }
        }
    }

    fn look_at(&self, backend: &Backend, slot: &Slot, now: Instant) {
        slot.released.notify_waiters();
        if let Some(at) = slot.server.signs.last_probe_answer(self.0.shared.uptime) {
            slot.heard(at);
        }
        let suspicion = &backend.pool.settings.suspicion;
        let late = slot.server.door.is_relay() && slot.watch.get().is_late(now, suspicion.after);
        if late && slot.server.signs.begin_probe() {
            let suspect = Suspect { server: Arc::clone(&slot.server), settings: Arc::clone(&backend.pool.settings) };
            if self.0.shared.suspects.try_send(suspect).is_err() {
                slot.server.signs.end_probe();
            }
        }
    }
}

/// One pool serves all backends of a worker; the most generous one decides, and the deadlines of the others are the nodes'.
fn pool_limits(snapshot: &Snapshot) -> relay::pool::Limits {
    let settings = || snapshot.pools.iter().map(|pool| &pool.settings);
    let per_upstream = settings().map(|it| it.keepalive as usize).max().unwrap_or(0);
    let servers = snapshot.pools.iter().map(|pool| pool.servers.len()).sum::<usize>();
    let idle = settings().map(|it| it.keepalive_idle).min().unwrap_or(Duration::from_secs(30));
    relay::pool::Limits { per_upstream, total: per_upstream * servers, idle }
}

/// Differs between workers and between starts.
fn seed() -> u64 {
    uuid::Uuid::now_v7().as_u128() as u64
}

//! The roster: the one owner of who the servers are and what is thought of them.
//!
//! Workers, checks, prober and operators send it what they see; configuration and membership reach
//! it as they change. After each it judges everybody ([`book`], pure) and publishes a [`Snapshot`]
//! if anything changed. It runs on the control runtime and never on a worker.

pub mod book;

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{
    config::Generation,
    evidence::{Change, Seen},
    membership::{Desired, Memory},
    pick::Plan,
    queue::Queue,
    server::Server,
    snapshot::Snapshot,
};
use book::{Book, Compared};

/// Evidence ages and counters are looked at this often.
const TICK: Duration = Duration::from_millis(200);
/// Observations and commands that may wait.
const QUEUE: usize = 4096;
/// One look-up of a host name.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);
/// Host names are looked up again after so long.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// What the roster is told.
#[derive(Debug)]
enum Told {
    Observed { key: u64, seen: Seen },
    LookedUp { name: String, address: SocketAddr },
    Set { server: String, set: Desired },
    AgentSaid { key: u64, line: Option<String> },
    SetMaxconn { backend: String, server: String, most: Option<u32> },
    Written { server: String },
}

/// Reads and tells the roster. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    told: mpsc::Sender<Told>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Of the snapshot, never behind it.
    number: Arc<AtomicU64>,
    published: watch::Receiver<u64>,
    drift: watch::Receiver<Vec<(String, Desired)>>,
}

impl Handle {
    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The number of the snapshot now. Asked for each request: it costs no lock and no count of
    /// references.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// Returns when there is a newer snapshot than this one; false when there will not be any more.
    pub async fn newer_than(&self, number: u64) -> bool {
        let mut published = self.published.clone();
        published.wait_for(|&it| it > number).await.is_ok()
    }

    /// Tells what was seen of a server. Never waits: when the roster is behind by thousands of
    /// observations, one more changes nothing.
    pub fn observe(&self, key: u64, seen: Seen) {
        if let Err(mpsc::error::TrySendError::Full(_)) =
            self.told.try_send(Told::Observed { key, seen })
        {
            metrics::counter!(crate::metrics::OBSERVATIONS_DROPPED).increment(1);
        }
    }

    /// Sets something here, for servers of that name.
    pub async fn set(&self, server: &str, set: Desired) {
        self.tell(Told::Set { server: server.to_owned(), set }).await;
    }

    /// An agent beside a server has said this; none: there is none any more.
    pub async fn agent_said(&self, key: u64, line: Option<String>) {
        self.tell(Told::AgentSaid { key, line }).await;
    }

    /// Sets how many requests and tunnels a server of that backend may have at a time; none: any
    /// number.
    pub async fn set_maxconn(&self, backend: &str, server: &str, most: Option<u32>) {
        let (backend, server) = (backend.to_owned(), server.to_owned());
        self.tell(Told::SetMaxconn { backend, server, most }).await;
    }

    /// The registry has taken what was set here.
    pub async fn written(&self, server: &str) {
        self.tell(Told::Written { server: server.to_owned() }).await;
    }

    /// What was set here and is not known to the registry yet.
    #[must_use]
    pub fn drift(&self) -> watch::Receiver<Vec<(String, Desired)>> {
        self.drift.clone()
    }

    async fn tell(&self, told: Told) {
        // The roster ends only with the process.
        if self.told.send(told).await.is_err() {
            tracing::debug!("the roster has ended");
        }
    }
}

/// Checks a server of the backend of this name for as long as it is in the roster, and tells the
/// roster what it sees.
pub type Checker = fn(String, Arc<Server>, Handle) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the roster follows.
pub struct Sources {
    /// Configuration in force.
    pub generations: watch::Receiver<Arc<Generation>>,
    /// The registry's list.
    pub membership: chassis::membership::Watch,
    /// The wall clock.
    pub clock: chassis::Clock,
    /// Checks the servers.
    pub checker: Checker,
}

/// The roster before it runs.
pub struct Roster {
    book: Book,
    memory: Memory,
    sources: Sources,
    told: mpsc::Receiver<Told>,
    handle: Handle,
    published: watch::Sender<u64>,
    drift: watch::Sender<Vec<(String, Desired)>>,
    checks: HashMap<u64, AbortHandle>,
    looked_up: HashMap<String, Instant>,
}

impl Roster {
    /// A roster that knows nobody yet.
    #[must_use]
    pub fn new(book: Book, sources: Sources) -> Self {
        let (tell, told) = mpsc::channel(QUEUE);
        let (published, seen) = watch::channel(0);
        let (drift, drifted) = watch::channel(Vec::new());
        let handle = Handle {
            told: tell,
            snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::empty())),
            number: Arc::default(),
            published: seen,
            drift: drifted,
        };
        Self {
            book,
            memory: Memory::default(),
            sources,
            told,
            handle,
            published,
            drift,
            checks: HashMap::new(),
            looked_up: HashMap::new(),
        }
    }

    /// For everybody else.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until nobody can tell it anything any more.
    pub async fn run(&mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.reconcile();
        loop {
            tokio::select! {
                Some(told) = self.told.recv() => self.hear(told),
                Ok(()) = self.sources.generations.changed() => self.reconcile(),
                () = self.sources.membership.changed() => self.reconcile(),
                _ = tick.tick() => self.look_up(),
                else => return,
            }
            self.publish();
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Observed { key, seen } => {
                let words = match &seen {
                    Seen::Passed | Seen::SaidToBeWell => String::new(),
                    Seen::Failed(fault) => fault.to_string(),
                };
                match self.book.observe(key, seen, relay::clock::now()) {
                    Some((Change::Ejected, server)) => {
                        tracing::warn!(server, "out of turn: {words}")
                    }
                    Some((Change::Returned, server)) => {
                        tracing::info!(server, "back in turn")
                    }
                    None => {}
                }
            }
            Told::LookedUp { name, address } => {
                if self.book.looked_up(name, address) {
                    self.reconcile();
                }
            }
            Told::Set { server, set } => {
                self.book.set(&server, set);
                self.reconcile();
            }
            Told::AgentSaid { key, line } => self.book.agent_said(key, line.as_deref()),
            Told::SetMaxconn { backend, server, most } => {
                self.book.set_maxconn(&backend, &server, most);
                self.reconcile();
            }
            Told::Written { server } => {
                self.book.forget(&server);
                self.reconcile();
            }
        }
    }

    fn reconcile(&mut self) {
        let now = relay::clock::now();
        let generation = Arc::clone(&self.sources.generations.borrow_and_update());
        let membership = self.sources.membership.borrow();
        self.memory.update(membership.instances.values().cloned(), now);
        self.book.reconcile(&generation, self.memory.instances(), now);
        self.drift.send_if_modified(|known| {
            let drift = self.book.drift();
            let differs = *known != drift;
            *known = drift;
            differs
        });
        self.follow_checks();
        self.look_up();
        self.publish();
    }

    /// Every server has one checking task, which ends with it. Settings of a check are read anew
    /// for each.
    fn follow_checks(&mut self) {
        let (mut wanted, checker) = (HashSet::new(), self.sources.checker);
        for (settings, server) in self.book.servers() {
            wanted.insert(server.key);
            self.checks.entry(server.key).or_insert_with(|| {
                let (settings, server, handle) =
                    (settings.name.clone(), Arc::clone(server), self.handle.clone());
                tokio::spawn(checker(settings, server, handle)).abort_handle()
            });
        }
        self.checks.retain(|key, task| {
            let keep = wanted.contains(key);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// Starts looking up the host names that are due.
    fn look_up(&mut self) {
        let now = relay::clock::now();
        for name in self.book.names_to_look_up(self.memory.instances()) {
            let due = self
                .looked_up
                .get(&name)
                .is_none_or(|&at| now.saturating_duration_since(at) >= LOOK_UP_EVERY);
            if !due {
                continue;
            }
            self.looked_up.insert(name.clone(), now);
            let handle = self.handle.clone();
            tokio::spawn(async move {
                match tokio::time::timeout(LOOK_UP_WITHIN, tokio::net::lookup_host(name.as_str()))
                    .await
                {
                    Ok(Ok(found)) => {
                        let first = found.into_iter().next();
                        if let Some(address) = first {
                            handle.tell(Told::LookedUp { name: name.clone(), address }).await;
                        }
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(name, "cannot look up the address of a server: {error}")
                    }
                    Err(_) => {
                        tracing::warn!(name, "looking up the address of a server takes too long")
                    }
                }
            });
        }
    }

    fn publish(&mut self) {
        let judged = self.book.judge(relay::clock::now(), self.sources.clock.now());
        for Compared { change, server, reason } in self.book.changes() {
            match change {
                Change::Ejected => tracing::warn!(server, "out of turn: {reason}"),
                Change::Returned => tracing::info!(server, "back in turn: {reason}"),
            }
        }
        if let Some(snapshot) = judged {
            let (number, snapshot) = (snapshot.number, Arc::new(snapshot));
            let changed = changed_queues(&self.handle.snapshot.load(), &snapshot);
            // First, so that whoever has seen the snapshot is sure that workers take it up. One
            // that is too early finds the old one, and looks again.
            self.handle.number.store(number, Ordering::Release);
            self.handle.snapshot.store(Arc::clone(&snapshot));
            self.published.send_replace(number);
            changed.iter().for_each(|queue| queue.follow(number));
        }
    }
}

/// The queues of which a snapshot says something new, which they know before it is in force.
fn changed_queues(before: &Snapshot, now: &Snapshot) -> Vec<Arc<Queue>> {
    let mut queues = Vec::new();
    for pool in &now.pools {
        let known = before.pools.iter().any(|it| Arc::ptr_eq(it, pool));
        if !known && (pool.bounded || !pool.queue.is_empty()) {
            let servers: Vec<_> = pool.servers.iter().map(|it| Arc::clone(&it.server)).collect();
            pool.queue.prepare(&pool.plan, &servers);
            queues.push(Arc::clone(&pool.queue));
        }
    }
    for pool in before.pools.iter().filter(|it| now.pool(&it.settings.name).is_none()) {
        pool.queue.prepare(&Plan::nobody(), &[]);
        queues.push(Arc::clone(&pool.queue));
    }
    queues
}

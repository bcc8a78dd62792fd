//! The data path as a whole: roster, prober, frontends and workers, put together without the
//! process around them.

use std::{
    io,
    path::PathBuf,
    rc::Rc,
    sync::{Arc, OnceLock, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use chassis::takeover::Belongings;
use cluster_config::{FileReference, document::BalancerDocument};
use dataplane::{
    ledger::{Ledger, Totals},
    listen::{Open, accept},
    trace::span::Tracer,
};
use relay::worker::{Counts, Drained, Phase, Settings, Worker, Workers};
use relay::{clients::Clients, proof::Key};
use tokio::sync::{Mutex, mpsc, watch};

use crate::{
    check,
    config::Generation,
    connection,
    lately::Lately,
    listen::{self, Announce, Bound, Frontend, Frontends},
    local::{Local, Shared},
    pages::Asker,
    record::{self, Recorder},
    roster::{
        self, Roster, Sources,
        book::{Book, Setting},
    },
    standing::locality::Place,
    stats::Uptime,
    tls,
    view::{View, rates},
    vrrp::{self, Virtual, fitness},
};

/// Suspects that may wait to be probed; each server is in it at most once.
const SUSPECTS: usize = 1024;
/// A generation is in the roster within this time, or the frontends open before it is.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// The last lines of the access log are written within this time, or a process that ends does not
/// wait for them.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);

/// Makes a task, and makes it again after a panic.
pub type Factory = Arc<dyn Fn() -> Task + Send + Sync>;
/// Runs supervised tasks; what `chassis::Supervisor::spawn` is in a process.
pub type Spawn = Arc<dyn Fn(&'static str, Factory) + Send + Sync>;
/// What is run.
pub type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the engine is told by its process.
pub struct Surroundings {
    /// Number of workers.
    pub workers: usize,
    /// Name of this balancer.
    pub name: String,
    /// What opens nodes' relay ports.
    pub cluster_key: [u8; 32],
    /// Where this balancer is.
    pub place: Place,
    /// The registry's list.
    pub membership: chassis::membership::Watch,
    /// The wall clock.
    pub clock: chassis::Clock,
    /// Where access records go.
    pub access_log: PathBuf,
    /// Is told every address that is bound.
    pub announce: Announce,
    /// Sockets that outlive the process.
    pub inherited: chassis::Inherited,
    /// The process that this one takes over from.
    pub predecessor: Option<chassis::Predecessor>,
    /// Traces requests, where traces go anywhere.
    pub tracer: Option<Tracer>,
    /// Where the passwords of virtual addresses are.
    pub secrets: PathBuf,
    /// The program of this host that is told where virtual addresses go.
    pub notify: Option<PathBuf>,
    /// Runs supervised tasks on the control runtime.
    pub spawn: Spawn,
}

/// The data path before its workers run.
pub struct Engine {
    frontends: Arc<Frontends>,
    generations: watch::Sender<Arc<Generation>>,
    pending: watch::Sender<Option<(Arc<Generation>, Bound)>>,
    roster: roster::Handle,
    suspects: mpsc::Sender<check::Suspect>,
    recorder: Recorder,
    log_thread: JoinHandle<()>,
    tracer: Option<Tracer>,
    uptime: Uptime,
    workers: usize,
    name: String,
    clock: chassis::Clock,
    lately: Lately,
    addresses: vrrp::Handle,
    rates: rates::Board,
    pages: OnceLock<Asker>,
    clients: Arc<OnceLock<Arc<Clients>>>,
    ledger: Ledger,
}

impl Engine {
    /// Starts roster, prober and the writer of access records.
    ///
    /// # Errors
    /// Its thread cannot be made.
    pub fn new(around: Surroundings) -> std::io::Result<Self> {
        let uptime = Uptime::starting(relay::clock::now());
        let ledger = Ledger::default();
        let (generations, followed) = watch::channel(Arc::new(Generation::none()));
        let book = Book::new(Setting {
            workers: around.workers,
            uptime,
            key: Key::new(&around.cluster_key),
            place: around.place,
            ledger: ledger.clone(),
        });
        let membership = around.membership.clone();
        let sources = Sources {
            generations: followed,
            membership: around.membership,
            clock: around.clock.clone(),
            checker: |backend, server, roster| Box::pin(check::follow(backend, server, roster)),
        };
        let roster = Roster::new(book, sources);
        let handle = roster.handle();
        let (suspects, suspected) = mpsc::channel(SUSPECTS);
        let (pending, due) = watch::channel(None);
        let sources = listen::Sources {
            inherited: around.inherited,
            predecessor: around.predecessor.clone(),
            ledger: ledger.clone(),
        };
        let frontends = Arc::new(Frontends::new(around.workers, around.announce, sources));
        let spawn = &around.spawn;
        supervise(spawn, "roster", roster, |roster| {
            Box::pin(async move { roster.lock().await.run().await })
        });
        supervise(spawn, "prober", (suspected, handle.clone(), uptime), |prober| {
            Box::pin(async move {
                let (suspects, roster, uptime) = &mut *prober.lock().await;
                check::probe_suspects(suspects, roster, *uptime).await;
            })
        });
        supervise(spawn, "frontends", (due, handle.clone(), Arc::clone(&frontends)), |opening| {
            Box::pin(async move {
                let (due, roster, frontends) = &mut *opening.lock().await;
                open_frontends(due, roster, frontends).await;
            })
        });
        let certificates = (generations.subscribe(), around.clock.clone());
        supervise(spawn, "certificates", certificates, |certificates| {
            Box::pin(async move {
                let (generations, clock) = &mut *certificates.lock().await;
                follow_certificates(generations, clock).await;
            })
        });
        let addresses = Arc::new(Virtual::new(vrrp::Surroundings {
            name: around.name.clone(),
            clock: around.clock.clone(),
            secrets: around.secrets,
            notify: around.notify,
            predecessor: around.predecessor,
        }));
        let inputs = fitness::Inputs {
            roster: handle.clone(),
            open: frontends.follow(),
            membership,
            addresses: Arc::clone(&addresses),
        };
        supervise(spawn, "fitness", inputs, |inputs| {
            Box::pin(async move { fitness::follow(&*inputs.lock().await).await })
        });
        let (recorder, log_thread) = record::start(around.access_log, &around.name)?;
        Ok(Self {
            frontends,
            generations,
            pending,
            roster: handle,
            suspects,
            recorder,
            log_thread,
            tracer: around.tracer,
            uptime,
            workers: around.workers,
            name: around.name,
            clock: around.clock,
            lately: Lately::new(uptime),
            addresses,
            rates: rates::Board::default(),
            pages: OnceLock::new(),
            clients: Arc::default(),
            ledger,
        })
    }

    /// What a successor needs of it.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn belongings(&self) -> io::Result<Belongings> {
        let mut belongings = self.addresses.belongings()?;
        belongings.handed.extend(self.frontends.handed()?);
        Ok(belongings)
    }

    /// What was counted, by this process and those before.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// What a process before this one has counted until now.
    pub fn count_on(&self, totals: Totals) {
        self.ledger.receive(totals);
    }

    /// Returns once the frontends are there, as far as a configuration wants any, and a server is
    /// known; before its [beginning](Self::begin) nobody accepts there.
    pub async fn until_built(&self) {
        let wanted = !self.generations.borrow().document.frontends.is_empty();
        let mut open = self.frontends.follow();
        let built = open.wait_for(|open| !wanted || !open.is_empty());
        drop(tokio::time::timeout(KNOWN_WITHIN * 2, built).await);
        let servers = async {
            while self.roster.snapshot().pools.iter().all(|pool| pool.servers.is_empty()) {
                if !self.roster.newer_than(self.roster.snapshot().number).await {
                    return;
                }
            }
        };
        // Where there are none anywhere, its predecessor has none, either.
        drop(tokio::time::timeout(KNOWN_WITHIN, servers).await);
    }

    /// Goes on where the process before has let go.
    pub fn begin(&self) {
        self.frontends.begin();
        self.addresses.begin();
    }

    /// A successor goes on with frontends and addresses.
    pub fn hand_over(&self) {
        self.frontends.hand_over();
        self.addresses.hand_over();
    }

    /// Puts a configuration into force, whole or not at all. `read` gives the content of a file of
    /// its bundle.
    ///
    /// # Errors
    /// Every problem; then nothing has changed.
    pub fn apply(
        &self,
        revision: &str,
        document: &[u8],
        read: impl Fn(&FileReference) -> io::Result<Vec<u8>>,
    ) -> Result<(), Vec<String>> {
        let mut generation = Generation::build(revision, document, read)?;
        let before = Arc::clone(&self.generations.borrow());
        generation.secure(&before, self.clock.now())?;
        let generation = Arc::new(generation);
        let BalancerDocument { frontends, vrrp, .. } = &generation.document;
        let instances = self.addresses.prepare(vrrp)?;
        let moving: Vec<_> =
            vrrp.iter().flat_map(|it| &it.addresses).map(|net| net.addr()).collect();
        let bound = self.frontends.prepare(frontends, &moving)?;
        self.recorder
            .log()
            .targets
            .set(&generation.document.log_targets)
            .map_err(|error| vec![format!("the thread of a log target cannot be made: {error}")])?;
        self.frontends.employ(generation.document.workers);
        self.generations.send_replace(Arc::clone(&generation));
        self.pending.send_replace(Some((generation, bound)));
        self.addresses.apply(instances);
        Ok(())
    }

    /// What can be seen of it.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            roster: self.roster.clone(),
            open: self.frontends.follow(),
            clock: self.clock.clone(),
            recorder: self.recorder.clone(),
            lately: self.lately.clone(),
            rates: self.rates.clone(),
            uptime: self.uptime,
            addresses: Arc::clone(&self.addresses),
            clients: Arc::clone(&self.clients),
        }
    }

    /// Leaves the virtual addresses to other balancers.
    pub async fn resign(&self) {
        self.addresses.resign().await;
    }

    /// Has workers ask for pages here; to be called before they start, and once.
    pub fn ask_for_pages(&self, asker: Asker) {
        drop(self.pages.set(asker));
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// Threads cannot be made.
    pub fn start(&self, cluster_id: &str) -> std::io::Result<Running> {
        let pseudonym = if cluster_id.is_empty() {
            self.name.clone()
        } else {
            format!("{}.{cluster_id}", self.name)
        };
        let shared = Arc::new(Shared {
            roster: self.roster.clone(),
            suspects: self.suspects.clone(),
            uptime: self.uptime,
            name: self.name.clone(),
            via: format!("1.1 {pseudonym}"),
            pseudonym,
            recorder: self.recorder.clone(),
            pages: self.pages.get().cloned(),
            tracer: self.tracer.clone(),
        });
        let follow = (self.frontends.follow(), self.frontends.at_work());
        let settings = Settings { name: "balancer", workers: self.workers };
        let workers = Workers::start(settings, move |worker| {
            work(worker, Arc::clone(&shared), follow.clone())
        })?;
        // It is set once: an engine starts its workers once.
        drop(self.clients.set(workers.clients()));
        Ok(Running(std::sync::Mutex::new(Some(workers))))
    }

    /// Waits until the access log has the lines of the last requests. For the end of the process,
    /// after the workers have [drained](Running::drain).
    pub async fn finish_log(&self) {
        self.recorder.finish(&self.log_thread, LAST_LINES_WITHIN).await;
        self.recorder.log().targets.finish(LAST_LINES_WITHIN).await;
    }
}

/// Runs something that owns state across runs: a panic loses what was under way, not the state.
fn supervise<S: Send + 'static>(
    spawn: &Spawn,
    name: &'static str,
    state: S,
    run: fn(Arc<Mutex<S>>) -> Task,
) where
    Mutex<S>: Send + Sync,
{
    let state = Arc::new(Mutex::new(state));
    spawn(name, Arc::new(move || run(Arc::clone(&state))));
}

/// Opens frontends once the roster knows their servers, so that the first request finds somebody.
async fn open_frontends(
    due: &mut watch::Receiver<Option<(Arc<Generation>, Bound)>>,
    roster: &roster::Handle,
    frontends: &Frontends,
) {
    loop {
        let opening = due.borrow_and_update().clone();
        if let Some((generation, bound)) = opening {
            let known = async {
                while !Arc::ptr_eq(&roster.snapshot().generation, &generation) {
                    if !roster.newer_than(roster.snapshot().number).await {
                        return;
                    }
                }
            };
            if tokio::time::timeout(KNOWN_WITHIN, known).await.is_err() {
                tracing::warn!(
                    "the roster has not taken up the configuration yet; the frontends open all the \
                     same"
                );
            }
            frontends.publish(&bound);
        }
        if due.changed().await.is_err() {
            return;
        }
    }
}

/// Looks at the files of certificates as long as there are generations.
async fn follow_certificates(
    generations: &watch::Receiver<Arc<Generation>>,
    clock: &chassis::Clock,
) {
    while generations.has_changed().is_ok() {
        tokio::time::sleep(tls::EVERY).await;
        let generation = Arc::clone(&generations.borrow());
        for (frontend, acceptor) in generation.secured() {
            let (acceptor, now) = (Arc::clone(acceptor), clock.now());
            let looking = tokio::task::spawn_blocking(move || acceptor.refresh(now));
            let Ok(Some(report)) = looking.await else { continue };
            match report.problem {
                Some(problem) => tracing::error!(
                    frontend, problem, in_force_until = %report.expires,
                    "new certificates cannot be used; the ones before are shown on"
                ),
                None => {
                    tracing::info!(frontend, until = %report.expires, "new certificates are shown");
                }
            }
        }
    }
}

/// One worker's whole life.
async fn work(
    worker: Worker,
    shared: Arc<Shared>,
    follow: (watch::Receiver<Open<Frontend>>, watch::Receiver<usize>),
) {
    let local = Local::new(&worker, &shared);
    let followed = local.clone();
    worker.background(move || followed.clone().follow_roster());
    let watched = local.clone();
    worker.background(move || watched.clone().watch());
    let requests = Rc::new(connection::requests());
    accept(&worker, follow, |listener| {
        let served = Rc::new((local.clone(), listener));
        let requests = Rc::clone(&requests);
        move |_, client, peer| {
            let (local, listener) = (served.0.clone(), Arc::clone(&served.1));
            let requests = Rc::clone(&requests);
            connection::serve(local, listener, client, peer, requests)
        }
    })
    .await;
}

pub struct Running(std::sync::Mutex<Option<Workers>>);

impl Running {
    /// What the workers count, while they run.
    #[must_use]
    pub fn counts(&self) -> Option<Counts> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.counts())
    }

    /// What each client has, while they run.
    #[must_use]
    pub fn clients(&self) -> Option<Arc<Clients>> {
        Some(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.clients())
    }

    /// Answers carry `Connection: close` from now on.
    pub fn leave(&self) {
        if let Some(workers) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            workers.advance(Phase::Leaving);
        }
    }

    /// Stops accepting, lets what is under way end, cuts what is left.
    pub async fn drain(&self, within: Duration) -> Option<Drained> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(workers.drain(within).await)
    }
}

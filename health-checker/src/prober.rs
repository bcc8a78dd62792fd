//! The one owner of what is probed when and of where every target stands.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use chassis::{Clock, Process, membership::Membership, probe::Signer};
use cluster::{Opinion, Verdict};
use cluster_config::document::checks::Check;
use jiff::Timestamp;
use metrics::{counter, gauge, histogram};
use tokio::{
    net::UdpSocket,
    sync::{Mutex, Semaphore, broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    metrics as names,
    opinion::{self, Standing},
    probe,
    schedule::Schedule,
    targets::{self, Key, Wanted},
};

/// Probes at the same time; more wait for their turn.
const PARALLEL: usize = 64;
/// Results that a slow reader of `WatchResults` may be behind before it misses some.
const RESULTS: usize = 1024;
const COMMANDS: usize = 64;
/// With nothing to probe, look again after this.
const IDLE: Duration = Duration::from_secs(60);

/// What one probe found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    pub key: Key,
    pub name: String,
    /// The address probed.
    pub address: String,
    /// What was found, in words for people either way.
    pub result: Result<String, String>,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// A check on one target, for those who ask.
#[derive(Clone, Debug)]
pub struct Position {
    /// What is probed.
    pub wanted: Wanted,
    /// Where it stands.
    pub standing: Standing,
    /// The last probe, when there was one.
    pub last: Option<Arc<Finding>>,
}

#[derive(Debug)]
enum Command {
    List(oneshot::Sender<Vec<(Key, Position)>>),
}

/// What others may ask of the prober.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    results: broadcast::Sender<Arc<Finding>>,
    probing: Arc<Probing>,
}

/// What a prober is asked; it outlives a prober that panicked.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Mutex<mpsc::Receiver<Command>>>);

/// The way to ask a prober, and where it hears what it is asked. `builtin_port` is where the
/// built-in target listens, `signer` shows proxies that it is asked for by us.
#[must_use]
pub fn channel(process: &Process, builtin_port: u16, signer: Arc<Signer>) -> (Handle, Inbox) {
    let (commands, inbox) = mpsc::channel(COMMANDS);
    let (results, _) = broadcast::channel(RESULTS);
    let advertised = process.options.advertise.as_deref().and_then(|host| host.parse().ok());
    let probing = Arc::new(Probing {
        name: process.identity.name().to_owned(),
        advertised,
        clock: process.clock.clone(),
        builtin_port,
        signer,
        permits: Semaphore::new(PARALLEL),
    });
    (Handle { commands, results, probing }, Inbox(Arc::new(Mutex::new(inbox))))
}

/// The prober has ended; so has the process, soon.
#[derive(Debug, thiserror::Error)]
#[error("the prober is not running")]
pub struct Gone;

impl Handle {
    /// Every check and target with where it stands.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn list(&self) -> Result<Vec<(Key, Position)>, Gone> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::List(answer)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Every result from now on.
    #[must_use]
    pub fn results(&self) -> broadcast::Receiver<Arc<Finding>> {
        self.results.subscribe()
    }

    /// Runs one probe now, besides the schedule.
    pub async fn probe(&self, key: Key, wanted: &Wanted) -> Finding {
        self.probing.probe(key, wanted.clone()).await
    }
}

/// What every probe shares.
#[derive(Debug)]
struct Probing {
    name: String,
    /// Where this checker says that it is reached, when that is an address.
    advertised: Option<IpAddr>,
    clock: Clock,
    builtin_port: u16,
    signer: Arc<Signer>,
    permits: Semaphore,
}

impl Probing {
    /// The built-in target as the instance at `address` reaches it: by the address from which this
    /// checker would talk to it.
    async fn builtin(&self, address: &str) -> SocketAddr {
        let seen_by = async {
            let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            socket.local_addr()
        };
        let host = match self.advertised {
            Some(host) => host,
            None => seen_by.await.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip()),
        };
        SocketAddr::new(host, self.builtin_port)
    }

    async fn probe(&self, key: Key, wanted: Wanted) -> Finding {
        let _permit = self.permits.acquire().await;
        let begun = Instant::now();
        let nonce = chassis::random::id().to_string();
        let target = probe::Target {
            address: wanted.address.clone(),
            builtin: self.builtin(&wanted.address).await,
            nonce,
            signer: Arc::clone(&self.signer),
        };
        let result =
            probe::run(&wanted.check, &target).await.map_err(|failure| failure.to_string());
        let took = begun.elapsed();
        let outcome = if result.is_ok() { "passed" } else { "failed" };
        counter!(names::PROBES, "check" => wanted.check.name.clone(), "outcome" => outcome)
            .increment(1);
        histogram!(names::PROBE_SECONDS, "check" => wanted.check.name.clone())
            .record(took.as_secs_f64());
        let finished_at = self.clock.now();
        Finding {
            check: wanted.check.name.clone(),
            key,
            name: wanted.name,
            address: wanted.address,
            result,
            took,
            finished_at,
        }
    }
}

#[derive(Debug)]
pub struct Prober {
    name: String,
    probing: Arc<Probing>,
    schedule: Schedule<Key>,
    positions: BTreeMap<Key, Position>,
    running: JoinSet<Finding>,
    results: broadcast::Sender<Arc<Finding>>,
    opinions: mpsc::Sender<Opinion>,
}

impl Prober {
    /// A prober that is asked through `handle`; opinions go to `opinions`.
    #[must_use]
    pub fn new(handle: &Handle, opinions: mpsc::Sender<Opinion>) -> Self {
        Self {
            name: handle.probing.name.clone(),
            probing: Arc::clone(&handle.probing),
            schedule: Schedule::default(),
            positions: BTreeMap::new(),
            running: JoinSet::new(),
            results: handle.results.clone(),
            opinions,
        }
    }

    /// Probes until nobody can ask any more.
    pub async fn run(
        mut self,
        inbox: Inbox,
        mut checks: watch::Receiver<Vec<Arc<Check>>>,
        mut membership: chassis::membership::Watch,
    ) {
        let mut commands = inbox.0.lock().await;
        loop {
            let (current, members) = (checks.borrow_and_update().clone(), membership.borrow());
            self.reconcile(&current, &members);
            loop {
                self.start_due();
                let due = self.schedule.next().unwrap_or_else(|| Instant::now() + IDLE);
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    Some(ended) = self.running.join_next() => self.note(ended),
                    Some(command) = commands.recv() => self.answer(command),
                    changed = checks.changed() => if changed.is_ok() { break } else { return },
                    () = membership.changed() => break,
                }
            }
        }
    }

    fn reconcile(&mut self, checks: &[Arc<Check>], members: &Membership) {
        let wanted = targets::wanted(&self.name, checks, members.instances.values());
        self.schedule.reconcile(
            Instant::now(),
            &wanted.iter().map(|(key, wanted)| (key.clone(), wanted.pace(&self.name))).collect(),
        );
        self.positions.retain(|key, _| wanted.contains_key(key));
        for (key, wanted) in wanted {
            match self.positions.get_mut(&key) {
                // A check that changed begins anew: what the old one found says nothing about the
                // new one.
                Some(position) if position.wanted.check == wanted.check => position.wanted = wanted,
                _ => {
                    drop(self.positions.insert(
                        key,
                        Position { wanted, standing: Standing::default(), last: None },
                    ))
                }
            }
        }
        gauge!(names::TARGETS).set(self.positions.len() as f64);
    }

    fn start_due(&mut self) {
        for key in self.schedule.take_due(Instant::now()) {
            let Some(position) = self.positions.get(&key) else { continue };
            let (probing, wanted) = (Arc::clone(&self.probing), position.wanted.clone());
            self.running.spawn(async move { probing.probe(key, wanted).await });
        }
    }

    fn note(&mut self, ended: Result<Finding, tokio::task::JoinError>) {
        let finding = match ended {
            Ok(finding) => Arc::new(finding),
            Err(error) => {
                // The schedule would wait for it for ever: begin anew with everything that counts
                // as running.
                tracing::error!(%error, "a probe panicked");
                self.schedule = Schedule::default();
                let pace = self
                    .positions
                    .iter()
                    .map(|(key, position)| (key.clone(), position.wanted.pace(&self.name)));
                return self.schedule.reconcile(Instant::now(), &pace.collect());
            }
        };
        // An error only says that nobody watches.
        let _watchers = self.results.send(Arc::clone(&finding));
        if !self.schedule.finished(&finding.key) {
            return;
        }
        let Some(position) = self.positions.get_mut(&finding.key) else { return };
        let check = &position.wanted.check;
        let result = if finding.result.is_ok() { Verdict::Passing } else { Verdict::Critical };
        let before = position.standing.verdict();
        position.standing.observe(result, check.rise, check.fall);
        position.last = Some(Arc::clone(&finding));
        let Some(verdict) = position.standing.verdict() else { return };
        if before != Some(verdict) {
            let detail = finding.result.as_ref().unwrap_or_else(|failure| failure);
            tracing::info!(check = %finding.check, target = %finding.name, ?verdict, %detail, "the \
                opinion changed");
        }
        let opinion = opinion_of(&self.name, position, &finding, verdict);
        if self.opinions.try_send(opinion).is_err() {
            counter!(names::DROPPED_OPINIONS).increment(1);
        }
    }

    fn answer(&self, command: Command) {
        let Command::List(answer) = command;
        // Whoever asked may have gone.
        drop(answer.send(
            self.positions.iter().map(|(key, position)| (key.clone(), position.clone())).collect(),
        ));
    }
}

fn opinion_of(checker: &str, position: &Position, finding: &Finding, verdict: Verdict) -> Opinion {
    let check = &position.wanted.check;
    Opinion {
        checker: checker.to_owned(),
        check: check.name.clone(),
        target_id: finding.key.1,
        target_name: finding.name.clone(),
        verdict,
        observed_at: finding.finished_at,
        ttl: opinion::ttl(check.interval, check.timeout),
        detail: opinion::detail(&position.standing, &finding.result, check.rise, check.fall),
        assigned: position.wanted.assigned,
    }
}

//! The task behind [`super::Handle`].

use super::library::{Library, render_for};
use super::{Assignment, Command, Failed, Handle, Hello, Session, drift::drift};
use crate::history::History;
use crate::metrics;
use crate::rollout::{self, Action, Control, Fleet, Key, Refused, Rendering, Start, Target, Times};
use crate::store::{Error, Record, Store};
use chassis::transfer::Parcel;
use chassis::{Clock, StopSignal};
use cluster_config::{Place, Problem, Rendered, Variables};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

/// Commands that are taken at once. A thousand nodes answer within moments, and one transaction is enough for all that have.
const BATCH: usize = 256;
/// Until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What the desk works with; it can be started again from this after a panic.
#[derive(Clone)]
pub struct Desk {
    /// How others reach it.
    pub handle: Handle,
    /// What it is told.
    pub commands: Arc<Mutex<mpsc::Receiver<Command>>>,
    /// What survives.
    pub store: Store,
    /// Times that rollouts go by.
    pub times: Times,
    /// Wall-clock time.
    pub clock: Clock,
    /// Ends it.
    pub stop: StopSignal,
}

struct Connection {
    session: u64,
    variables: Variables,
    assignments: mpsc::Sender<Assignment>,
    /// Dropped to end the connection.
    _over: oneshot::Sender<()>,
    /// By revision: what was rendered for this node, while it may be sent.
    rendered: BTreeMap<String, Arc<Rendered>>,
}

/// What could not be written yet.
#[derive(Default)]
struct Unsaved {
    released: Option<String>,
}

struct Work {
    desk: Desk,
    fleet: Fleet,
    library: Library,
    connections: BTreeMap<Key, Connection>,
    sessions: u64,
    began: Instant,
    started_at: Timestamp,
    unsaved: Option<Unsaved>,
    /// Nodes answered, and nothing has been concluded from it yet.
    answered: bool,
    /// The newest rollout, as those who watch were told.
    newest: Option<Arc<Record>>,
}

impl Desk {
    /// Takes commands until it is stopped.
    ///
    /// # Errors
    /// When what the store holds cannot be read.
    pub async fn run(self) -> Result<(), Error> {
        let commands = Arc::clone(&self.commands);
        let mut commands = commands.lock().await;
        let mut work = Work::begin(self).await?;
        let stop = work.desk.stop.clone();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.wait() => return Ok(()),
                received = commands.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                    work.batch(batch.drain(..)).await;
                }
                () = tokio::time::sleep_until(work.wake()) => work.tick().await,
            }
        }
    }
}

impl Work {
    async fn begin(desk: Desk) -> Result<Self, Error> {
        let released = desk.store.released().await?;
        let record = desk.store.rollout(None).await?;
        let (fleet, actions) = Fleet::new(desk.times, released, record.as_ref().map(Record::progress));
        let started_at = record.as_ref().map_or_else(|| desk.clock.now(), |record| record.started_at);
        let mut work = Self {
            desk,
            fleet,
            library: Library::default(),
            connections: BTreeMap::new(),
            sessions: 0,
            began: Instant::now(),
            started_at,
            unsaved: None,
            answered: false,
            newest: record.map(Arc::new),
        };
        work.perform(actions).await?;
        Ok(work)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn wake(&self) -> Instant {
        let deadline = self.fleet.deadline().map(|deadline| self.began + deadline);
        let retry = self.unsaved.is_some().then(|| Instant::now() + RETRY);
        // An hour stands for never.
        deadline.into_iter().chain(retry).min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    async fn tick(&mut self) {
        let actions = self.fleet.tick(self.now());
        self.perform_or_retry(actions).await;
    }

    /// Everything in the order in which it came. Of answers in a row one conclusion is drawn, written and told.
    async fn batch(&mut self, commands: impl Iterator<Item = Command>) {
        for command in commands {
            if !matches!(command, Command::Acknowledged(..)) {
                self.conclude().await;
            }
            self.command(command).await;
        }
        self.conclude().await;
    }

    async fn conclude(&mut self) {
        if std::mem::take(&mut self.answered) {
            let actions = self.fleet.conclude(self.now());
            self.perform_or_retry(actions).await;
        }
    }

    /// Whoever asked for an answer may have gone meanwhile: that the answer cannot be sent then means nothing.
    async fn command(&mut self, command: Command) {
        let now = self.now();
        let actions = match command {
            Command::Hello(hello, answer) => self.hello(hello, answer).await,
            Command::Applied(key, session, target) => {
                self.fleet.applied(&key, session, target);
                Vec::new()
            }
            Command::Acknowledged(key, session, target, problems) => {
                let result = if problems.is_empty() { "applied" } else { "rejected" };
                ::metrics::counter!(metrics::ACKNOWLEDGEMENTS, "result" => result).increment(1);
                self.answered |= self.fleet.answered(&key, session, &target, problems, now);
                return;
            }
            Command::Gone(key, session) => {
                if self.connections.get(&key).is_some_and(|connection| connection.session == session) {
                    self.connections.remove(&key);
                }
                self.fleet.gone(&key, session, now)
            }
            Command::Start(revision, answer) => return drop(answer.send(self.start(revision).await)),
            Command::Control(id, control, answer) => return drop(answer.send(self.control(&id, control).await)),
            Command::Newest(answer) => return drop(answer.send(self.newest.as_deref().cloned())),
            Command::Restore(restored, answer) => return drop(answer.send(self.restore(&restored.0, &restored.1).await)),
            Command::Drift(answer) => return drop(answer.send(drift(&self.fleet))),
        };
        self.perform_or_retry(actions).await;
    }

    async fn hello(&mut self, hello: Hello, answer: oneshot::Sender<Session>) -> Vec<Action> {
        self.sessions += 1;
        let (number, key) = (self.sessions, hello.key.clone());
        let (over, ended) = oneshot::channel();
        let connection = Connection {
            session: number,
            variables: hello.variables,
            assignments: hello.assignments,
            _over: over,
            rendered: BTreeMap::new(),
        };
        self.connections.insert(key.clone(), connection);
        let (released, candidate) = (self.fleet.released().map(str::to_owned), self.fleet.candidate().map(str::to_owned));
        let released = self.maybe_rendering(&key, released).await;
        let candidate = self.maybe_rendering(&key, candidate).await;
        drop(answer.send(Session { number, over: ended }));
        let hello = rollout::Hello { key, session: number, applied: hello.applied, rejected: hello.rejected, released, candidate };
        self.fleet.hello(hello, self.now())
    }

    async fn maybe_rendering(&mut self, key: &Key, revision: Option<String>) -> Option<Rendering> {
        Some(self.rendering(key, &revision?).await)
    }

    /// What a revision is for a connected node; remembered until it is sent.
    async fn rendering(&mut self, key: &Key, revision: &str) -> Rendering {
        let Some(connection) = self.connections.get_mut(key) else { return Err(Vec::new()) };
        let rendered = match connection.rendered.get(revision) {
            Some(rendered) => Arc::clone(rendered),
            None => {
                let lost =
                    |error: Error| vec![Problem::error(Place::default(), format!("the store: {error}"), "check the config-service's disk")];
                let bundle = self.library.get(&self.desk.store, revision).await.map_err(lost)?;
                let rendered = render_for(&bundle, &key.service, &connection.variables)?;
                connection.rendered.insert(revision.to_owned(), Arc::clone(&rendered));
                rendered
            }
        };
        Ok(Target { revision: revision.to_owned(), hash: rendered.sha256.clone() })
    }

    async fn start(&mut self, revision: String) -> Result<Record, Failed> {
        let keys: Vec<Key> = self.connections.keys().cloned().collect();
        let mut renderings = BTreeMap::new();
        for (count, key) in keys.into_iter().enumerate() {
            let rendering = self.rendering(&key, &revision).await;
            renderings.insert(key, rendering);
            if count % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        let start = Start { id: uuid::Uuid::now_v7().to_string(), revision, renderings };
        let (before, started_at) = (self.fleet.clone(), self.started_at);
        let actions = self.fleet.start(start, self.now())?;
        if !actions.is_empty() {
            self.started_at = self.desk.clock.now();
        }
        if let Err(error) = self.perform(actions).await {
            (self.fleet, self.started_at) = (before, started_at);
            return Err(error.into());
        }
        self.record().ok_or(Failed::Stopping)
    }

    async fn control(&mut self, id: &str, control: Control) -> Result<Record, Failed> {
        let actions = self.fleet.control(id, control, self.now())?;
        self.perform_or_retry(actions).await;
        self.record().ok_or(Failed::Stopping)
    }

    /// Replaces everything, and has every node come back to hear what it shall run now.
    async fn restore(&mut self, history: &History, content: &Parcel) -> Result<(), Failed> {
        if let Some(running) = self.fleet.rollout().filter(|rollout| rollout.state.running()) {
            return Err(Refused::Running { id: running.id.clone(), revision: running.revision.clone() }.into());
        }
        self.desk.store.replace(history, content).await?;
        tracing::warn!(revisions = history.revisions.len(), released = history.released, "restored from a backup");
        let newest = history.rollouts.last();
        let (fleet, actions) = Fleet::new(self.desk.times, history.released.clone(), newest.map(Record::progress));
        self.fleet = fleet;
        self.library = Library::default();
        self.started_at = newest.map_or_else(|| self.desk.clock.now(), |record| record.started_at);
        self.newest = newest.cloned().map(Arc::new);
        self.unsaved = None;
        // Each says hello again and is told by the fleet what it shall run.
        self.connections.clear();
        self.perform_or_retry(actions).await;
        Ok(())
    }

    fn record(&self) -> Option<Record> {
        self.fleet.rollout().map(|rollout| Record::new(rollout, self.started_at, self.desk.clock.now()))
    }

    /// What nodes are to run does not wait for a disk that fails.
    async fn perform_or_retry(&mut self, actions: Vec<Action>) {
        if let Err(error) = self.perform(actions.clone()).await {
            tracing::error!("the state of the rollout cannot be written, which is tried again: {error}");
            ::metrics::counter!(metrics::WRITES_FAILED).increment(1);
            let earlier = self.unsaved.take().and_then(|unsaved| unsaved.released);
            self.unsaved = Some(Unsaved { released: released(&actions).or(earlier) });
            self.send(actions).await;
        }
    }

    /// Writes what is to be kept, then sends what is to be sent, then tells those who watch.
    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        let released = released(&actions).or_else(|| self.unsaved.as_ref().and_then(|unsaved| unsaved.released.clone()));
        let changed = actions.contains(&Action::Changed) || released.is_some() || self.unsaved.is_some();
        let record = if changed { self.record() } else { None };
        if let Some(record) = &record {
            self.desk.store.save(Some(record), released.as_deref()).await?;
            self.unsaved = None;
            tell(record);
        }
        self.send(actions).await;
        if let Some(record) = record.map(Arc::new) {
            self.newest = Some(Arc::clone(&record));
            self.desk.handle.publish(record);
        }
        ::metrics::gauge!(metrics::SUBSCRIBERS).set(u32::try_from(self.connections.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    async fn send(&mut self, actions: Vec<Action>) {
        for action in actions {
            let Action::Assign { key, target } = action else { continue };
            // Rendered before, as a rule: a node that it cannot be rendered for is not assigned it.
            if let Err(problems) = self.rendering(&key, &target.revision).await {
                tracing::error!(node = key.name, revision = target.revision, ?problems, "cannot be rendered any more");
                continue;
            }
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            connection.rendered.retain(|revision, _| *revision == target.revision);
            let Some(rendered) = connection.rendered.get(&target.revision).cloned() else { continue };
            if connection.assignments.try_send(Assignment { revision: target.revision, rendered }).is_err() {
                tracing::warn!(node = key.name, "does not read its assignments and is disconnected");
                self.connections.remove(&key);
            }
        }
    }
}

fn released(actions: &[Action]) -> Option<String> {
    actions.iter().find_map(|action| if let Action::Released(revision) = action { Some(revision.clone()) } else { None })
}

fn tell(record: &Record) {
    tracing::info!(rollout = record.id, revision = record.revision, state = ?record.state, "{}", record.explanation);
    if !record.state.running() {
        let result = format!("{:?}", record.state).to_lowercase();
        ::metrics::counter!(metrics::ROLLOUTS, "result" => result).increment(1);
    }
}

//! The task behind [`super::Handle`].

use super::connections::Connections;
use super::{Command, Handle, Hello, Restoring, Session, drift::drift};
use crate::metrics;
use crate::publish;
use crate::rollout::{self, Action, Control, Fleet, Key, Plan, Rendering, Start, Times};
use crate::store::{Error, Record, Store};
use chassis::{Clock, StopSignal};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

/// Commands that are taken at once. A thousand nodes answer within moments, and one transaction is
/// enough for all that have.
const BATCH: usize = 256;
/// Until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Stands for never.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the owner works with; it can be started again from this after a panic.
#[derive(Clone)]
pub struct Owner {
    /// How others reach it.
    pub handle: Handle,
    /// What it is told.
    pub commands: Arc<Mutex<mpsc::Receiver<Command>>>,
    pub store: Store,
    /// Times that rollouts go by.
    pub times: Times,
    pub clock: Clock,
    pub stop: StopSignal,
}

/// What could not be written yet, and what waits for that.
#[derive(Default)]
struct Unsaved {
    released: Option<String>,
    /// Assignments of the revision that is being rolled out: a node that has it and is not on
    /// record would be taken for one that cannot be harmed by it.
    held: Vec<Action>,
}

/// What the owner changes.
struct Owned {
    owner: Owner,
    fleet: Fleet,
    connections: Connections,
    /// When it began, by both clocks.
    began: (Instant, Timestamp),
    started_at: Timestamp,
    unsaved: Option<Unsaved>,
    /// Nodes answered, and nothing has been concluded from it yet.
    answered: bool,
    /// The newest rollout, as those who watch were told.
    newest: Option<Arc<Record>>,
}

impl Owner {
    /// Takes commands until it is stopped.
    ///
    /// # Errors
    /// When what the store holds cannot be read.
    pub async fn run(self) -> Result<(), Error> {
        let commands = Arc::clone(&self.commands);
        let mut commands = commands.lock().await;
        let mut owned = Owned::begin(self).await?;
        let stop = owned.owner.stop.clone();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = stop.wait() => return Ok(()),
                received = commands.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Ok(());
                    }
                    owned.batch(batch.drain(..)).await;
                }
                () = tokio::time::sleep_until(owned.wake()) => owned.tick().await,
            }
        }
    }
}

impl Owned {
    async fn begin(owner: Owner) -> Result<Self, Error> {
        let released = owner.store.released().await?;
        let record = owner.store.rollout(None).await?;
        let began = (Instant::now(), owner.clock.now());
        let (fleet, actions) =
            Fleet::resume(released, record.as_ref().map(Record::progress), began.1);
        let started_at = record.as_ref().map_or(began.1, |record| record.started_at);
        let connections = Connections::new(owner.store.clone());
        let mut owned = Self {
            owner,
            fleet,
            connections,
            began,
            started_at,
            unsaved: None,
            answered: false,
            newest: record.map(Arc::new),
        };
        owned.perform(actions).await?;
        Ok(owned)
    }

    /// The time on the wall as it was at the start, and what has passed since: setting the clock
    /// shortens no soak.
    fn now(&self) -> Timestamp {
        let passed = self.began.0.elapsed().try_into().unwrap_or(jiff::SignedDuration::MAX);
        self.began.1.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }

    fn instant(&self, at: Timestamp) -> Instant {
        // What is past is due at once.
        self.began.0
            + Duration::try_from(self.began.1.duration_until(at)).unwrap_or_default().min(NEVER)
    }

    fn wake(&self) -> Instant {
        let deadline = self.fleet.deadline().map(|deadline| self.instant(deadline));
        let retry = self.unsaved.is_some().then(|| Instant::now() + RETRY);
        deadline.into_iter().chain(retry).min().unwrap_or_else(|| Instant::now() + NEVER)
    }

    async fn tick(&mut self) {
        let actions = self.fleet.tick(self.now());
        self.perform_or_retry(actions).await;
    }

    /// Everything in the order in which it came. Of answers in a row one conclusion is drawn,
    /// written and told.
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

    /// Whoever asked for an answer may have gone meanwhile: that the answer cannot be sent then
    /// means nothing.
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
                self.connections.closed(&key, session);
                self.fleet.gone(&key, session, now)
            }
            Command::Start(revision, answer) => {
                return drop(answer.send(self.start(revision).await));
            }
            Command::Control(id, control, answer) => {
                return drop(answer.send(self.control(&id, control).await));
            }
            Command::Newest(answer) => return drop(answer.send(self.newest.as_deref().cloned())),
            Command::MayRestore(answer) => return drop(answer.send(self.may_restore())),
            Command::Restore(restoring, answer) => {
                return drop(answer.send(self.restore(&restoring).await));
            }
            Command::Drift(answer) => return drop(answer.send(drift(&self.fleet))),
        };
        self.perform_or_retry(actions).await;
    }

    async fn hello(&mut self, hello: Hello, answer: oneshot::Sender<Session>) -> Vec<Action> {
        let session = self.connections.open(&hello);
        let (number, key) = (session.number, hello.key);
        let (released, candidate) =
            (self.fleet.released().map(str::to_owned), self.fleet.candidate().map(str::to_owned));
        let released = self.maybe_rendering(&key, released).await;
        let candidate = self.maybe_rendering(&key, candidate).await;
        drop(answer.send(session));
        let hello = rollout::Hello {
            key,
            session: number,
            process: hello.process,
            applied: hello.applied,
            rejected: hello.rejected,
            released,
            candidate,
        };
        self.fleet.hello(hello, self.now())
    }

    async fn maybe_rendering(&mut self, key: &Key, revision: Option<String>) -> Option<Rendering> {
        Some(self.connections.rendering(key, &revision?).await)
    }

    async fn start(&mut self, revision: String) -> Result<Record, publish::Error> {
        let renderings = self.connections.renderings(&revision).await;
        let plan = Plan::canary(self.owner.times);
        let start = Start { id: chassis::random::id().to_string(), revision, plan, renderings };
        let (before, started_at) = (self.fleet.clone(), self.started_at);
        let actions = self.fleet.start(start, self.now())?;
        if !actions.is_empty() {
            self.started_at = self.owner.clock.now();
        }
        if let Err(error) = self.perform(actions).await {
            (self.fleet, self.started_at) = (before, started_at);
            return Err(error.into());
        }
        self.record().ok_or(publish::Error::Stopping)
    }

    async fn control(&mut self, id: &str, control: Control) -> Result<Record, publish::Error> {
        let actions = self.fleet.control(id, control, self.now())?;
        // It is done in any case; who asked for it is told that a crash might undo it.
        self.perform_or_hold(actions).await?;
        self.record().ok_or(publish::Error::Stopping)
    }

    /// Nothing may be torn apart that is under way.
    fn may_restore(&self) -> Result<(), publish::Error> {
        match self.fleet.rollout().filter(|rollout| rollout.state.is_under_way()) {
            Some(running) => Err(rollout::Error::Running {
                id: running.id.clone(),
                revision: running.revision.clone(),
            }
            .into()),
            None => Ok(()),
        }
    }

    /// Replaces everything, and has every node come back to hear what it shall run now.
    async fn restore(
        &mut self,
        Restoring { history, content, expected }: &Restoring,
    ) -> Result<(), publish::Error> {
        self.may_restore()?;
        self.owner.store.replace(history, content, expected.as_deref()).await?;
        tracing::warn!(
            revisions = history.revisions.len(),
            released = history.released,
            "restored from a backup"
        );
        let newest = history.rollouts.last();
        let (fleet, actions) =
            Fleet::restored(history.released.clone(), newest.map(Record::progress));
        self.fleet = fleet;
        self.started_at = newest.map_or_else(|| self.owner.clock.now(), |record| record.started_at);
        self.newest = newest.cloned().map(Arc::new);
        self.unsaved = None;
        // Each says hello again and is told by the fleet what it shall run.
        self.connections.forget();
        self.perform_or_retry(actions).await;
        Ok(())
    }

    fn record(&self) -> Option<Record> {
        self.fleet
            .rollout()
            .map(|rollout| Record::new(rollout, self.started_at, self.owner.clock.now()))
    }

    /// As [`Owned::perform_or_hold`], where nobody waits for an answer.
    async fn perform_or_retry(&mut self, actions: Vec<Action>) {
        // It is in the log, and tried again.
        drop(self.perform_or_hold(actions).await);
    }

    /// Whatever does not depend on what is on record does not wait for a disk that fails.
    async fn perform_or_hold(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        let Err(error) = self.perform(actions.clone()).await else { return Ok(()) };
        tracing::error!(
            "the state of the rollout cannot be written, which is tried again: {error}"
        );
        ::metrics::counter!(metrics::WRITES_FAILED).increment(1);
        let Unsaved { released: earlier, mut held } = self.unsaved.take().unwrap_or_default();
        let released = released(&actions).or(earlier);
        let candidate = self.fleet.candidate();
        let exposes = |action: &Action| match action {
            Action::Assign { target, .. } => Some(target.revision.as_str()) == candidate,
            _ => false,
        };
        let (exposing, harmless): (Vec<_>, Vec<_>) = actions.into_iter().partition(exposes);
        held.extend(exposing);
        self.unsaved = Some(Unsaved { released, held });
        self.connections.send(harmless).await;
        Err(error)
    }

    /// Writes what is to be kept, then sends what is to be sent, then tells those who watch.
    async fn perform(&mut self, mut actions: Vec<Action>) -> Result<(), Error> {
        let released = released(&actions)
            .or_else(|| self.unsaved.as_ref().and_then(|unsaved| unsaved.released.clone()));
        let changed =
            actions.contains(&Action::Changed) || released.is_some() || self.unsaved.is_some();
        let record = if changed { self.record() } else { None };
        if let Some(record) = &record {
            self.owner.store.save(Some(record), released.as_deref()).await?;
            let held = self.unsaved.take().unwrap_or_default().held;
            actions.splice(0..0, held.into_iter().filter(|action| self.fleet.still_wants(action)));
            tell(record);
        }
        self.connections.send(actions).await;
        if let Some(record) = record.map(Arc::new) {
            self.newest = Some(Arc::clone(&record));
            self.owner.handle.publish(record);
        }
        ::metrics::gauge!(metrics::SUBSCRIBERS)
            .set(u32::try_from(self.connections.len()).unwrap_or(u32::MAX));
        Ok(())
    }
}

fn released(actions: &[Action]) -> Option<String> {
    actions.iter().find_map(|action| {
        if let Action::Released(revision) = action { Some(revision.clone()) } else { None }
    })
}

fn tell(record: &Record) {
    tracing::info!(
        rollout = record.id,
        revision = record.revision,
        state = ?record.state,
        "{}",
        record.explanation,
    );
    if !record.state.is_under_way() {
        let result = format!("{:?}", record.state).to_lowercase();
        ::metrics::counter!(metrics::ROLLOUTS, "result" => result).increment(1);
    }
}

//! The one owner of a process's generations: boots from disk, applies, confirms, forgets.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use proto::config::{
    Applied as AppliedMessage, Assignment, Cause, Hello, SubscribeRequest,
    subscribe_request::Message,
};
use tokio::sync::{Notify, watch};

use super::{
    Applied, Nack, Problem, Rendered, fetch,
    generation::{Assigned, Generation, Generations, Rejection},
    store::{Store, is_hash, sha256},
};
use crate::{
    connect::ServiceChannel, data_dir::DataDir, identity::ProcessIdentity, metrics,
    status::StatusHandle, supervise,
};

pub(crate) type Apply = Box<dyn FnMut(Rendered) -> Result<(), Vec<Problem>> + Send>;

/// What an [`Owner`] needs of its process.
pub(crate) struct Parts {
    pub(crate) identity: ProcessIdentity,
    pub(crate) status: StatusHandle,
    pub(crate) data_dir: DataDir,
    pub(crate) confirm_after: Duration,
}

/// Owns the generations of this process. Each change is on the disk before it is in memory.
pub(crate) struct Owner {
    store: Store,
    generations: Mutex<Generations>,
    apply: Mutex<Apply>,
    applied: watch::Sender<Option<Applied>>,
    identity: ProcessIdentity,
    status: StatusHandle,
    /// How long a generation serves before it is confirmed.
    confirm_after: Duration,
    variables: BTreeMap<String, String>,
    /// Another process owns what is on the disk.
    retired: AtomicBool,
    /// The config-service has to hear a new hello: less is rejected than the last one said.
    forgiven: Notify,
}

impl Owner {
    /// Reads what is on disk and puts into force what is to be.
    ///
    /// # Errors
    /// The disk fails, or what is remembered is unreadable.
    pub(crate) fn boot(
        parts: Parts,
        variables: BTreeMap<String, String>,
        apply: Apply,
    ) -> io::Result<Arc<Self>> {
        let Parts { identity, status, data_dir, confirm_after } = parts;
        let store = Store::open(data_dir.path("configuration"))?;
        let before = store.load()?;
        let generations = before.clone().booted(crate::version::VERSION);
        for rejection in
            generations.rejected.iter().filter(|rejection| !before.rejected.contains(rejection))
        {
            tracing::error!(
                hash = rejection.hash,
                "a configuration is rejected: {}",
                rejection.reason
            );
        }
        store.save(&generations)?;
        let owner = Self {
            store,
            generations: Mutex::new(generations),
            apply: Mutex::new(apply),
            applied: watch::Sender::new(None),
            identity,
            status,
            confirm_after,
            variables,
            retired: AtomicBool::new(false),
            forgiven: Notify::new(),
        };
        owner.boot_from_disk()?;
        Ok(Arc::new(owner))
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Applied>> {
        self.applied.subscribe()
    }

    fn boot_from_disk(&self) -> io::Result<()> {
        loop {
            let Some(current) = self.generations().current.clone() else { return Ok(()) };
            match self.store.rendered(&current) {
                Err(error) => {
                    tracing::error!(
                        revision = current.revision,
                        "the configuration on disk is damaged: {error}"
                    );
                    self.change(Generations::lost)?;
                }
                Ok(rendered) => match self.attempt(rendered) {
                    Ok(()) => {
                        tracing::info!(
                            revision = current.revision,
                            "configuration booted from disk"
                        );
                        metrics::flag(metrics::CONFIGURATION_CONFIRMED, current.confirmed);
                        self.publish(Applied { revision: current.revision, hash: current.hash });
                        return Ok(());
                    }
                    Err(problems) => {
                        let why = problems
                            .first()
                            .map_or_else(String::new, |problem| problem.message.clone());
                        tracing::error!(
                            revision = current.revision,
                            "the configuration on disk cannot be applied: {why}"
                        );
                        self.change(|state| {
                            state.fallen_back(&format!(
                                "it could not be applied at the start: {why}"
                            ))
                        })?;
                    }
                },
            }
        }
    }

    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of the state: on disk first, then in memory, and nobody else's step in between.
    fn change(&self, step: impl FnOnce(Generations) -> Generations) -> io::Result<()> {
        let mut generations = self.generations();
        let next = step(generations.clone());
        if !self.retired.load(Ordering::Acquire) {
            self.store.save(&next)?;
        }
        *generations = next;
        Ok(())
    }

    /// Gives it to the service; a panic is a problem like another.
    fn attempt(&self, rendered: Rendered) -> Result<(), Vec<Problem>> {
        let mut apply = self.apply.lock().unwrap_or_else(PoisonError::into_inner);
        catch_unwind(AssertUnwindSafe(|| apply(rendered))).unwrap_or_else(|panic| {
            metrics::task_panicked("apply-configuration");
            Err(vec![
                Problem::new(format!("applying it panicked: {}", supervise::message(&*panic)))
                    .remedy("report this as a defect"),
            ])
        })
    }

    fn publish(&self, applied: Applied) {
        self.status.applied(&applied.revision, &applied.hash);
        self.applied.send_replace(Some(applied));
    }

    /// The process was asked to stop, so the generation in force did not crash it.
    pub(crate) fn stopped_cleanly(&self) {
        if let Err(error) = self.change(Generations::stopped_cleanly) {
            tracing::warn!("cannot remember that this stop is a clean one: {error}");
        }
    }

    /// A successor that took over has come to nothing: what it wrote is not what is in force.
    pub(crate) fn goes_on(&self) {
        if let Err(error) = self.change(Generations::goes_on) {
            tracing::warn!("cannot remember which configuration is in force: {error}");
        }
    }

    /// A successor owns what is on the disk from now on.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    fn confirm(&self, hash: &str) {
        match self.change(|state| state.confirmed(hash)) {
            Ok(()) => {
                metrics::flag(metrics::CONFIGURATION_CONFIRMED, true);
                tracing::info!(hash, "configuration confirmed");
            }
            Err(error) => {
                tracing::error!("cannot remember that the configuration is confirmed: {error}")
            }
        }
    }

    /// Confirms whatever stays in force for long enough.
    pub(crate) async fn confirm_in_time(self: Arc<Self>) {
        let mut applied = self.subscribe();
        loop {
            let now = applied.borrow_and_update().clone();
            if let Some(now) = now {
                tokio::select! {
                    changed = applied.changed() => if changed.is_err() { return } else { continue },
                    () = tokio::time::sleep(self.confirm_after) => self.confirm(&now.hash),
                }
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes an assignment, or says why not.
    pub(super) async fn take(
        self: &Arc<Self>,
        channel: &ServiceChannel,
        assignment: Assignment,
    ) -> Result<(), Nack> {
        let in_force = self.applied.borrow().clone();
        let decision = self
            .generations()
            .assigned(&assignment.hash, in_force.as_ref().map(|applied| applied.hash.as_str()));
        match decision {
            Assigned::Refuse(reason) => {
                let name = self.identity.name();
                let remedy = format!(
                    "release a revision that differs for this process, or have it tried once more \
                     with `shoal config retry {name}`"
                );
                let problems = vec![Problem::new(reason).remedy(remedy)];
                return Err(Nack { problems, cause: Cause::Crashed });
            }
            Assigned::InForce => {
                if in_force.is_some_and(|applied| applied.revision != assignment.revision) {
                    self.change(|state| state.renamed(&assignment.revision)).map_err(disk)?;
                    self.publish(Applied { revision: assignment.revision, hash: assignment.hash });
                }
                return Ok(());
            }
            Assigned::Take => {}
        }
        if !is_hash(&assignment.hash) || sha256(&assignment.document) != assignment.hash {
            return Err(vec![Problem::new("the document is not what its hash says")].into());
        }
        fetch::complete(&self.store, channel, &assignment.files).await?;
        let this = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || this.put_into_force(assignment)).await;
        taken.unwrap_or_else(|error| {
            Err(vec![Problem::new(format!("applying it failed: {error}"))].into())
        })
    }

    fn put_into_force(&self, assignment: Assignment) -> Result<(), Nack> {
        let Assignment { revision, hash, document, files } = assignment;
        self.store.save_document(&hash, &document).map_err(disk)?;
        self.change(|state| state.begun(&hash)).map_err(disk)?;
        let files: BTreeMap<_, _> =
            files.into_iter().map(|file| (file.path, file.sha256)).collect();
        let rendered = Rendered {
            revision: revision.clone(),
            hash: hash.clone(),
            document: Bytes::from(document),
            files: self.store.files(&files),
        };
        let outcome = self.attempt(rendered);
        let generation = Generation {
            revision: revision.clone(),
            hash: hash.clone(),
            files,
            confirmed: false,
            starts: 0,
        };
        let applied = outcome.is_ok();
        if let Err(error) =
            self.change(|state| if applied { state.applied(generation) } else { state.refused() })
        {
            tracing::error!("cannot remember the configuration that is now in force: {error}");
        }
        if applied {
            metrics::flag(metrics::CONFIGURATION_CONFIRMED, false);
            self.publish(Applied { revision, hash });
        }
        self.store.sweep(&self.generations());
        Ok(outcome?)
    }

    /// Forgets what was rejected, and has the config-service asked for it again; answers what it
    /// was.
    ///
    /// # Errors
    /// The disk fails; then nothing is forgotten.
    pub(crate) fn forget(&self) -> io::Result<Vec<Rejection>> {
        let mut forgotten = Vec::new();
        self.change(|state| {
            forgotten.clone_from(&state.rejected);
            state.forgiven()
        })?;
        if !forgotten.is_empty() {
            tracing::info!(
                rejections = forgotten.len(),
                "what was rejected may be tried again, as an operator says"
            );
            self.forgiven.notify_one();
        }
        Ok(forgotten)
    }

    /// Returns once [`Owner::forget`] asks for a new subscription.
    pub(super) async fn forgiven(&self) {
        self.forgiven.notified().await;
    }

    /// The first message of a subscription: who this is, and what it has.
    pub(super) fn hello(&self) -> SubscribeRequest {
        let rejected = self
            .generations()
            .rejected
            .iter()
            .map(|rejection| (rejection.hash.clone(), rejection.reason.clone()))
            .collect();
        let hello = Hello {
            service: self.identity.service().to_string(),
            name: self.identity.name().to_owned(),
            id: self.identity.id().to_string(),
            variables: self.variables.clone(),
            applied: self
                .applied
                .borrow()
                .clone()
                .map(|applied| AppliedMessage { revision: applied.revision, hash: applied.hash }),
            rejected_hashes: rejected,
        };
        SubscribeRequest { message: Some(Message::Hello(hello)) }
    }
}

/// The owner that a process has as soon as it follows a configuration. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<OnceLock<Weak<Owner>>>);

impl Current {
    /// Sets it; false: there is one already.
    ///
    /// The reference is weak because an owner holds its service's `apply`, which may hold the
    /// process and so this.
    pub(crate) fn set(&self, owner: &Arc<Owner>) -> bool {
        self.0.set(Arc::downgrade(owner)).is_ok()
    }

    /// None: the process follows no configuration.
    pub(crate) fn get(&self) -> Option<Arc<Owner>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

fn disk(error: io::Error) -> Nack {
    let problem = Problem::new(format!("cannot write to the data dir: {error}"))
        .remedy("free some space, and check the disk");
    Nack { problems: vec![problem], cause: Cause::Disk }
}

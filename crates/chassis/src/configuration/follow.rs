//! Boots from disk, subscribes, applies, acknowledges, confirms.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cluster::Service;
use proto::config::{
    Acknowledgement, Applied as AppliedMessage, Assignment, Hello, SubscribeRequest,
    config_service_client::ConfigServiceClient, subscribe_request::Message,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Applied, Problem, Rendered, fetch,
    generation::{Assigned, Generation, Generations, Rejection},
    store::{Store, is_hash, sha256},
};
use crate::{
    connect::{ServiceChannel, explain},
    metrics,
    process::Process,
    retry::Retry,
    supervise,
};

/// How long the first membership may take before its absence is worth a line in the log.
const FIRST_HEARD: Duration = Duration::from_secs(2);
const CALL_WITHIN: Duration = Duration::from_secs(10);

type Apply = Box<dyn FnMut(Rendered) -> Result<(), Vec<Problem>> + Send>;

/// Owns the generations of this process.
pub(crate) struct Keeper {
    store: Store,
    generations: Mutex<Generations>,
    apply: Mutex<Apply>,
    applied: watch::Sender<Option<Applied>>,
    process: Process,
    variables: BTreeMap<String, String>,
    /// The config-service has to hear a new hello: less is rejected than the last one said.
    forgiven: Notify,
}

impl Keeper {
    /// Reads what is on disk and puts into force what is to be.
    ///
    /// # Errors
    /// The disk fails, or what is remembered is unreadable.
    pub(crate) fn boot(
        process: Process,
        variables: BTreeMap<String, String>,
        apply: Apply,
    ) -> io::Result<Arc<Self>> {
        let store = Store::open(process.data_dir().path("configuration"))?;
        let before = store.load()?;
        let generations = before.clone().booted(crate::VERSION);
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
        let keeper = Self {
            store,
            generations: Mutex::new(generations),
            apply: Mutex::new(apply),
            applied: watch::Sender::new(None),
            process,
            variables,
            forgiven: Notify::new(),
        };
        keeper.boot_from_disk()?;
        Ok(Arc::new(keeper))
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
        self.store.save(&next)?;
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
        self.process.applied(&applied.revision, &applied.hash);
        self.applied.send_replace(Some(applied));
    }

    /// The process was asked to stop, so the generation in force did not crash it.
    pub(crate) fn stopped_cleanly(&self) {
        if let Err(error) = self.change(Generations::stopped_cleanly) {
            tracing::warn!("cannot remember that this stop is a clean one: {error}");
        }
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
                    () = tokio::time::sleep(self.process.options().confirm_after) => self.confirm(&now.hash),
                }
            }
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes an assignment, or says why not.
    async fn take(
        self: &Arc<Self>,
        channel: &ServiceChannel,
        assignment: Assignment,
    ) -> Result<(), Vec<Problem>> {
        let in_force = self.applied.borrow().clone();
        let decision = self
            .generations()
            .assigned(&assignment.hash, in_force.as_ref().map(|applied| applied.hash.as_str()));
        match decision {
            Assigned::Refuse(reason) => {
                let name = self.process.name();
                let remedy = format!(
                    "release a revision that differs for this process, or have it tried once more \
                     with `shoal config retry {name}`"
                );
                return Err(vec![Problem::new(reason).remedy(remedy)]);
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
            return Err(vec![Problem::new("the document is not what its hash says")]);
        }
        fetch::complete(&self.store, channel, &assignment.files).await?;
        let this = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || this.put_into_force(assignment)).await;
        taken
            .unwrap_or_else(|error| Err(vec![Problem::new(format!("applying it failed: {error}"))]))
    }

    fn put_into_force(&self, assignment: Assignment) -> Result<(), Vec<Problem>> {
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
        outcome
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

    fn hello(&self) -> SubscribeRequest {
        let rejected = self
            .generations()
            .rejected
            .iter()
            .map(|rejection| (rejection.hash.clone(), rejection.reason.clone()))
            .collect();
        let hello = Hello {
            service: self.process.service().to_string(),
            name: self.process.name().to_owned(),
            id: self.process.id().to_string(),
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

/// Follows the config-service until the process stops.
pub(crate) async fn follow(keeper: Arc<Keeper>, channel: ServiceChannel) {
    let mut retry = Retry::new(Duration::from_millis(200), Duration::from_secs(5));
    let stop = keeper.process.stop();
    let mut membership = keeper.process.membership();
    if membership.borrow().addresses(Service::ConfigService, "grpc").is_empty() {
        // A first start: nothing is wrong yet with a config-service that nobody has told of.
        tokio::select! {
            () = stop.wait() => return,
            () = membership.moved(Service::ConfigService) => {}
            () = tokio::time::sleep(FIRST_HEARD) => {}
        }
    }
    loop {
        let ended = tokio::select! {
            () = stop.wait() => return,
            // What is being applied goes on to its end; the new hello tells what came of it.
            () = keeper.forgiven.notified() => continue,
            ended = once(&keeper, &channel, &mut retry) => ended,
        };
        metrics::flag(metrics::CONFIGURATION_LIVE, false);
        let pause = retry.failed(
            "the config-service is not followed now, the configuration in force stays",
            &ended,
        );
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
            () = membership.moved(Service::ConfigService) => {}
        }
    }
}

/// One subscription, to its end.
async fn once(keeper: &Arc<Keeper>, channel: &ServiceChannel, retry: &mut Retry) -> String {
    let (answers, requests) = mpsc::channel(8);
    let gone = "the config-service ended the stream";
    if answers.send(keeper.hello()).await.is_err() {
        return gone.to_owned();
    }
    let mut client = ConfigServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let mut stream =
        match timeout(CALL_WITHIN, client.subscribe(ReceiverStream::new(requests))).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return explain(&status),
            Err(_) => return "the config-service does not answer".to_owned(),
        };
    metrics::flag(metrics::CONFIGURATION_LIVE, true);
    loop {
        // No deadline here: nothing has to come. HTTP/2 pings find a dead peer.
        let assignment = match stream.message().await {
            Ok(Some(message)) => message.assignment,
            Ok(None) => return gone.to_owned(),
            Err(status) => return explain(&status),
        };
        retry.well();
        let Some(assignment) = assignment else { continue };
        let (revision, hash) = (assignment.revision.clone(), assignment.hash.clone());
        let problems = keeper.take(channel, assignment).await.err().unwrap_or_default();
        report(&revision, &problems);
        let acknowledgement =
            Acknowledgement { revision, hash, problems: problems.iter().map(Into::into).collect() };
        let answer = SubscribeRequest { message: Some(Message::Acknowledgement(acknowledgement)) };
        match timeout(CALL_WITHIN, answers.send(answer)).await {
            Ok(Ok(())) => {}
            _ => return gone.to_owned(),
        }
    }
}

fn report(revision: &str, problems: &[Problem]) {
    let result = if problems.is_empty() { "applied" } else { "rejected" };
    ::metrics::counter!(metrics::CONFIGURATIONS, "result" => result).increment(1);
    match problems.first() {
        None => tracing::info!(revision, "configuration applied"),
        Some(first) => {
            tracing::error!(
                revision,
                problems = problems.len(),
                "configuration rejected, the one in force stays: {}",
                first.message
            );
        }
    }
}

fn disk(error: io::Error) -> Vec<Problem> {
    vec![
        Problem::new(format!("cannot write to the data dir: {error}"))
            .remedy("free some space, and check the disk"),
    ]
}

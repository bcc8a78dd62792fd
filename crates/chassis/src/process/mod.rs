//! The running process, as its service sees it: one cheap handle to everything the chassis does for
//! it.
//!
//! Here: who it is, its tasks, its stop, what it says of itself. Its ports are in `ports`, its
//! dealings with others in `cluster`.

mod cluster;
mod ports;

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use ::cluster::{InstanceId, Service};
use metrics_exporter_prometheus::PrometheusHandle;
use proto::registry::AdminState;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

pub(crate) use ports::ADMIN_REMEDY;

use crate::{
    Failure,
    audit::Journal,
    clock::Clock,
    cluster_key::ClusterKey,
    complaints::Complaints,
    configuration::follow::Keeper,
    connect::Transport,
    data_dir::DataDir,
    drain::{self, StopSignal},
    inherited::Inherited,
    membership::Watch,
    options::Options,
    supervise,
    telemetry::SpanSink,
    vitals,
};

/// What the process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Up, and may serve.
    pub ready: bool,
    /// Up without a configuration: there was none on disk, and the first is waited for.
    pub unconfigured: bool,
    /// Revision in force; empty before the first.
    pub applied_revision: String,
    /// Its rendered document's hash.
    pub applied_hash: String,
    /// Where it listens, by purpose.
    pub endpoints: BTreeMap<String, SocketAddr>,
}

impl Status {
    /// What the content of a generation that was applied as `revision` is called now: a later
    /// revision that changes nothing for this process gives it another name, and nothing else.
    #[must_use]
    pub fn called_now(&self, revision: &str) -> String {
        if self.applied_revision.is_empty() {
            revision.to_owned()
        } else {
            self.applied_revision.clone()
        }
    }
}

/// What operators want of this process, as the registry last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Unspecified until the registry was heard.
    pub admin_state: AdminState,
    /// Weight after what operators set.
    pub weight: u32,
}

/// The running process. Cheap to clone; works from every runtime and thread.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

/// What a process is made of before it runs.
pub(crate) struct Parts {
    pub(crate) service: Service,
    pub(crate) name: String,
    pub(crate) id: InstanceId,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) data_dir: DataDir,
    pub(crate) cluster_key: Option<ClusterKey>,
    pub(crate) transport: Transport,
    pub(crate) audit: Journal,
    pub(crate) complaints: Complaints,
    pub(crate) inherited: Inherited,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) runtime: Handle,
    pub(crate) spans: Option<SpanSink>,
}

struct Inner {
    parts: Parts,
    stop: StopSignal,
    closing: StopSignal,
    servers_closing: StopSignal,
    stop_reason: Mutex<Option<Failure>>,
    status: watch::Sender<Status>,
    wanted: watch::Sender<Wanted>,
    cluster_id: Mutex<String>,
    local_address: Mutex<Option<IpAddr>>,
    registered: OnceLock<()>,
    was_ready: OnceLock<()>,
    deregistered: StopSignal,
    membership: OnceLock<Watch>,
    /// Weak, because a keeper holds its process.
    keeper: OnceLock<Weak<Keeper>>,
    servers: Mutex<Vec<JoinHandle<()>>>,
    /// Write what the recorder does not have to `/metrics`.
    writers: Mutex<Vec<Arc<MetricsWriter>>>,
}

/// Appends metrics in the exposition format.
type MetricsWriter = dyn Fn(&mut String) + Send + Sync;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            stop: StopSignal::default(),
            closing: StopSignal::default(),
            servers_closing: StopSignal::default(),
            stop_reason: Mutex::default(),
            status: watch::Sender::new(Status::default()),
            wanted: watch::Sender::new(Wanted { admin_state: AdminState::Unspecified, weight: 0 }),
            cluster_id: Mutex::default(),
            local_address: Mutex::default(),
            registered: OnceLock::new(),
            was_ready: OnceLock::new(),
            deregistered: StopSignal::default(),
            membership: OnceLock::new(),
            keeper: OnceLock::new(),
            servers: Mutex::default(),
            writers: Mutex::default(),
        }))
    }

    // Who it is.

    /// The service.
    #[must_use]
    pub fn service(&self) -> Service {
        self.0.parts.service
    }

    /// Stable and unique in the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.parts.name
    }

    /// UUID v7, new at every start.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.0.parts.id
    }

    /// The options as given.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.0.parts.options
    }

    /// Where it keeps its state.
    #[must_use]
    pub fn data_dir(&self) -> &DataDir {
        &self.0.parts.data_dir
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.parts.clock.clone()
    }

    /// The key that balancers and nodes share.
    ///
    /// # Errors
    /// None was given.
    pub fn cluster_key(&self) -> Result<ClusterKey, Failure> {
        self.0.parts.cluster_key.clone().ok_or_else(|| {
            Failure::new("no cluster key: --cluster-key not given")
                .remedy("pass the cluster.key that `shoal pki init` made")
                .exit_code(2)
        })
    }

    /// The cluster's id; empty until the registry was heard once (on any start). A restore changes
    /// it back under a registration that goes on: what is heard now counts more than what was heard
    /// then.
    #[must_use]
    pub fn cluster_id(&self) -> String {
        let (membership, heard) = (self.membership().borrow(), lock(&self.0.cluster_id).clone());
        if heard.is_empty() || (membership.live && !membership.cluster_id.is_empty()) {
            membership.cluster_id.clone()
        } else {
            heard
        }
    }

    pub(crate) fn set_cluster_id(&self, id: &str) {
        id.clone_into(&mut lock(&self.0.cluster_id));
    }

    /// Appends audit records of what the process does of itself.
    #[must_use]
    pub fn audit(&self) -> &Journal {
        &self.0.parts.audit
    }

    /// The errors that it has logged lately.
    pub(crate) fn complaints(&self) -> Complaints {
        self.0.parts.complaints.clone()
    }

    /// Listening sockets that a service manager passed to this process.
    #[must_use]
    pub fn inherited(&self) -> &Inherited {
        &self.0.parts.inherited
    }

    /// Renders `/metrics`.
    #[must_use]
    pub fn metrics(&self) -> &PrometheusHandle {
        &self.0.parts.metrics
    }

    /// Where spans of requests go; none: nothing is traced.
    #[must_use]
    pub fn spans(&self) -> Option<SpanSink> {
        self.0.parts.spans.clone()
    }

    /// Has `/metrics` end with what `write` appends: whole metrics, with their help. For what is
    /// counted without the recorder, so that counting costs less and nothing is copied while nobody
    /// asks.
    pub fn add_metrics(&self, write: impl Fn(&mut String) + Send + Sync + 'static) {
        lock(&self.0.writers).push(Arc::new(write));
    }

    /// All that `/metrics` says.
    pub(crate) fn render_metrics(&self) -> String {
        let writers = lock(&self.0.writers).clone();
        let mut text = self.metrics().render();
        writers.iter().for_each(|write| write(&mut text));
        text + &vitals::render(self)
    }

    /// The control runtime: gRPC, admin HTTP, registration; never the data path.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.0.parts.runtime
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.parts.transport
    }

    // Tasks and stopping.

    /// Runs a supervised task on the control runtime: a panic is counted, logged and followed by
    /// another run; it is over when the future ends.
    pub fn spawn<F, T>(&self, name: &'static str, factory: F)
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        drop(self.runtime().spawn(supervise::run(name, self.closing(), factory)));
    }

    /// Raised when the drain begins: answer with `Connection: close`, go on accepting.
    #[must_use]
    pub fn stop(&self) -> StopSignal {
        self.0.stop.clone()
    }

    /// Raised one propagation period later: stop accepting, finish what is under way.
    #[must_use]
    pub fn closing(&self) -> StopSignal {
        self.0.closing.clone()
    }

    /// Asks the process to drain and then to end with this failure.
    pub fn request_stop(&self, reason: Failure) {
        lock(&self.0.stop_reason).get_or_insert(reason);
        self.0.stop.raise();
    }

    pub(crate) fn stop_reason(&self) -> Option<Failure> {
        lock(&self.0.stop_reason).clone()
    }

    /// Waits until the process is asked to stop, then drains it: not ready, deregistered, one
    /// propagation period, `closing` (the service's own closing step, bounded by
    /// `--drain-timeout`), servers closed.
    ///
    /// # Errors
    /// The reason, when the process stops because something is wrong with it.
    pub async fn drain(&self, closing: impl Future<Output = ()>) -> Result<(), Failure> {
        drain::drain(self, closing).await
    }

    pub(crate) async fn deregistered(&self) {
        if let Some(keeper) = self.keeper() {
            keeper.stopped_cleanly();
        }
        if self.0.registered.get().is_some() {
            self.0.deregistered.wait().await;
        }
    }

    pub(crate) fn mark_deregistered(&self) {
        self.0.deregistered.raise();
    }

    pub(crate) fn servers_closing(&self) -> StopSignal {
        self.0.servers_closing.clone()
    }

    pub(crate) fn server(&self, server: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0.servers).push(self.runtime().spawn(server));
    }

    pub(crate) async fn close_servers(&self, within: Duration) {
        self.0.servers_closing.raise();
        let servers = std::mem::take(&mut *lock(&self.0.servers));
        if tokio::time::timeout(within, futures::future::join_all(servers)).await.is_err() {
            tracing::debug!("some gRPC or admin connections are cut");
        }
    }

    // What it says of itself.

    /// Up (or not) and may serve: `/readyz`, the gRPC health service and the registry say so at
    /// once.
    pub fn set_ready(&self, ready: bool) {
        if ready && self.0.was_ready.set(()).is_ok() {
            for idle in self.inherited().idle() {
                tracing::warn!(
                    "nothing listens on the inherited socket {idle}: whoever connects to it waits \
                     in vain; remove it from the .socket unit"
                );
            }
        }
        self.update(|status| std::mem::replace(&mut status.ready, ready) != ready);
    }

    /// As last set; never while draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.status.borrow().ready
    }

    /// It came to something: ready once, or on its way into the registry.
    pub(crate) fn was_up(&self) -> bool {
        self.0.was_ready.get().is_some() || self.0.registered.get().is_some()
    }

    /// What configuration is in force. [`Process::configuration`] says it by itself.
    pub fn applied(&self, revision: &str, hash: &str) {
        self.update(|status| {
            let changed = status.applied_revision != revision || status.applied_hash != hash;
            revision.clone_into(&mut status.applied_revision);
            hash.clone_into(&mut status.applied_hash);
            changed
        });
    }

    pub(crate) fn waits_for_configuration(&self) {
        self.update(|status| !std::mem::replace(&mut status.unconfigured, true));
    }

    fn update(&self, change: impl FnOnce(&mut Status) -> bool) {
        self.0.status.send_if_modified(change);
    }

    /// Follows what the process says of itself.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// Follows what operators want of this process.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.0.wanted.subscribe()
    }

    pub(crate) fn set_admin_state(&self, admin_state: AdminState, weight: u32) {
        let wanted = Wanted { admin_state, weight };
        self.0.wanted.send_if_modified(|current| std::mem::replace(current, wanted) != wanted);
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Process")
            .field("service", &self.service())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

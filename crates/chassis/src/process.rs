//! The running process, as its service sees it: the parts of which each module takes what it needs,
//! and what is put together of several.

use std::{
    collections::BTreeMap,
    future::Future,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::Router;
use cluster::Service;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{runtime::Handle, task::JoinHandle};
use tonic::service::Routes;

use crate::{
    accept::{self, Operators},
    admin::{self, Pages},
    audit::Journal,
    authorize::Policy,
    clock::Clock,
    cluster_key::ClusterKey,
    complaints::Complaints,
    configuration::{
        self, Follower, Problem, Rendered, follow,
        owner::{self, Current, Owner},
    },
    connect::Transport,
    data_dir::DataDir,
    drain,
    error::{Error, ErrorContext},
    exposition::Exposition,
    grpc,
    identity::ProcessIdentity,
    inherited::Inherited,
    lifecycle::Lifecycle,
    network::{self, Network},
    options::Options,
    ports::{ADMIN_REMEDY, Ports},
    registration::{self, Registration},
    status::{DesiredHandle, StatusHandle},
    succession,
    supervise::Supervisor,
    takeover::{Estate, Heir, Predecessor},
    telemetry::SpanSink,
};

/// The running process. Cheap to clone, as each of its parts is; they work from every runtime and
/// thread. A module takes the parts that it needs, not the process.
#[derive(Clone)]
pub struct Process {
    /// Service, name and id.
    pub identity: ProcessIdentity,
    /// The options as given.
    pub options: Arc<Options>,
    /// The time.
    pub clock: Clock,
    /// Where it keeps its state.
    pub data_dir: DataDir,
    /// The signals of its end.
    pub lifecycle: Lifecycle,
    /// Starts supervised tasks on the control runtime: gRPC, admin HTTP, registration; never the
    /// data path.
    pub tasks: Supervisor,
    /// What it says of itself.
    pub status: StatusHandle,
    /// What operators want of it.
    pub desired: DesiredHandle,
    /// Its listening sockets.
    pub ports: Ports,
    /// Its way to other processes.
    pub network: Network,
    /// Appends audit records of what the process does of itself.
    pub audit: Journal,
    /// What `/metrics` says.
    pub exposition: Exposition,
    /// Where spans of requests go; none: nothing is traced.
    pub spans: Option<SpanSink>,
    complaints: Complaints,
    cluster_key: Option<ClusterKey>,
    configuration: Current,
    predecessor: Option<Predecessor>,
    heir: Heir,
    estate: Arc<OnceLock<Arc<dyn Estate>>>,
}

/// What a process is made of before it runs.
pub(crate) struct Parts {
    pub(crate) identity: ProcessIdentity,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) data_dir: DataDir,
    pub(crate) cluster_key: Option<ClusterKey>,
    pub(crate) transport: Transport,
    pub(crate) audit: Journal,
    pub(crate) complaints: Complaints,
    pub(crate) inherited: Inherited,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) recorder: PrometheusHandle,
    pub(crate) runtime: Handle,
    pub(crate) spans: Option<SpanSink>,
}

impl Process {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { identity, options, clock, data_dir, .. } = parts;
        let (lifecycle, status) = (Lifecycle::default(), StatusHandle::default());
        let tasks = Supervisor::new(parts.runtime, lifecycle.closing());
        let network = Network::new(network::Parts {
            transport: parts.transport,
            seeds: options.registry_seeds(),
            first_registry: identity.service() == Service::Registry && options.registry.is_empty(),
            memory: data_dir.path("membership.json"),
            status: status.clone(),
            tasks: tasks.clone(),
            lifecycle: lifecycle.clone(),
        });
        let inherited = match &parts.predecessor {
            Some(predecessor) => parts.inherited.resumed(predecessor),
            None => parts.inherited,
        };
        Self {
            exposition: Exposition::new(parts.recorder, data_dir.root(), clock.clone()),
            ports: Ports::new(inherited, parts.predecessor.clone(), status.clone()),
            predecessor: parts.predecessor,
            heir: Heir::default(),
            estate: Arc::default(),
            desired: DesiredHandle::default(),
            audit: parts.audit,
            spans: parts.spans,
            complaints: parts.complaints,
            cluster_key: parts.cluster_key,
            configuration: Current::default(),
            options: Arc::new(options),
            identity,
            clock,
            data_dir,
            lifecycle,
            tasks,
            status,
            network,
        }
    }

    /// The key that balancers and nodes share.
    ///
    /// # Errors
    /// None was given.
    pub fn cluster_key(&self) -> Result<ClusterKey, Error> {
        self.cluster_key.clone().ok_or_else(|| {
            Error::new("no cluster key: --cluster-key not given")
                .remedy("pass the cluster.key that `shoal pki init` made")
                .exit_code(2)
        })
    }

    /// Serves gRPC: mutual TLS, `policy` for every rpc, audit records, health, reflection. Answers
    /// the real address.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn serve_grpc(&self, routes: Routes, policy: &'static Policy) -> Result<SocketAddr, Error> {
        let asked = self.options.grpc_address(self.identity.service());
        let listener = self.ports.bind("grpc", asked)?;
        let address =
            listener.local_addr().context("read the gRPC port's address", ADMIN_REMEDY)?;
        let common = grpc::Common {
            policy,
            transport: self.network.transport().clone(),
            audit: self.audit.clone(),
            status: self.status.clone(),
            complaints: self.complaints.clone(),
            follower: configuration::serve::Api {
                identity: self.identity.clone(),
                owner: self.configuration.clone(),
            },
        };
        self.ports.keep("grpc", &listener);
        let (runtime, closing) = (self.tasks.runtime().clone(), self.lifecycle.servers_closing());
        self.begin(move || grpc::serve(listener, routes, common, &runtime, closing))?;
        Ok(address)
    }

    /// Serves admin HTTP: `/livez`, `/readyz`, `/metrics`, `/version` and `extra`. Answers the real
    /// address.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn serve_admin(&self, extra: Router) -> Result<SocketAddr, Error> {
        let asked = self.options.admin_address(self.identity.service());
        let listener = self.ports.bind("admin", asked)?;
        let address =
            listener.local_addr().context("read the admin port's address", ADMIN_REMEDY)?;
        let pages = Pages {
            identity: self.identity.clone(),
            status: self.status.clone(),
            stop: self.lifecycle.stop(),
            exposition: self.exposition.clone(),
        };
        self.ports.keep("admin", &listener);
        let (runtime, closing) = (self.tasks.runtime().clone(), self.lifecycle.servers_closing());
        self.begin(move || admin::serve(listener, pages, extra, &runtime, closing))?;
        Ok(address)
    }

    /// Begins to serve, once nobody else does with the same socket.
    fn begin(
        &self,
        serve: impl FnOnce() -> Result<JoinHandle<()>, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let server = match self.predecessor.clone() {
            None => serve()?,
            Some(predecessor) => self.tasks.runtime().spawn(async move {
                predecessor.confirmed().await;
                match serve() {
                    // It ends with its own closing signal.
                    Ok(server) => drop(server.await),
                    Err(error) => tracing::error!("{error}"),
                }
            }),
        };
        self.lifecycle.add_server(server);
        Ok(())
    }

    /// The process from which this one takes over: to be
    /// [confirmed](Predecessor::confirm) before anything is accepted.
    #[must_use]
    pub const fn predecessor(&self) -> Option<&Predecessor> {
        self.predecessor.as_ref()
    }

    /// Lets a successor take over (`--take-over`). To be called once, when the process serves.
    pub fn offer(&self, estate: Arc<dyn Estate>) {
        if self.estate.set(Arc::clone(&estate)).is_err() {
            return;
        }
        let process = succession::Process {
            ports: self.ports.clone(),
            data_dir: self.data_dir.clone(),
            exposition: self.exposition.clone(),
            lifecycle: self.lifecycle.clone(),
            configuration: self.configuration.clone(),
        };
        let authorities = match self.network.transport() {
            Transport::Mutual(credentials) => credentials.current().authorities.clone(),
            Transport::Plaintext => Vec::new(),
        };
        let offer = succession::offer(
            &self.identity,
            &authorities,
            (estate, Arc::new(process)),
            (self.heir.clone(), self.data_dir.root()),
        );
        succession::serve(Arc::new(offer), &self.tasks, self.lifecycle.closing());
        succession::start_successors(&self.tasks, self.lifecycle.stop());
    }

    /// Accepts connections that only operators' certificates open, for `endpoint`.
    ///
    /// # Errors
    /// The port cannot be bound.
    pub fn accept_operators(
        &self,
        endpoint: &'static str,
        address: SocketAddr,
    ) -> Result<Operators, Error> {
        let listener = self.ports.bind(endpoint, address)?;
        self.ports.keep(endpoint, &listener);
        let address = listener.local_addr().context("read that port's address", ADMIN_REMEDY)?;
        let _runtime = self.tasks.runtime().enter();
        let listener =
            tokio::net::TcpListener::from_std(listener).context("listen there", ADMIN_REMEDY)?;
        let transport = self.network.transport().clone();
        let closing = self.lifecycle.servers_closing();
        Ok(Operators::new(address, accept::accept(endpoint, listener, transport, closing)))
    }

    /// Registers now and keeps the lease alive until the drain. Call it once every endpoint is
    /// bound; a later endpoint registers again.
    pub fn register(&self) {
        if self.lifecycle.begin_registration() {
            let registration = Registration {
                identity: self.identity.clone(),
                options: Arc::clone(&self.options),
                status: self.status.clone(),
                desired: self.desired.clone(),
                lifecycle: self.lifecycle.clone(),
                network: self.network.clone(),
            };
            self.tasks.spawn("registration", move || registration::keep(registration.clone()));
        }
    }

    /// Up (or not) and may serve: `/readyz`, the gRPC health service and the registry say so at
    /// once.
    pub fn set_ready(&self, ready: bool) {
        if self.status.set_ready(ready) {
            self.ports.warn_of_idle_sockets();
        }
    }

    /// It came to something: ready once, or on its way into the registry.
    pub(crate) fn was_up(&self) -> bool {
        self.status.was_ready() || self.lifecycle.has_registered()
    }

    /// Boots the right generation from disk (calling `apply` before this returns, when there is
    /// one), then follows the config-service: assignments are completed, verified, given to `apply`
    /// on a blocking thread, remembered and acknowledged. An error or a panic of `apply` is
    /// reported, and what was in force stays: `apply` has to leave it untouched.
    ///
    /// `variables` are what `${node.*}` stands for; `name`, `address`, `datacenter`, `zone`,
    /// `service` and `tags` (with commas) are added unless given.
    ///
    /// # Errors
    /// The data dir cannot be read or written.
    pub fn configuration(
        &self,
        variables: BTreeMap<String, String>,
        apply: impl FnMut(Rendered) -> Result<(), Vec<Problem>> + Send + 'static,
    ) -> Result<Follower, Error> {
        let mut all = self.standard_variables();
        all.extend(variables);
        let parts = owner::Parts {
            identity: self.identity.clone(),
            status: self.status.clone(),
            data_dir: self.data_dir.clone(),
            confirm_after: self.options.confirm_after,
        };
        let owner = Owner::boot(parts, all, Box::new(apply)).context(
            "read the configuration in the data dir",
            "restore it from a backup, or remove its configuration/ to fetch it anew",
        )?;
        let follower = Follower::new(owner.subscribe(), self.lifecycle.stop());
        if follower.applied().is_none() {
            self.status.waits_for_configuration();
        }
        if !self.configuration.set(&owner) {
            return Err(Error::new("the configuration is followed twice")
                .remedy("this is a defect: please report it"));
        }
        let confirming = Arc::clone(&owner);
        self.tasks.spawn("confirmation", move || Arc::clone(&confirming).confirm_in_time());
        let channel = self.network.channel(Service::ConfigService);
        let (membership, stop) = (self.network.membership(), self.lifecycle.stop());
        let predecessor = self.predecessor.clone();
        self.tasks.spawn("configuration", move || {
            let followed = follow::follow(
                Arc::clone(&owner),
                channel.clone(),
                membership.clone(),
                stop.clone(),
            );
            let predecessor = predecessor.clone();
            async move {
                // Until then it is another process that has the configuration of this name.
                if let Some(predecessor) = predecessor {
                    predecessor.confirmed().await;
                }
                followed.await;
            }
        });
        Ok(follower)
    }

    fn standard_variables(&self) -> BTreeMap<String, String> {
        let options = &self.options;
        let address = options
            .advertise
            .clone()
            .or_else(|| self.network.address().map(|address| address.to_string()));
        [
            ("name", self.identity.name().to_owned()),
            ("address", address.unwrap_or_else(|| "127.0.0.1".to_owned())),
            ("datacenter", options.datacenter.clone()),
            ("zone", options.zone.clone()),
            ("service", self.identity.service().to_string()),
            ("tags", options.tags.join(",")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// Waits until the process is asked to stop, then drains it: not ready, deregistered, one
    /// propagation period, `closing` (the service's own closing step, bounded by
    /// `--drain-timeout`), servers closed.
    ///
    /// # Errors
    /// The reason, when the process stops because something is wrong with it.
    pub async fn drain(&self, closing: impl Future<Output = ()>) -> Result<(), Error> {
        self.lifecycle.stop().wait().await;
        let owner = self.configuration.get();
        let closing = async {
            closing.await;
            if let Some(estate) = self.estate.get() {
                let (heir, totals) = (self.heir.clone(), estate.totals());
                // A successor that is gone hears nothing.
                drop(tokio::task::spawn_blocking(move || heir.tell(totals)).await);
            }
            self.ports.release();
        };
        drain::drain(&self.lifecycle, &self.status, &self.options, owner, closing).await
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Process").field("identity", &self.identity).finish_non_exhaustive()
    }
}

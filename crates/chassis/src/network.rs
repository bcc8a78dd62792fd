//! The process's way to others: who is there, and channels to them.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use cluster::Service;

use crate::{
    connect::{Candidates, Connector, Expected, ServiceChannel, Transport},
    lifecycle::Lifecycle,
    membership::Watch,
    status::StatusHandle,
    supervise::Supervisor,
    watch,
};

/// Finds other processes and opens channels to them. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    parts: Parts,
    membership: OnceLock<Watch>,
    cluster_id: Mutex<String>,
    local_address: Mutex<Option<IpAddr>>,
}

/// What the network is made of.
pub(crate) struct Parts {
    pub(crate) transport: Transport,
    /// Where registries may be found.
    pub(crate) seeds: Vec<String>,
    /// This process is a registry that was given no other: it is its own seed.
    pub(crate) first_registry: bool,
    /// Where the membership is remembered.
    pub(crate) memory: PathBuf,
    pub(crate) status: StatusHandle,
    pub(crate) tasks: Supervisor,
    pub(crate) lifecycle: Lifecycle,
}

impl Network {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Shared {
            parts,
            membership: OnceLock::new(),
            cluster_id: Mutex::default(),
            local_address: Mutex::default(),
        }))
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.parts.transport
    }

    /// Follows who is there: all instances of all services, from disk at once, then live. One watch
    /// a process; every call answers the same.
    #[must_use]
    pub fn membership(&self) -> Watch {
        self.0.membership.get_or_init(|| self.follow()).clone()
    }

    fn follow(&self) -> Watch {
        let Parts { memory, tasks, lifecycle, .. } = &self.0.parts;
        let (sender, watch) = watch::load(memory);
        let (network, closing) = (self.clone(), lifecycle.closing());
        tasks.spawn("membership", move || {
            let channel = network.registry_connector().channel();
            watch::follow(channel, sender.clone(), closing.clone())
        });
        let (path, remembered, closing) =
            (memory.clone(), watch.clone(), lifecycle.servers_closing());
        tasks.spawn("membership-memory", move || {
            watch::remember(path.clone(), remembered.clone(), closing.clone())
        });
        watch
    }

    /// A channel to any live instance of a service: found by the membership, reconnecting, mutual
    /// TLS, role checked.
    #[must_use]
    pub fn channel(&self, service: Service) -> ServiceChannel {
        if service != Service::Registry {
            drop(self.membership());
        }
        let _runtime = self.0.parts.tasks.runtime().enter();
        self.connector(Expected { service, name: None }).channel()
    }

    /// A channel to one instance, wherever it is at the moment of each connection.
    #[must_use]
    pub fn channel_to(&self, service: Service, name: &str) -> ServiceChannel {
        drop(self.membership());
        let _runtime = self.0.parts.tasks.runtime().enter();
        self.connector(Expected { service, name: Some(name.to_owned()) }).channel()
    }

    pub(crate) fn registry_connector(&self) -> Connector {
        self.connector(Expected { service: Service::Registry, name: None })
    }

    fn connector(&self, expected: Expected) -> Connector {
        let (network, wanted) = (self.clone(), expected.clone());
        Connector::new(self.transport().clone(), expected, move || network.candidates(&wanted))
    }

    /// Where to find somebody: what the membership says, and for the registry the seeds, this
    /// process's own port when it is one.
    fn candidates(&self, expected: &Expected) -> Candidates {
        // Not through `membership()`: that one begins to follow, which needs this.
        let membership = self.0.membership.get().map(Watch::borrow).unwrap_or_default();
        let mut found = Candidates::among(&membership, expected);
        if expected.service == Service::Registry && expected.name.is_none() {
            found.prefer(
                self.own_address().map_or_else(|| self.0.parts.seeds.clone(), |own| vec![own]),
            );
        }
        found
    }

    fn own_address(&self) -> Option<String> {
        let parts = &self.0.parts;
        let own = parts.first_registry.then(|| parts.status.endpoints().get("grpc").copied());
        own.flatten().map(|address| reachable(address).to_string())
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

    /// The local address of connections to the registry: the real one once there was one, else the
    /// one that the routing table gives.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let known = *lock(&self.0.local_address);
        known.or_else(|| {
            let parts = &self.0.parts;
            // An address for documentation (RFC 5737), routed like any other, stands for the others
            // when this is the registry itself.
            let elsewhere = ["192.0.2.1:7001".to_owned()];
            let seeds = if parts.first_registry { &elsewhere[..] } else { &parts.seeds };
            let registry = seeds.iter().find_map(|seed| seed.to_socket_addrs().ok()?.next())?;
            let any: SocketAddr =
                if registry.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            // Connecting a datagram socket asks the routing table and sends nothing.
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(registry).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        })
    }

    pub(crate) fn set_local_address(&self, address: Option<IpAddr>) {
        *lock(&self.0.local_address) = address;
    }

    /// Whether this process is a registry that was given no other.
    pub(crate) fn is_first_registry(&self) -> bool {
        self.0.parts.first_registry
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Network")
            .field("transport", self.transport())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How to reach, from this machine, what listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

//! The process among others: registration, membership, channels, configuration.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::{Arc, Weak},
};

use ::cluster::Service;

use super::{Process, lock};
use crate::{
    Failure,
    configuration::{
        Follower, Problem, Rendered,
        follow::{self, Keeper},
    },
    connect::{Candidates, Connector, Expected, ServiceChannel},
    failure::Fail,
    membership::{self, Watch},
    registration,
};

impl Process {
    /// Registers now and keeps the lease alive until the drain. Call it once every endpoint is
    /// bound; a later endpoint registers again.
    pub fn register(&self) {
        if self.0.registered.set(()).is_ok() {
            let process = self.clone();
            self.spawn("registration", move || registration::keep(process.clone()));
        }
    }

    pub(crate) fn registry_connector(&self) -> Connector {
        self.connector(Expected { service: Service::Registry, name: None })
    }

    fn connector(&self, expected: Expected) -> Connector {
        let (process, wanted) = (self.clone(), expected.clone());
        Connector::new(self.transport().clone(), expected, move || process.candidates(&wanted))
    }

    /// Where to find somebody: what the membership says, and for the registry the seeds, this
    /// process's own port when it is one.
    fn candidates(&self, expected: &Expected) -> Candidates {
        // Not through `membership()`: that one begins to follow, which needs this.
        let membership = self.0.membership.get().map(Watch::borrow).unwrap_or_default();
        let mut found = Candidates::among(&membership, expected);
        if expected.service == Service::Registry && expected.name.is_none() {
            let own = self
                .is_first_registry()
                .then(|| self.0.status.borrow().endpoints.get("grpc").copied())
                .flatten()
                .map(|address| reachable(address).to_string());
            let seeds = own.map_or_else(|| self.options().registry_seeds(), |own| vec![own]);
            found.prefer(seeds);
        }
        found
    }

    /// Follows who is there: all instances of all services, from disk at once, then live. One watch
    /// a process; every call answers the same.
    #[must_use]
    pub fn membership(&self) -> Watch {
        let path = self.data_dir().path("membership.json");
        let watch = self.0.membership.get_or_init(|| {
            let (sender, watch) = membership::follow::load(&path);
            let (process, sender) = (self.clone(), sender);
            self.spawn("membership", move || {
                let channel = process.registry_connector().channel();
                membership::follow::follow(channel, sender.clone(), process.closing())
            });
            let (process, remembered) = (self.clone(), watch.clone());
            self.spawn("membership-memory", move || {
                membership::follow::remember(
                    path.clone(),
                    remembered.clone(),
                    process.servers_closing(),
                )
            });
            watch
        });
        watch.clone()
    }

    /// A channel to any live instance of a service: found by the membership, reconnecting, mutual
    /// TLS, role checked.
    #[must_use]
    pub fn channel(&self, service: Service) -> ServiceChannel {
        if service != Service::Registry {
            drop(self.membership());
        }
        let _runtime = self.runtime().enter();
        self.connector(Expected { service, name: None }).channel()
    }

    /// A channel to one instance, wherever it is at the moment of each connection.
    #[must_use]
    pub fn channel_to(&self, service: Service, name: &str) -> ServiceChannel {
        drop(self.membership());
        let _runtime = self.runtime().enter();
        self.connector(Expected { service, name: Some(name.to_owned()) }).channel()
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
    ) -> Result<Follower, Failure> {
        let mut all = self.standard_variables();
        all.extend(variables);
        let keeper = Keeper::boot(self.clone(), all, Box::new(apply)).fail(
            "read the configuration in the data dir",
            "restore it from a backup, or remove its configuration/ to fetch it anew",
        )?;
        let follower = Follower::new(keeper.subscribe(), self.stop());
        if follower.applied().is_none() {
            self.waits_for_configuration();
        }
        if self.0.keeper.set(Arc::downgrade(&keeper)).is_err() {
            return Err(Failure::new("the configuration is followed twice")
                .remedy("this is a defect: please report it"));
        }
        let (confirming, channel) = (Arc::clone(&keeper), self.channel(Service::ConfigService));
        self.spawn("confirmation", move || Arc::clone(&confirming).confirm_in_time());
        self.spawn("configuration", move || follow::follow(Arc::clone(&keeper), channel.clone()));
        Ok(follower)
    }

    /// What keeps this process's configuration, if it follows any.
    pub(crate) fn keeper(&self) -> Option<Arc<Keeper>> {
        self.0.keeper.get().and_then(Weak::upgrade)
    }

    fn standard_variables(&self) -> BTreeMap<String, String> {
        let options = self.options();
        let address =
            options.advertise.clone().or_else(|| self.address().map(|address| address.to_string()));
        [
            ("name", self.name().to_owned()),
            ("address", address.unwrap_or_else(|| "127.0.0.1".to_owned())),
            ("datacenter", options.datacenter.clone()),
            ("zone", options.zone.clone()),
            ("service", self.service().to_string()),
            ("tags", options.tags.join(",")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// The local address of connections to the registry: the real one once there was one, else the
    /// one that the routing table gives.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let known = *lock(&self.0.local_address);
        known.or_else(|| {
            // An address for documentation (RFC 5737), routed like any other, stands for the others
            // when this is the registry itself.
            let seeds = if self.is_first_registry() {
                vec!["192.0.2.1:7001".to_owned()]
            } else {
                self.options().registry_seeds()
            };
            let registry = seeds.iter().find_map(|seed| seed.to_socket_addrs().ok()?.next())?;
            let any: SocketAddr =
                if registry.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
            // Connecting a datagram socket asks the routing table and sends nothing.
            let socket = UdpSocket::bind(any).ok()?;
            socket.connect(registry).ok()?;
            socket.local_addr().ok().map(|address| address.ip())
        })
    }

    /// A registry that was given no other: it is its own seed.
    pub(crate) fn is_first_registry(&self) -> bool {
        self.service() == Service::Registry && self.options().registry.is_empty()
    }

    pub(crate) fn set_local_address(&self, address: Option<IpAddr>) {
        *lock(&self.0.local_address) = address;
    }
}

/// How to reach, from this machine, what listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
    }
}

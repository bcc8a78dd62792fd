//! Who is there: a fold of the registry's events, remembered on disk, so that the data plane goes
//! on with the registry dead.
//!
//! [`Membership`] is the state and [`Membership::apply`] the fold (pure); `watch.rs` is the
//! shell that watches, publishes and remembers.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use cluster::{InstanceStatus, PoolGuard, Service, State};
use proto::registry as pb;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::probe;

/// Name of the endpoint at which a health-checker's built-in target listens: the one endpoint that
/// is reached through proxies, by probes alone.
pub const PROBE_TARGET: &str = "target";

/// All instances at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Empty until the registry was heard once.
    pub cluster_id: String,
    /// Changes when the registry was restored from a backup.
    pub epoch: u64,
    /// By name.
    pub instances: BTreeMap<String, InstanceStatus>,
    /// One for each service whose pool the registry guards.
    pub guards: Vec<PoolGuard>,
    /// Continues the watch without a snapshot.
    pub resume_token: String,
    /// Whether it is followed now; false: the last one known.
    #[serde(skip)]
    pub live: bool,
}

/// One message of the registry, in the domain's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// Where to continue after it.
    pub resume_token: String,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything at once.
    Snapshot {
        /// All of them.
        instances: Vec<InstanceStatus>,
        /// All of them.
        guards: Vec<PoolGuard>,
        /// Whose.
        cluster_id: String,
        /// Of which epoch.
        epoch: u64,
    },
    /// Only what changed; nothing at all is a sign of life.
    Delta {
        /// New or changed.
        upserted: Vec<InstanceStatus>,
        /// Names.
        removed: Vec<String>,
        /// New or changed.
        guards: Vec<PoolGuard>,
    },
}

impl Membership {
    /// Takes one event; answers whether anything but the token changed.
    pub fn apply(&mut self, event: Event) -> bool {
        self.resume_token = event.resume_token;
        match event.change {
            Change::Snapshot { instances, guards, cluster_id, epoch } => {
                let instances = instances
                    .into_iter()
                    .map(|status| (status.instance.name.clone(), status))
                    .collect();
                let changed = self.instances != instances
                    || self.guards != guards
                    || self.cluster_id != cluster_id
                    || self.epoch != epoch;
                (self.instances, self.guards, self.cluster_id, self.epoch) =
                    (instances, guards, cluster_id, epoch);
                changed
            }
            Change::Delta { upserted, removed, guards } => {
                let changed = !(upserted.is_empty() && removed.is_empty() && guards.is_empty());
                for name in removed {
                    self.instances.remove(&name);
                }
                for status in upserted {
                    self.instances.insert(status.instance.name.clone(), status);
                }
                for guard in guards {
                    self.guards.retain(|known| known.service != guard.service);
                    self.guards.push(guard);
                }
                changed
            }
        }
    }

    /// The instances of one service, by name.
    pub fn of(&self, service: Service) -> impl Iterator<Item = &InstanceStatus> {
        self.instances.values().filter(move |status| status.instance.service == service)
    }

    /// Where the instances of a service listen for `endpoint`: those that may serve first, lost
    /// ones last.
    #[must_use]
    pub fn addresses(&self, service: Service, endpoint: &str) -> Vec<String> {
        let mut found: Vec<_> = self
            .of(service)
            .filter_map(|status| {
                status
                    .instance
                    .endpoints
                    .get(endpoint)
                    .map(|address| (rank(status.state), address.clone()))
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, address)| address).collect()
    }

    /// Where the built-in targets of the health-checkers are, as far as they are advertised by
    /// address, and the keys with which they sign their probes; checkers of earlier versions have
    /// none.
    #[must_use]
    pub fn probe_targets(&self) -> HashMap<SocketAddr, Option<probe::Key>> {
        let target = |status: &InstanceStatus| {
            let address: SocketAddr = status.instance.endpoints.get(PROBE_TARGET)?.parse().ok()?;
            let key = status.instance.tags.iter().find_map(|tag| probe::key(tag));
            Some((SocketAddr::new(address.ip().to_canonical(), address.port()), key))
        };
        self.of(Service::HealthChecker).filter_map(target).collect()
    }

    /// All endpoints of all instances but the built-in targets: what no client may reach through
    /// the proxy.
    #[must_use]
    pub fn control_endpoints(&self) -> ControlEndpoints {
        let mut endpoints = ControlEndpoints::default();
        let instances = self.instances.values().map(|status| &status.instance);
        let control = instances.flat_map(|instance| {
            let target = |purpose: &str| {
                instance.service == Service::HealthChecker && purpose == PROBE_TARGET
            };
            instance
                .endpoints
                .iter()
                .filter(move |(purpose, _)| !target(purpose))
                .map(|(_, address)| address)
        });
        for address in control {
            match address.parse::<SocketAddr>() {
                Ok(address) => drop(
                    endpoints
                        .addresses
                        .insert(SocketAddr::new(address.ip().to_canonical(), address.port())),
                ),
                Err(_) => endpoints.names.extend(named(address)),
            }
        }
        endpoints
    }
}

/// Suspects answer worse than usable ones and better than lost ones.
const fn rank(state: State) -> u8 {
    match state {
        State::Usable => 0,
        State::Starting | State::Suspect => 1,
        State::Draining | State::Maintenance => 2,
        State::Critical => 3,
        State::Lost => 4,
    }
}

/// The cluster's own ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlEndpoints {
    /// Advertised by address.
    pub addresses: HashSet<SocketAddr>,
    /// Advertised by host name: the name, in lower case and without a dot at the end, and the port.
    pub names: HashSet<(String, u16)>,
}

/// A host name and a port.
fn named(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.trim_end_matches('.').to_ascii_lowercase(), port.parse().ok()?))
}

impl ControlEndpoints {
    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// Whether `host` (a name or an address) and `port` are one of them.
    #[must_use]
    pub fn contains_name(&self, host: &str, port: u16) -> bool {
        self.names.contains(&(host.trim_end_matches('.').to_ascii_lowercase(), port))
            || host.parse().is_ok_and(|address| self.contains(SocketAddr::new(address, port)))
    }
}

/// A view of the membership that follows it. Works on every runtime; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch(watch::Receiver<Arc<Membership>>);

impl Watch {
    /// The membership now.
    #[must_use]
    pub fn borrow(&self) -> Arc<Membership> {
        Arc::clone(&self.0.borrow())
    }

    /// Returns after the next change that this clone has not seen; never again once the process has
    /// ended.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once other addresses of a service are known than now: a reason to try again before
    /// the time.
    pub async fn moved(&mut self, service: Service) {
        let known = self.borrow().addresses(service, "grpc");
        while self.borrow().addresses(service, "grpc") == known {
            self.changed().await;
        }
    }

    /// The next [`Watch::changed`] returns at once.
    pub fn mark_changed(&mut self) {
        self.0.mark_changed();
    }

    /// A watch for tests, and what moves it.
    #[must_use]
    pub fn manual(membership: Membership) -> (watch::Sender<Arc<Membership>>, Self) {
        let (sender, receiver) = watch::channel(Arc::new(membership));
        (sender, Self(receiver))
    }
}

impl From<pb::WatchResponse> for Event {
    /// An instance that cannot be understood (a service of a newer version) is left out and logged;
    /// the rest counts.
    fn from(message: pb::WatchResponse) -> Self {
        use pb::watch_response::Event as Kind;
        let change = match message.event {
            Some(Kind::Snapshot(snapshot)) => Change::Snapshot {
                instances: statuses(snapshot.instances),
                guards: guards(snapshot.guards),
                cluster_id: snapshot.cluster_id,
                epoch: snapshot.epoch,
            },
            Some(Kind::Delta(delta)) => Change::Delta {
                upserted: statuses(delta.upserted),
                removed: delta.removed,
                guards: guards(delta.guards),
            },
            None => Change::Delta { upserted: Vec::new(), removed: Vec::new(), guards: Vec::new() },
        };
        Self { change, resume_token: message.resume_token }
    }
}

/// Leaves out what cannot be understood.
pub(crate) fn statuses(messages: Vec<pb::InstanceStatus>) -> Vec<InstanceStatus> {
    let understood = |message: pb::InstanceStatus| {
        let name =
            message.instance.as_ref().map(|instance| instance.name.clone()).unwrap_or_default();
        InstanceStatus::try_from(message)
            .inspect_err(|error| tracing::warn!("instance {name} is left out: {error}"))
            .ok()
    };
    messages.into_iter().filter_map(understood).collect()
}

fn guards(messages: Vec<pb::PoolGuard>) -> Vec<PoolGuard> {
    messages.into_iter().filter_map(|message| PoolGuard::try_from(message).ok()).collect()
}

#[cfg(test)]
mod tests;

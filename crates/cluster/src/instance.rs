//! One process of one service: the message everybody shares.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A kind of process. Its name is also the role in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Caching forward proxy.
    ProxyNode,
    /// Load balancer in front of the nodes.
    Balancer,
    /// Membership.
    Registry,
    /// Versioned bundles and their rollout.
    ConfigService,
    /// Probes and opinions.
    HealthChecker,
    /// Backup and restore.
    BackupService,
    /// Web page.
    Console,
}

impl Service {
    /// Every service, data plane first.
    pub const ALL: [Self; 7] = [
        Self::ProxyNode,
        Self::Balancer,
        Self::Registry,
        Self::ConfigService,
        Self::HealthChecker,
        Self::BackupService,
        Self::Console,
    ];

    /// The name used in certificates, messages, metrics and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProxyNode => "proxy-node",
            Self::Balancer => "balancer",
            Self::Registry => "registry",
            Self::ConfigService => "config-service",
            Self::HealthChecker => "health-checker",
            Self::BackupService => "backup-service",
            Self::Console => "console",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A name that is no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no service named {0:?}; services are proxy-node, balancer, registry, config-service, \
     health-checker, backup-service, console"
)]
pub struct UnknownService(pub String);

impl FromStr for Service {
    type Err = UnknownService;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|service| service.as_str() == name)
            .ok_or_else(|| UnknownService(name.to_owned()))
    }
}

/// Identifies one process start. UUID v7, so that ids order by the time of the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Address (`host:port`) by purpose: `proxy`, `relay`, `icp`, `grpc`, `admin`, `dns`, `consul`,
/// `console`, frontend names.
pub type Endpoints = BTreeMap<String, String>;

/// One process of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it is.
    pub service: Service,
    /// Stable and unique in the cluster: its certificate's name, or that name followed by `-` and
    /// more.
    pub name: String,
    /// New at every process start.
    pub id: InstanceId,
    /// Fences an older process of the same name; 0 until the registry has given one.
    pub generation: u64,
    /// Where it listens.
    pub endpoints: Endpoints,
    /// Empty when nobody said.
    pub datacenter: String,
    /// Empty when nobody said.
    pub zone: String,
    /// In the order given.
    pub tags: Vec<String>,
    /// Share of the load relative to the others, 0 to 256; 0 takes no new requests.
    pub weight: u32,
    /// Version of the program.
    pub version: String,
    /// Configuration revision in force; empty before the first.
    pub applied_revision: String,
    /// SHA-256 (hex) of the rendered configuration in force.
    pub applied_hash: String,
}

/// The heaviest weight that an instance or a server may have, as in HAProxy.
pub const MAX_WEIGHT: u32 = 256;

/// Whether a certificate with the name `certified` may register as `name`: its own name, or that
/// name followed by `-` and more.
#[must_use]
pub fn may_be_named(certified: &str, name: &str) -> bool {
    name.strip_prefix(certified)
        .is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.starts_with('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_certificates() {
        for (certified, name, allowed) in [
            ("node-1", "node-1", true),
            ("node", "node-1", true),
            ("node", "node-", false),
            ("node", "nodes", false),
            ("node-1", "node", false),
            ("node-1", "node-10", false),
        ] {
            assert_eq!(may_be_named(certified, name), allowed, "{certified} as {name}");
        }
    }

    #[test]
    fn service_names_round_trip() {
        for service in Service::ALL {
            assert_eq!(service.as_str().parse(), Ok(service));
        }
        assert!("squid".parse::<Service>().is_err());
    }
}

//! Who the servers of a backend are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::notation::{Address, Name, Percent},
    percent,
};
use crate::document::balancer as document;

/// Servers found in the registry, and servers by address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Servers {
    /// Instances of this service are servers.
    pub service: Option<Discoverable>,
    /// Only instances that have all of these tags.
    pub tags: Vec<Name>,
    /// Only instances of this datacenter.
    pub datacenter: Option<Name>,
    /// Which usable servers come first: those of this balancer's own zone, of its datacenter, then
    /// all. Empty: all alike.
    pub prefer: Vec<Locality>,
    /// While fewer than this part of those that come first are usable, those that come next stand
    /// beside them.
    pub spill_over: Percent,
    /// Which of the discovered ones are used only when no other server is usable.
    pub backup: Option<Backup>,
    /// Requests and tunnels that each discovered server may have at a time, of one balancer and all
    /// of its workers; what finds all servers full waits. Absent: any number.
    #[schemars(range(min = 1, max = 10000000))]
    pub maxconn: Option<u32>,
    /// Servers by address.
    #[serde(rename = "static")]
    pub fixed: Vec<Server>,
}

/// How near a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// The same zone of the same datacenter.
    Zone,
    /// The same datacenter.
    Datacenter,
}

/// Which discovered servers are backups.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// Instances that have all of these tags; at least one.
    pub tags: Vec<Name>,
}

/// A service whose instances can be servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Discoverable {
    /// The proxy.
    ProxyNode,
}

/// A server by address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Unique in its backend.
    pub name: Name,
    /// Host and port.
    pub address: Address,
    /// Share of the load; 0 gets no new requests.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 256))]
    pub weight: u32,
    /// Used only when no other server is usable.
    #[serde(default)]
    pub backup: bool,
    /// Used only when no backup is usable either: what answers before clients are told 503, as a
    /// server that says sorry, or the proxy of another site.
    #[serde(default)]
    pub last_resort: bool,
    /// Where it is, for `prefer`; absent: nowhere near.
    pub datacenter: Option<Name>,
    /// See `datacenter`.
    pub zone: Option<Name>,
    /// Requests and tunnels that it may have at a time, of one balancer and all of its workers.
    /// Absent: any number.
    #[schemars(range(min = 1, max = 10000000))]
    pub maxconn: Option<u32>,
}

fn one() -> u32 {
    1
}

impl Default for Servers {
    fn default() -> Self {
        Self {
            service: None,
            tags: Vec::new(),
            datacenter: None,
            prefer: Vec::new(),
            spill_over: percent("70%"),
            backup: None,
            maxconn: None,
            fixed: Vec::new(),
        }
    }
}

impl From<Locality> for document::Locality {
    fn from(written: Locality) -> Self {
        match written {
            Locality::Zone => Self::Zone,
            Locality::Datacenter => Self::Datacenter,
        }
    }
}

impl From<Server> for document::Server {
    fn from(written: Server) -> Self {
        let (host, port) = written.address.value;
        Self {
            name: written.name.value,
            host,
            port,
            weight: written.weight,
            backup: written.backup,
            last_resort: written.last_resort,
            datacenter: written.datacenter.map(|it| it.value).unwrap_or_default(),
            zone: written.zone.map(|it| it.value).unwrap_or_default(),
            maxconn: written.maxconn,
        }
    }
}

//! Who the servers of a backend are.

use serde::{Deserialize, Serialize};

/// Which instances of the registry are servers of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discover {
    /// `proxy-node`.
    pub service: String,
    /// An instance must have all of them.
    pub tags: Vec<String>,
    /// Only this datacenter; none: all.
    pub datacenter: Option<String>,
    /// An instance that has all of them is used only when no other server is usable; empty: none.
    #[serde(default)]
    pub backup_tags: Vec<String>,
    /// Requests and tunnels that each may have at a time; none: any number.
    #[serde(default)]
    pub maxconn: Option<u32>,
}

/// A server by address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Unique in its backend.
    pub name: String,
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Share of the load, 0 to 256; 0 gets no new requests.
    pub weight: u32,
    /// Used only when no other server is usable.
    pub backup: bool,
    /// Used only when no backup is usable either.
    #[serde(default)]
    pub last_resort: bool,
    /// Where it is; empty: unknown.
    #[serde(default)]
    pub datacenter: String,
    /// See `datacenter`.
    #[serde(default)]
    pub zone: String,
    /// Requests and tunnels that it may have at a time; none: any number.
    #[serde(default)]
    pub maxconn: Option<u32>,
}

/// How near a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Locality {
    /// The same zone of the same datacenter.
    Zone,
    /// The same datacenter.
    Datacenter,
}

/// Which usable servers come first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefer {
    /// Nearest first; empty: all alike.
    pub order: Vec<Locality>,
    /// Percent of those that come first that have to be usable, or those that come next stand
    /// beside them.
    pub spill_over: u8,
}

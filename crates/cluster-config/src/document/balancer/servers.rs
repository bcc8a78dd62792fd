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
    /// Requests and tunnels that it may have at a time; none: any number.
    #[serde(default)]
    pub maxconn: Option<u32>,
}

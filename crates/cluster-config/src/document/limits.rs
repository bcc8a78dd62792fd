//! What one client may have at a listener for clients.

use serde::{Deserialize, Serialize};

/// One client is an IPv4 address or an IPv6 /64; many of them next to each other are a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Connections at a time. None: the program's own bound. In any case as many as leave enough
    /// for others, which depends on how many files the process may open.
    pub connections_per_client: Option<u32>,
    /// Bytes of requests whose head has not come as a whole, or whose body is kept for another
    /// attempt.
    pub unfinished_per_client: u64,
    /// So many bits of an IPv4 address name its network.
    pub network_ipv4: u8,
    /// The same of an IPv6 address, up to 64.
    pub network_ipv6: u8,
    /// Percent of all connections that the process has room for, which one network alone may have.
    pub network_share: u8,
    /// Connections of a network at a time. None: the program's own bound.
    pub connections_per_network: Option<u32>,
    /// As `unfinished_per_client`, for a network.
    pub unfinished_per_network: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_per_client: None,
            unfinished_per_client: 4 << 20,
            network_ipv4: 24,
            network_ipv6: 48,
            network_share: 90,
            connections_per_network: None,
            unfinished_per_network: 16 << 20,
        }
    }
}

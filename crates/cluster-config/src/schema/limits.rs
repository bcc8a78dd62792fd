//! `limits` of a listener for clients.

use super::notation::{Percent, Size};
use crate::document;
use schemars::JsonSchema;
use serde::Deserialize;

/// Less than one head would refuse everybody.
const LEAST_UNFINISHED: u64 = 64 << 10;

/// What one client may have: an IPv4 address or an IPv6 /64; and what a network of many may have
/// together. Their oldest idle connections are closed for their newer ones. Balancers on the relay
/// listener and `trusted_downstreams` are no clients.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time, 16384 without it; and never more than twice as many as the process
    /// has descriptors left for clients, where 256 (or an eighth of all, if that is less) may
    /// always be had.
    #[schemars(range(min = 1))]
    pub connections_per_client: Option<u32>,
    /// Memory for requests that have not come as a whole; `4MiB` without it, and never less than
    /// `64KiB`.
    pub unfinished_per_client: Option<Size>,
    /// So many bits of an IPv4 address name its network: 24 without it; 32, and no two clients are
    /// in one.
    #[schemars(range(min = 8, max = 32))]
    pub network_ipv4: Option<u8>,
    /// So many bits of an IPv6 address name its network: 48 without it; 64, and no two clients are
    /// in one.
    #[schemars(range(min = 16, max = 64))]
    pub network_ipv6: Option<u8>,
    /// What one network alone may have of all connections that the process has room for: `90%`
    /// without it. `100%`, and only the other bounds count.
    pub network_share: Option<Percent>,
    /// Connections of a network at a time, 65536 without it. A quarter of all (or 1024, if that is
    /// less) may always be had.
    #[schemars(range(min = 1))]
    pub connections_per_network: Option<u32>,
    /// As `unfinished_per_client`, for a network: `16MiB` without it, and never less than a client
    /// may have.
    pub unfinished_per_network: Option<Size>,
}

impl From<Limits> for document::Limits {
    fn from(limits: Limits) -> Self {
        let usual = Self::default();
        let unfinished = limits
            .unfinished_per_client
            .map_or(usual.unfinished_per_client, |size| size.value)
            .max(LEAST_UNFINISHED);
        let of_network =
            limits.unfinished_per_network.map_or(usual.unfinished_per_network, |size| size.value);
        Self {
            connections_per_client: limits.connections_per_client,
            unfinished_per_client: unfinished,
            network_ipv4: limits.network_ipv4.unwrap_or(usual.network_ipv4),
            network_ipv6: limits.network_ipv6.unwrap_or(usual.network_ipv6),
            network_share: limits.network_share.map_or(usual.network_share, |share| share.value),
            connections_per_network: limits.connections_per_network,
            unfinished_per_network: of_network.max(unfinished),
        }
    }
}

//! `limits` of a listener for clients.

use std::num::NonZeroU32;

use super::notation::{Duration, Percent, Size};
use crate::document;
use schemars::JsonSchema;
use serde::Deserialize;

/// Less than one head would refuse everybody.
const LEAST_UNFINISHED: u64 = 64 << 10;
/// Less memory than one connection takes would refuse everybody who is slow.
const LEAST_MEMORY: u64 = 1 << 20;
/// Without a `burst`, after a pause as many may come at once as in this many seconds.
const BURST_SECONDS: u32 = 10;

/// What one client may have: an IPv4 address or an IPv6 /64; what a network of many may have
/// together; and what all may have here. Their oldest idle connections are closed for their newer
/// ones. Balancers on the relay listener and `trusted_downstreams` are no clients.
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
    /// Memory for connections whose client does not take what it has asked for, 320 KiB each;
    /// `512MiB` without it. One more is closed, and for a second the client's requests get 503.
    pub memory_per_client: Option<Size>,
    /// The same, for a network: `2GiB` without it, and never less than a client may have.
    pub memory_per_network: Option<Size>,
    /// How fast a client may open connections; those beyond are closed at once. Without it as fast
    /// as it likes.
    pub connection_rate_per_client: Option<Rate>,
    /// The same, for a network.
    pub connection_rate_per_network: Option<Rate>,
    /// How fast a client may ask; requests beyond get 429, with Retry-After. Without it as fast as
    /// it likes. Each balancer and each node counts for itself.
    pub request_rate_per_client: Option<Rate>,
    /// The same, for a network.
    pub request_rate_per_network: Option<Rate>,
    /// Connections of all clients here at a time; those beyond are closed at once, those that are
    /// open stay. Without it as many as there are descriptors for.
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Bytes of the body of a request; a larger one gets 413. Without it any number.
    pub request_body_max_size: Option<Size>,
    /// How slow the body of a request may come before its connection is closed, unless the answer
    /// to it has begun.
    pub slowest_request: Slowest,
    /// How slow an answer may be taken before its connection is closed.
    pub slowest_response: Slowest,
}

/// So many a second, and so many at once after a pause.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// A second, on average.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_second: NonZeroU32,
    /// At once, after a pause; without it what may come in ten seconds.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub burst: Option<NonZeroU32>,
}

impl From<Rate> for document::limits::Rate {
    fn from(rate: Rate) -> Self {
        let usual =
            || rate.per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        Self { per_second: rate.per_second, burst: rate.burst.unwrap_or_else(usual) }
    }
}

/// The slowest that a client may be: what comes of it while it is waited for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Slowest {
    /// On average; 64 without it. 0, and only the deadline on the next byte counts.
    #[schemars(range(max = 1_000_000_000))]
    pub bytes_per_second: Option<u32>,
    /// The average is taken of so much time for which the client was waited for; `1m` without it,
    /// and never less than `1s`.
    pub over: Option<Duration>,
}

impl From<Slowest> for document::limits::Slowest {
    fn from(slowest: Slowest) -> Self {
        let usual = Self::default();
        let over = slowest.over.map_or(usual.over, |over| over.value);
        Self {
            bytes_per_second: slowest.bytes_per_second.unwrap_or(usual.bytes_per_second),
            over: over.max(std::time::Duration::from_secs(1)),
        }
    }
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
        let memory = limits
            .memory_per_client
            .map_or(usual.memory_per_client, |size| size.value)
            .max(LEAST_MEMORY);
        let memory_of_network =
            limits.memory_per_network.map_or(usual.memory_per_network, |size| size.value);
        Self {
            connections_per_client: limits.connections_per_client,
            unfinished_per_client: unfinished,
            network_ipv4: limits.network_ipv4.unwrap_or(usual.network_ipv4),
            network_ipv6: limits.network_ipv6.unwrap_or(usual.network_ipv6),
            network_share: limits.network_share.map_or(usual.network_share, |share| share.value),
            connections_per_network: limits.connections_per_network,
            unfinished_per_network: of_network.max(unfinished),
            memory_per_client: memory,
            memory_per_network: memory_of_network.max(memory),
            connection_rate_per_client: limits.connection_rate_per_client.map(Into::into),
            connection_rate_per_network: limits.connection_rate_per_network.map(Into::into),
            request_rate_per_client: limits.request_rate_per_client.map(Into::into),
            request_rate_per_network: limits.request_rate_per_network.map(Into::into),
            connections: limits.connections,
            request_body_max_size: limits.request_body_max_size.map(|size| size.value),
            slowest_request: limits.slowest_request.into(),
            slowest_response: limits.slowest_response.into(),
        }
    }
}

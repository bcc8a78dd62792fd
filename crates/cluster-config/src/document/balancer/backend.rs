//! A pool of servers and the rules for using them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    super::heads::Replies, AgentCheck, Discover, Mode, OutlierEjection, OwnCheck, Passive, Prefer,
    Retry, Server, Sticky, Suspicion,
};
use crate::units;

/// A pool of servers and the rules for using them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique.
    pub name: String,
    /// What is spoken with its servers.
    #[serde(default)]
    pub mode: Mode,
    /// How a server is picked.
    pub balance: Balance,
    /// Percent of its share of the requests under way that a server may have before what is hashed
    /// to it spills over; none: all of them.
    #[serde(default)]
    pub hash_bound: Option<u32>,
    /// What keeps a client with its server; none: nothing.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Servers found in the registry; they are spoken to through their `relay` endpoint.
    pub discover: Option<Discover>,
    /// Servers by address; at least one when nothing is discovered. Spoken to as plain HTTP
    /// proxies.
    pub servers: Vec<Server>,
    /// Connections to servers by address begin with a PROXY header. Then no two clients share one.
    #[serde(default)]
    pub send_proxy: Option<SendProxy>,
    /// Which of the usable ones come first.
    #[serde(default)]
    pub prefer: Prefer,
    /// The balancer's own check.
    pub check: OwnCheck,
    /// What agents beside the servers are asked; none: there are none.
    #[serde(default)]
    pub agent_check: Option<AgentCheck>,
    /// Percent of fullness above which a proxy-node gets less of its weight.
    #[serde(default = "four_fifths")]
    pub shed_above: u8,
    /// Evidence from traffic.
    pub passive: Passive,
    /// Who does worse than the others is put aside; none: nobody is compared.
    #[serde(default)]
    pub outlier_ejection: Option<OutlierEjection>,
    /// Suspicion of a late server that is a proxy-node: silent while it owes answers.
    pub suspicion: Suspicion,
    /// In which a server that has come (back) grows to its weight.
    #[serde(default, with = "units::duration")]
    pub slow_start: Duration,
    /// Retries.
    pub retry: Retry,
    /// Bounds of all servers together.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// What becomes of a client's X-Forwarded-For.
    #[serde(default)]
    pub forwarded_for: ForwardedFor,
    /// Forwarded says who the client is, too.
    #[serde(default)]
    pub forwarded: bool,
    /// Heads of what servers with an address answer. Proxy-nodes are read as they write: strictly,
    /// whatever the size.
    #[serde(default)]
    pub replies: Replies,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Idle pooled connections kept per server and worker.
    pub keepalive: u32,
    /// How long an idle pooled connection is kept.
    #[serde(with = "units::duration")]
    pub keepalive_idle: Duration,
    /// Percent: involuntary losses that leave fewer servers than this are not acted on.
    pub panic_threshold: u8,
}

/// How a server is picked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn by weight, evenly spread.
    RoundRobin,
    /// The least requests and tunnels under way for its weight.
    LeastConnections,
    /// The less loaded one of two that are drawn by weight.
    Random,
    /// The quicker one of two that are drawn by weight, with its load.
    ResponseTime,
    /// The first that is usable.
    First,
    /// By the client's address.
    IpHash,
    /// By host and path with query.
    UriHash,
    /// By host.
    HostHash,
    /// By a field of the request.
    HeaderHash {
        /// Its name.
        header: String,
    },
}

impl Balance {
    /// As it is written in a bundle.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::Random => "random",
            Self::ResponseTime => "response_time",
            Self::First => "first",
            Self::IpHash => "ip_hash",
            Self::UriHash => "uri_hash",
            Self::HostHash => "host_hash",
            Self::HeaderHash { .. } => "header_hash",
        }
    }

    /// Whether it is about requests or their answers, which nobody sees where bytes are passed on.
    #[must_use]
    pub const fn needs_request(&self) -> bool {
        matches!(
            self,
            Self::UriHash | Self::HostHash | Self::HeaderHash { .. } | Self::ResponseTime
        )
    }

    /// Whether what is alike goes to one server.
    #[must_use]
    pub const fn hashes(&self) -> bool {
        matches!(self, Self::IpHash | Self::UriHash | Self::HostHash | Self::HeaderHash { .. })
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What becomes of a client's X-Forwarded-For.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// It makes room for the client's address.
    #[default]
    Replace,
    /// The client's address follows it.
    Append,
    /// Neither is sent.
    Delete,
}

/// Bounds of a backend as a whole, over all workers of a balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// Requests and tunnels under way; none: any number.
    pub connections: Option<u32>,
    /// Requests that may wait for a server.
    pub pending: u32,
    /// Retries under way; none: any number.
    pub retries: Option<u32>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { connections: None, pending: 1024, retries: None }
    }
}

/// Deadlines of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP connection to a server.
    #[serde(with = "units::duration")]
    pub connect: Duration,
    /// Progress of the server, and until its first byte.
    #[serde(with = "units::duration")]
    pub server: Duration,
    /// In the queue for a server.
    #[serde(default = "five_seconds", with = "units::duration")]
    pub queue: Duration,
    /// A tunnel in which nothing moves.
    #[serde(with = "units::duration")]
    pub tunnel_idle: Duration,
}

/// What documents of the version before do not say.
const fn four_fifths() -> u8 {
    80
}

/// See [`four_fifths`].
const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

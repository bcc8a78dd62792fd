//! The document of a balancer.

mod earlier;

use super::{
    Limits, Unreadable,
    heads::{self, Replies},
};
use crate::units;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};

/// Everything that a balancer is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancerDocument {
    /// Names and addresses are unique. May be empty: such a balancer serves nobody.
    pub frontends: Vec<Frontend>,
    /// Names are unique; every frontend's backend is among them.
    pub backends: Vec<Backend>,
}

impl BalancerDocument {
    /// Reads a rendered document.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        let mut document: Value = super::from_json(json)?;
        earlier::to_frontends(&mut document);
        super::from_value(document)
    }

    /// Renders it.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut document = serde_json::to_value(self)?;
        earlier::to_backends(&mut document);
        Ok(document)
    }

    /// The backend of that name.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|backend| backend.name == name)
    }
}

/// A listener for clients; HTTP mode is the only one of this version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Unique.
    pub name: String,
    /// Address to bind.
    pub bind: SocketAddr,
    /// Name of a backend.
    pub backend: String,
    /// Origin-form GET or OPTIONS of this path, and `OPTIONS *`, answer 200 while the balancer
    /// serves and 503 while it drains or has nobody to ask; none: they go to a server like every
    /// request.
    #[serde(default)]
    pub health_path: Option<String>,
    /// Bytes of a request's head; a larger one is refused.
    #[serde(default = "heads::usual")]
    pub request_header_max_size: u64,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
    /// How long its clients may take.
    pub timeouts: ClientTimeouts,
}

/// Deadlines of the clients of a frontend, every one on progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTimeouts {
    /// Progress of the client while a request or response is under way.
    #[serde(with = "units::duration")]
    pub client: Duration,
    /// A client's connection between requests.
    #[serde(with = "units::duration")]
    pub client_idle: Duration,
    /// From a request's first byte to the end of its head.
    #[serde(with = "units::duration")]
    pub request_head: Duration,
}

/// A pool of servers and the rules for using them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique.
    pub name: String,
    /// How a server is picked.
    pub balance: Balance,
    /// Percent of its share of the requests under way that a server may have before what is hashed
    /// to it spills over; none: all of them.
    #[serde(default)]
    pub hash_bound: Option<u32>,
    /// Servers found in the registry; they are spoken to through their `relay` endpoint.
    pub discover: Option<Discover>,
    /// Servers by address; at least one when nothing is discovered. Spoken to as plain HTTP
    /// proxies: no PROXY header.
    pub servers: Vec<Server>,
    /// The balancer's own check.
    pub check: OwnCheck,
    /// Evidence from traffic.
    pub passive: Passive,
    /// Suspicion of a late server that is a proxy-node: silent while it owes answers.
    pub suspicion: Suspicion,
    /// Retries.
    pub retry: Retry,
    /// What becomes of a client's X-Forwarded-For.
    #[serde(default)]
    pub forwarded_for: ForwardedFor,
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

    /// Whether what is alike goes to one server.
    #[must_use]
    pub const fn hashes(&self) -> bool {
        matches!(self, Self::IpHash | Self::UriHash | Self::HostHash | Self::HeaderHash { .. })
    }
}

/// What becomes of a client's X-Forwarded-For; the client's own address stands last in both cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// It makes room for the client's address.
    #[default]
    Replace,
    /// The client's address follows it.
    Append,
}

/// Which instances of the registry are servers of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discover {
    /// `proxy-node`.
    pub service: String,
    /// An instance must have all of them.
    pub tags: Vec<String>,
    /// Only this datacenter; none: all.
    pub datacenter: Option<String>,
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
}

/// The balancer's own check of every server: a TCP connection, and `OPTIONS *` with `Max-Forwards:
/// 0` through the relay listener of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCheck {
    /// False: no own checks.
    pub enabled: bool,
    /// Between two checks of one server.
    #[serde(with = "units::duration")]
    pub inter: Duration,
    /// For one check.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Successes in a row that make a server well again.
    pub rise: u32,
    /// Failures in a row that make it unwell.
    pub fall: u32,
}

/// Evidence from traffic: failures of the server itself, never of the origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passive {
    /// This many failures within `fail_timeout` put a server aside for `fail_timeout`; 0: never.
    pub max_fails: u32,
    /// See `max_fails`.
    #[serde(with = "units::duration")]
    pub fail_timeout: Duration,
    /// What counts against servers that are not proxy-nodes (those with an address). Of a
    /// proxy-node only its own failures count, never its origins'.
    pub count: Vec<Failure>,
}

/// A kind of failure of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Connection refused or not made in time.
    Connect,
    /// Connection reset, or closed before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// A response with status 502, 503 or 504.
    Gateway,
}

/// When a proxy-node that owes answers is probed, and when it is ejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Nothing received from the node for this long while it owes answers.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// For one probe.
    #[serde(with = "units::duration")]
    pub probe_timeout: Duration,
    /// Unanswered probes in a row that eject the node.
    pub probes: u32,
}

/// Retries on another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts per request, the first included; at least 1.
    pub attempts: u32,
    /// Percent of the requests that may be retried after an answer or timeout of a live server.
    /// Retries because of a lost one do not count.
    pub budget: u8,
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
    /// A tunnel in which nothing moves.
    #[serde(with = "units::duration")]
    pub tunnel_idle: Duration,
}

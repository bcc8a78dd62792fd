//! A pool of servers and the rules for using them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        notation::{Duration, FieldName, Name, Percent, Size},
        proxy::usual_head,
    },
    duration,
    health::{AgentCheck, Check, Passive, Suspicion},
    outliers::OutlierEjection,
    percent,
    retry::Retry,
    routing::{Mode, SendProxy},
    servers::Servers,
    sticky::Sticky,
};
use crate::document::balancer as document;

/// A pool of servers and the rules for using them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique.
    pub name: Name,
    /// What is spoken with its servers; as at the frontends that use it.
    #[serde(default)]
    pub mode: Mode,
    /// How a server is picked.
    #[serde(default)]
    #[schemars(extend("x-later" = ["static_rr", "url_param", "rdp_cookie", "cookie"]))]
    pub balance: Balance,
    /// The field that `header_hash` hashes, as in `X-User`.
    pub hash_header: Option<FieldName>,
    /// Percent of its share by weight of the requests under way that a server may have before what
    /// is hashed to it spills over to the servers that follow it; 0: all of them. 125 with
    /// `uri_hash` and `host_hash`, 0 with `ip_hash` and `header_hash`, where it would move users.
    #[schemars(range(min = 0, max = 10000))]
    pub hash_balance_factor: Option<u32>,
    /// Keeps a client with its server, of servers by address; absent: nothing does.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Who they are.
    pub servers: Servers,
    /// Begin connections to servers by address with a PROXY header that says who the client is.
    /// Then no two clients share a connection. Proxy-nodes are always told.
    #[serde(default)]
    pub send_proxy: Option<SendProxy>,
    /// The balancer's own check.
    #[serde(default)]
    pub check: Check,
    /// What agents beside the servers say of them; absent: there are none.
    #[serde(default)]
    pub agent_check: Option<AgentCheck>,
    /// A proxy-node that says that it is fuller than this (processor, descriptors or memory against
    /// its limits) gets less of its weight, down to a tenth at 100%. 100%: it gets all of it.
    #[serde(default = "four_fifths")]
    pub shed_above: Percent,
    /// Evidence from traffic.
    #[serde(default)]
    pub passive: Passive,
    /// Puts servers aside that do worse than the others; absent: nobody is compared.
    #[serde(default)]
    pub outlier_ejection: Option<OutlierEjection>,
    /// When a late proxy-node is probed and ejected.
    #[serde(default)]
    pub suspicion: Suspicion,
    /// A server that has come back, or has come, gets a share of its weight that grows from 1 % to
    /// all of it within this time. 0s: all of it at once.
    #[serde(default = "at_once")]
    pub slow_start: Duration,
    /// Retries on another server.
    #[serde(default)]
    pub retry: Retry,
    /// Bounds of the backend as a whole.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// What servers are told in X-Forwarded-For, about a client that sends one itself above all.
    #[serde(default)]
    pub forwarded_for: ForwardedFor,
    /// Servers are told in Forwarded (RFC 7239), too: `for` and `proto`, behind what the client
    /// said where `forwarded_for` appends.
    #[serde(default)]
    pub forwarded: bool,
    /// Bytes of the head of an answer of a server by address; a larger one is refused (502). 4KiB
    /// to 96KiB.
    #[serde(default = "usual_head")]
    pub reply_header_max_size: Size,
    /// What servers by address write against the rules and means one thing all the same is
    /// accepted, as by `proxy.relaxed_header_parser`.
    #[serde(default = "yes")]
    pub relaxed_header_parser: bool,
    /// Deadlines.
    #[serde(default)]
    pub timeouts: BackendTimeouts,
    /// Idle pooled connections kept per server and worker.
    #[serde(default = "thirty_two")]
    #[schemars(range(min = 0, max = 65536))]
    pub keepalive: u32,
    /// How long an idle pooled connection is kept.
    #[serde(default = "a_minute")]
    pub keepalive_idle: Duration,
    /// Involuntary losses that leave fewer servers than this are not acted on.
    #[serde(default = "half")]
    pub panic_threshold: Percent,
}

/// How a server is picked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn by weight, evenly spread.
    #[default]
    RoundRobin,
    /// The same.
    WeightedRoundRobin,
    /// The fewest requests and tunnels under way for its weight.
    LeastConnections,
    /// Two are drawn by weight, and the less loaded one is taken.
    Random,
    /// Two are drawn by weight, and the one is taken that answers sooner (a moving average without
    /// the origin's time, times the requests under way).
    ResponseTime,
    /// The first in the bundle or by name; the next one only when it is not usable.
    First,
    /// By the client's address: a client stays with its server while that is usable.
    IpHash,
    /// By host and path with query: an object lives on one server, as long as that has no more than
    /// `hash_balance_factor` allows.
    UriHash,
    /// By host alone, in the same way.
    HostHash,
    /// By the field that `hash_header` names; requests without it in turn.
    HeaderHash,
}

/// What servers are told in X-Forwarded-For.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// The client's address alone.
    #[default]
    Replace,
    /// What the client said, and its address.
    Append,
    /// Neither. For servers by address alone: nodes have to know whose requests they judge.
    Delete,
}

/// Bounds of a backend as a whole, counted over all workers of one balancer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Requests and tunnels under way at all servers together; what finds no room waits. Absent:
    /// any number.
    #[schemars(range(min = 1, max = 10000000))]
    pub connections: Option<u32>,
    /// Requests that may wait for a server with `maxconn`, or for `connections`; more are answered
    /// 503 at once. 0: nobody waits.
    #[schemars(range(min = 0, max = 1000000))]
    pub pending: u32,
    /// Retries under way at a time. Absent: as many as `retry` allows.
    #[schemars(range(min = 0, max = 10000000))]
    pub retries: Option<u32>,
}

/// Deadlines of the servers, every one on progress.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackendTimeouts {
    /// TCP connection to a server.
    pub connect: Duration,
    /// The server, and until its first byte. Longer than what a node takes for an origin (its
    /// `dns`, `connect` and `read` together), so that the node, which knows what happened, is the
    /// one that says so.
    pub server: Duration,
    /// In the queue for a server with `maxconn`; what waits longer is answered 503. As long as
    /// `connect` unless it is said.
    pub queue: Option<Duration>,
    /// A tunnel in which nothing moves.
    pub tunnel_idle: Duration,
    /// Moved to `frontends[].timeouts`. Here it still counts for those frontends of this backend
    /// that do not say it themselves.
    #[schemars(extend("deprecated" = true))]
    pub client: Option<Duration>,
    /// Moved to `frontends[].timeouts`, like `client`.
    #[schemars(extend("deprecated" = true))]
    pub client_idle: Option<Duration>,
    /// Moved to `frontends[].timeouts`, like `client`.
    #[schemars(extend("deprecated" = true))]
    pub request_head: Option<Duration>,
}

fn at_once() -> Duration {
    duration("0s")
}

fn yes() -> bool {
    true
}

fn thirty_two() -> u32 {
    32
}

fn a_minute() -> Duration {
    duration("60s")
}

fn four_fifths() -> Percent {
    percent("80%")
}

fn half() -> Percent {
    percent("50%")
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        let document::CircuitBreaker { connections, pending, retries } =
            document::CircuitBreaker::default();
        Self { connections, pending, retries }
    }
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        Self {
            connect: duration("5s"),
            server: duration("75s"),
            queue: None,
            tunnel_idle: duration("1h"),
            client: None,
            client_idle: None,
            request_head: None,
        }
    }
}

impl From<ForwardedFor> for document::ForwardedFor {
    fn from(written: ForwardedFor) -> Self {
        match written {
            ForwardedFor::Replace => Self::Replace,
            ForwardedFor::Append => Self::Append,
            ForwardedFor::Delete => Self::Delete,
        }
    }
}

impl From<CircuitBreaker> for document::CircuitBreaker {
    fn from(written: CircuitBreaker) -> Self {
        let CircuitBreaker { connections, pending, retries } = written;
        Self { connections, pending, retries }
    }
}

impl From<BackendTimeouts> for document::Timeouts {
    fn from(written: BackendTimeouts) -> Self {
        Self {
            connect: written.connect.value,
            queue: written.queue.map_or(written.connect.value, |queue| queue.value),
            server: written.server.value,
            tunnel_idle: written.tunnel_idle.value,
        }
    }
}

//! Section `balancer`.

use super::{
    limits::Limits,
    notation::{Address, Bind, Duration, FieldName, Name, Percent, Size, UrlPath},
    proxy::usual_head,
};
use crate::document::balancer as document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every balancer does.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Balancer {
    /// Listeners for clients.
    pub frontends: Vec<Frontend>,
    /// Pools of servers.
    pub backends: Vec<Backend>,
    /// Addresses that move between balancers.
    #[schemars(extend("x-no-effect" = true))]
    pub vrrp: Vec<super::later::Vrrp>,
}

/// A listener for clients.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frontend {
    /// Unique.
    pub name: Name,
    /// Address and port.
    pub bind: Bind,
    /// What is spoken.
    #[serde(default)]
    #[schemars(extend("x-later" = ["tcp"]))]
    pub mode: Mode,
    /// Where requests go.
    pub backend: Name,
    /// Origin-form GET, HEAD or OPTIONS of this path, and `OPTIONS *`, answer 200 while the
    /// balancer serves and 503 while it drains or has nobody to ask, as checks of a load balancer
    /// in front expect. Without it `/` where all servers are proxy-nodes, which have no page of
    /// their own, and none where requests go to servers by address.
    #[serde(default)]
    pub health_path: Option<UrlPath>,
    /// Bytes of a request's head; a larger one is refused (431). 4KiB to 96KiB.
    #[serde(default = "usual_head")]
    pub request_header_max_size: Size,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
    /// Deadlines of its clients.
    #[serde(default)]
    pub timeouts: FrontendTimeouts,
}

/// Deadlines of the clients of a frontend, every one on progress.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FrontendTimeouts {
    /// The client, while a request or response is under way.
    pub client: Duration,
    /// A client's connection between requests.
    pub client_idle: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head: Duration,
}

/// What is spoken at a frontend.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// HTTP/1.1, proxy requests.
    #[default]
    Http,
}

/// A pool of servers and the rules for using them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Unique.
    pub name: Name,
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
    /// Who they are.
    pub servers: Servers,
    /// The balancer's own check.
    #[serde(default)]
    pub check: Check,
    /// Evidence from traffic.
    #[serde(default)]
    pub passive: Passive,
    /// When a late proxy-node is probed and ejected.
    #[serde(default)]
    pub suspicion: Suspicion,
    /// Retries on another server.
    #[serde(default)]
    pub retry: Retry,
    /// What servers are told in X-Forwarded-For about a client that sends one itself.
    #[serde(default)]
    pub forwarded_for: ForwardedFor,
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

/// What servers are told in X-Forwarded-For about a client that sends one itself; who the client is
/// stands last in both cases.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// The client's address alone.
    #[default]
    Replace,
    /// What the client said, and its address.
    Append,
}

/// Servers found in the registry, and servers by address.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Servers {
    /// Instances of this service are servers.
    pub service: Option<Discoverable>,
    /// Only instances that have all of these tags.
    pub tags: Vec<Name>,
    /// Only instances of this datacenter.
    pub datacenter: Option<Name>,
    /// Servers by address.
    #[serde(rename = "static")]
    pub fixed: Vec<Server>,
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
}

/// The balancer's own check of every server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// False: no own checks.
    pub enabled: bool,
    /// Between two checks.
    pub inter: Duration,
    /// For one check; without it the shorter of `inter` and 2s.
    pub timeout: Option<Duration>,
    /// Successes in a row that make a server well again.
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
    /// Failures in a row that make it unwell.
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
}

/// Evidence from traffic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// This many failures within `fail_timeout` put a server aside for `fail_timeout`; 0: never.
    #[schemars(range(min = 0, max = 1000))]
    pub max_fails: u32,
    /// See `max_fails`.
    pub fail_timeout: Duration,
    /// What counts against servers that are not proxy-nodes.
    pub count: Vec<Failure>,
}

/// A kind of failure of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Connection refused or not made in time.
    Connect,
    /// Connection reset, or closed before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// Status 502, 503 or 504.
    Gateway,
}

/// When a late proxy-node is probed and ejected.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Suspicion {
    /// Nothing received for this long while the node owes answers.
    pub after: Duration,
    /// For one probe.
    pub probe_timeout: Duration,
    /// Unanswered probes in a row that eject the node.
    #[schemars(range(min = 1, max = 10))]
    pub probes: u32,
}

/// Retries on another server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts per request, the first included.
    #[schemars(range(min = 1, max = 16))]
    pub attempts: u32,
    /// Share of the requests that may be retried after an answer or timeout of a live server.
    pub budget: Percent,
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

fn duration(text: &str) -> Duration {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Duration::parse(text).expect("a duration")
}

fn percent(text: &str) -> Percent {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Percent::parse(text).expect("a percentage")
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn thirty_two() -> u32 {
    32
}

fn a_minute() -> Duration {
    duration("60s")
}

fn half() -> Percent {
    percent("50%")
}

impl Default for Check {
    fn default() -> Self {
        Self { enabled: true, inter: duration("5s"), timeout: None, rise: 2, fall: 3 }
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            max_fails: 2,
            fail_timeout: duration("30s"),
            count: vec![Failure::Connect, Failure::Reset],
        }
    }
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { after: duration("500ms"), probe_timeout: duration("250ms"), probes: 2 }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, budget: percent("20%") }
    }
}

impl Default for FrontendTimeouts {
    fn default() -> Self {
        Self { client: duration("50s"), client_idle: duration("2m"), request_head: duration("30s") }
    }
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        Self {
            connect: duration("5s"),
            server: duration("75s"),
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
        }
    }
}

impl From<FrontendTimeouts> for document::ClientTimeouts {
    fn from(written: FrontendTimeouts) -> Self {
        Self {
            client: written.client.value,
            client_idle: written.client_idle.value,
            request_head: written.request_head.value,
        }
    }
}

impl From<BackendTimeouts> for document::Timeouts {
    fn from(written: BackendTimeouts) -> Self {
        Self {
            connect: written.connect.value,
            server: written.server.value,
            tunnel_idle: written.tunnel_idle.value,
        }
    }
}

impl From<Failure> for document::Failure {
    fn from(written: Failure) -> Self {
        match written {
            Failure::Connect => Self::Connect,
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
            Failure::Gateway => Self::Gateway,
        }
    }
}

impl From<Passive> for document::Passive {
    fn from(written: Passive) -> Self {
        let count = written.count.into_iter().map(Into::into).collect();
        Self { max_fails: written.max_fails, fail_timeout: written.fail_timeout.value, count }
    }
}

impl From<Suspicion> for document::Suspicion {
    fn from(written: Suspicion) -> Self {
        Self {
            after: written.after.value,
            probe_timeout: written.probe_timeout.value,
            probes: written.probes,
        }
    }
}

impl From<Check> for document::OwnCheck {
    fn from(written: Check) -> Self {
        let inter = written.inter.value;
        let timeout = written
            .timeout
            .map_or(inter.min(std::time::Duration::from_secs(2)), |timeout| timeout.value);
        Self { enabled: written.enabled, inter, timeout, rise: written.rise, fall: written.fall }
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
        }
    }
}

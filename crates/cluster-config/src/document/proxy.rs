//! The document of a proxy-node.

pub use super::caching::{Overrides, Policy, RefreshPattern};
use super::{
    Access, DomainPattern, FileReference, Limits, Term, Unreadable,
    compression::Compression,
    heads::{self, Replies},
    log::LogTarget,
};
use crate::units;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// Everything that a proxy-node is told. The relay listener's address is not here: it comes from
/// the node's flags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxyDocument {
    /// Listeners for clients; at least one.
    pub listen: Vec<Listen>,
    /// Connections of all clients at a time. None: as many as there are descriptors for.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// What the node calls itself in Via and on denial pages.
    pub visible_hostname: String,
    /// Peers on `listen` whose X-Forwarded-For is believed.
    pub trusted_downstreams: Vec<IpNet>,
    /// What happens to an X-Forwarded-For that is not believed.
    pub forwarded_for: ForwardedFor,
    /// How many of its threads accept connections; none: all.
    #[serde(default)]
    pub workers: Option<u16>,
    /// Bytes of a request's head; a larger one is refused.
    #[serde(default = "heads::usual")]
    pub request_header_max_size: u64,
    /// Heads of what origins and parents answer.
    #[serde(default)]
    pub replies: Replies,
    /// The memory cache.
    pub cache: Cache,
    /// What is compressed; none: nothing.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// Parent proxies, in order of preference; empty: straight to the origin.
    pub parents: Vec<Parents>,
    /// What goes straight to its origin although there are parents.
    #[serde(default)]
    pub direct: Direct,
    /// Where other caches ask whether this node has something; none: nowhere.
    #[serde(default)]
    pub icp: Option<Icp>,
    /// Caches on the same level that are asked.
    #[serde(default)]
    pub siblings: Siblings,
    /// Who may ask for what, and what the node may connect to.
    pub access: Access,
    /// Whom the node believes that it speaks TLS with.
    #[serde(default)]
    pub origin_tls: OriginTls,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The access log.
    pub access_log: AccessLog,
    /// Where copies of it go.
    #[serde(default)]
    pub log_targets: Vec<LogTarget>,
}

impl ProxyDocument {
    /// Reads a rendered document.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        super::from_json(json)
    }
}

/// One listener for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    /// Address to bind.
    pub bind: SocketAddr,
    /// Origin-form GET or OPTIONS of this path answers 200 while the node serves and 503 while it
    /// drains; none: no such path.
    pub health_path: Option<String>,
    /// Every connection begins with a PROXY header, believed only from `trusted_downstreams`;
    /// others are closed.
    pub proxy_protocol: bool,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
}

/// What becomes of a client's X-Forwarded-For that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// The peer's address takes its place.
    Replace,
    /// The peer's address is appended.
    Append,
    /// No X-Forwarded-For is sent on.
    Delete,
}

/// The memory cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// Bytes; 0: nothing is cached.
    pub memory: u64,
    /// Bytes on the disk; 0: memory alone.
    #[serde(default)]
    pub disk: u64,
    /// Bytes of the largest body that is kept.
    pub max_object_size: u64,
    /// Concurrent misses of one key share one fetch.
    pub collapsed_forwarding: bool,
    /// A node that misses asks the node that owns the object before the origin.
    #[serde(default)]
    pub owners: bool,
    /// How long a request waits for a fetch of another that makes no progress.
    #[serde(default = "follow_timeout", with = "units::duration")]
    pub follow_timeout: Duration,
    /// A request for a part that begins before this byte fetches and keeps the whole; 0: never.
    #[serde(default)]
    pub range_offset_limit: u64,
    /// What is fetched to its end although nobody waits for it; none: everything.
    #[serde(default)]
    pub quick_abort: Option<QuickAbort>,
    /// Whether responses that end with the connection are kept.
    #[serde(default)]
    pub store_until_close: bool,
    /// How long a stale response stands in for an origin that is out of reach.
    #[serde(default = "stale_if_unreachable", with = "units::duration")]
    pub stale_if_unreachable: Duration,
    /// Names of targeted fields (RFC 9213), lower case, the first one first.
    #[serde(default)]
    pub targeted_fields: Vec<String>,
    /// Names of the request fields, lower case, that Vary compares in a normal form.
    #[serde(default = "vary_normalized")]
    pub vary_normalized: Vec<String>,
    /// First match wins. Their times are for responses that say nothing of their freshness
    /// themselves, and never for a request with Cookie or Authorization.
    pub refresh_patterns: Vec<RefreshPattern>,
    /// What it does by the operator's word alone.
    #[serde(default)]
    pub policy: Policy,
    /// Purges.
    #[serde(default)]
    pub purge: Purge,
}

/// Purges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purge {
    /// How long what is stored is used without a word of the registry; 0: for as long as it lives.
    #[serde(with = "units::duration")]
    pub confirm_within: Duration,
    /// Who may use the method PURGE; all terms of one hold.
    pub allow: Vec<Vec<Term>>,
    /// It is for all nodes.
    pub everywhere: bool,
}

impl Default for Purge {
    fn default() -> Self {
        Self { confirm_within: Duration::from_secs(600), allow: Vec::new(), everywhere: false }
    }
}

/// Squid's rules of that name for a fetch that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickAbort {
    /// With fewer bytes to come, it goes on.
    pub min: u64,
    /// With more bytes to come, it ends.
    pub max: u64,
    /// In between it goes on when more than this many percent have come.
    pub percent: u8,
}

/// For documents that were rendered before it could be set.
const fn follow_timeout() -> Duration {
    Duration::from_secs(2)
}

/// The same.
const fn stale_if_unreachable() -> Duration {
    Duration::from_secs(24 * 3600)
}

/// The same.
fn vary_normalized() -> Vec<String> {
    vec!["accept-encoding".to_owned()]
}

/// One or more parent proxies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parents {
    /// One, by its address.
    At(Parent),
    /// The proxy-nodes of the cluster that have these tags. A node that has them itself is one of
    /// them, and asks none of them.
    Nodes(ParentNodes),
}

impl From<Parent> for Parents {
    fn from(parent: Parent) -> Self {
        Self::At(parent)
    }
}

/// The proxy-nodes of the cluster that are parents of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentNodes {
    /// Tags that all of them have, at least one.
    pub tags: Vec<String>,
    /// What proves this node to them.
    #[serde(default)]
    pub login: Option<Login>,
    /// How one of them is picked.
    #[serde(default)]
    pub select: Select,
}

/// How one of several parents is picked that follow each other with the same `select`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The first that lives.
    #[default]
    First,
    /// In turn.
    RoundRobin,
    /// By a hash of the URL, so that each URL has one parent.
    Carp,
    /// By a hash of the client's address, so that each client has one.
    Source,
}

/// A parent proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// What proves this node to it; none: nothing does.
    #[serde(default)]
    pub login: Option<Login>,
    /// How it is picked among those beside it.
    #[serde(default)]
    pub select: Select,
    /// Its share among those beside it.
    #[serde(default = "one")]
    pub weight: u32,
    /// It is spoken to in TLS.
    #[serde(default)]
    pub tls: bool,
}

impl Parent {
    /// The parent there, without credentials or TLS: the first that lives.
    #[must_use]
    pub fn at(host: String, port: u16) -> Self {
        let (login, select) = (None, Select::First);
        Self { host, port, login, select, weight: one(), tls: false }
    }
}

/// For documents that were rendered before it could be set.
const fn one() -> u32 {
    1
}

/// Where the credentials for a parent come from; never the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// From the client: its Proxy-Authorization goes on to the parent, and the parent's challenge
    /// back to it.
    Passthrough,
    /// A file on the node that holds `user:password`; it is read again when it changes.
    File(String),
    /// An environment variable of the node's process that holds `user:password`.
    Env(String),
}

/// Whom the node believes that it speaks TLS with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginTls {
    /// Certificates of authorities, as PEM.
    pub ca_file: Option<FileReference>,
    /// And those that the node's system trusts.
    pub system_ca: bool,
}

impl Default for OriginTls {
    fn default() -> Self {
        Self { ca_file: None, system_ca: true }
    }
}

/// Destinations that no parent is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direct {
    /// By name.
    pub dstdomain: Vec<DomainPattern>,
    /// By address, where the request itself names one: with parents, names are resolved by them.
    pub dst: Vec<IpNet>,
    /// Where all of the terms of one hold.
    #[serde(default)]
    pub always: Vec<Vec<Term>>,
}

/// The Internet Cache Protocol (RFC 2186).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icp {
    /// UDP address and port.
    pub bind: SocketAddr,
    /// Who is answered.
    pub allow: Vec<IpNet>,
    /// Questions a second that are answered.
    pub max_rate: u32,
}

/// Caches on the same level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Siblings {
    /// By address.
    pub listed: Vec<Sibling>,
    /// And the other nodes of the cluster that have an ICP port.
    pub nodes: bool,
    /// What they have is not kept here too.
    pub proxy_only: bool,
    /// The longest wait for their answers.
    #[serde(with = "units::duration")]
    pub max_timeout: Duration,
}

impl Default for Siblings {
    fn default() -> Self {
        let max_timeout = Duration::from_secs(2);
        Self { listed: Vec::new(), nodes: false, proxy_only: true, max_timeout }
    }
}

/// A cache on the same level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sibling {
    /// Name or address.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
    /// Its UDP port for questions.
    pub icp_port: u16,
}

/// Deadlines of a proxy-node; every one is on progress, not on the whole exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Connection to origin or parent, all addresses together, TLS included.
    #[serde(with = "units::duration")]
    pub connect: Duration,
    /// Name resolution.
    #[serde(with = "units::duration")]
    pub dns: Duration,
    /// Between two reads from the origin, and until its first byte.
    #[serde(with = "units::duration")]
    pub read: Duration,
    /// Between two writes that make progress, either side.
    #[serde(with = "units::duration")]
    pub write: Duration,
    /// From a request's first byte to the end of its head.
    #[serde(with = "units::duration")]
    pub request_head: Duration,
    /// Between two reads of a request's body.
    #[serde(with = "units::duration")]
    pub request_body: Duration,
    /// A client's connection between requests.
    #[serde(with = "units::duration")]
    pub client_idle: Duration,
    /// A pooled connection to an origin.
    #[serde(with = "units::duration")]
    pub upstream_idle: Duration,
    /// A tunnel in which nothing moves.
    #[serde(with = "units::duration")]
    pub tunnel_idle: Duration,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Form of a line.
    pub format: AccessLogFormat,
    /// When the file is moved aside.
    #[serde(default)]
    pub rotate: Rotate,
    /// Lines end with the request's id.
    #[serde(default = "with_ids")]
    pub request_id: bool,
}

/// A document of an older service says nothing of it.
const fn with_ids() -> bool {
    true
}

/// When the file of the access log is moved aside, and how many of those moved aside are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotate {
    /// At so many bytes.
    pub size: u64,
    /// So many, beside the one that is written.
    pub keep: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { size: 256 << 20, keep: 4 }
    }
}

/// Form of an access log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Squid's native format.
    Squid,
    /// No access log.
    Off,
}

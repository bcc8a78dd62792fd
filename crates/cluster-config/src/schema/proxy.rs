//! Section `proxy`.

mod access;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    limits::Limits,
    notation::{Address, Bind, Domain, Duration, Login, Name, Network, Regex, Size, UrlPath},
};
use crate::document;

pub use self::access::{Access, Acl, Auth, Basic, Egress, EgressAllow, OneOrMany, Rule};

/// What every proxy-node does.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Listeners for clients; without it one at `${node.listen.proxy}` with health_path `/`.
    pub listen: Option<Vec<Listen>>,
    /// What the node calls itself in Via and on denial pages; without it its name.
    #[schemars(length(min = 1, max = 253))]
    pub visible_hostname: Option<String>,
    /// Peers on `listen` whose X-Forwarded-For is believed.
    pub trusted_downstreams: Vec<Network>,
    /// What happens to an X-Forwarded-For that is not believed.
    pub forwarded_for: ForwardedFor,
    /// Bytes of a request's head; a larger one is refused (431). 4KiB to 96KiB; of balancers see
    /// `frontends`.
    pub request_header_max_size: Size,
    /// Bytes of the head of an answer; a larger one is refused (502). 4KiB to 96KiB.
    pub reply_header_max_size: Size,
    /// What origins write against the rules and means one thing all the same is accepted, and sent
    /// on in plain form: lines that end with LF alone, Content-Length beside Transfer-Encoding,
    /// chunks with HTTP/1.0, control characters in values, folded lines. Requests are always read
    /// strictly.
    pub relaxed_header_parser: bool,
    /// The cache.
    pub cache: Cache,
    /// Other caches to ask.
    pub hierarchy: Hierarchy,
    /// Who may ask for what. Without rules every request is denied.
    pub access: Access,
    /// Who must prove who they are.
    #[schemars(extend("x-refused" = "without it the proxy would serve clients that never \
        authenticated; restrict access by address instead"))]
    pub auth: Option<Auth>,
    /// What TLS connections to origins are verified with, where the node makes them itself: for
    /// `https://` in absolute form.
    pub origin_tls: OriginTls,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The access log.
    pub access_log: AccessLog,
}

/// Whom a node believes that it speaks TLS with. There is no way to believe everybody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OriginTls {
    /// A file in authorities/, without `.pem`: certificates of authorities that are trusted, too.
    pub ca_file: Option<Name>,
    /// Trust the authorities that the node's system trusts: `SSL_CERT_FILE`, `SSL_CERT_DIR`, or
    /// else what its distribution keeps. They are read when a revision is applied.
    pub system_ca: bool,
}

impl Default for OriginTls {
    fn default() -> Self {
        Self { ca_file: None, system_ca: true }
    }
}

/// One listener for clients.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub bind: Bind,
    /// Origin-form GET, HEAD or OPTIONS of this path answers 200 while the node serves and 503
    /// while it drains. So does `OPTIONS *`, always.
    #[serde(default)]
    pub health_path: Option<UrlPath>,
    /// Every connection begins with a PROXY header, believed only from `trusted_downstreams`.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
}

/// What happens to an X-Forwarded-For that is not believed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForwardedFor {
    /// The peer's address takes its place.
    #[default]
    Replace,
    /// The peer's address is appended.
    Append,
    /// None is sent on.
    Delete,
}

/// The cache.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Memory for cached objects; `0B`: nothing is cached.
    pub memory: Size,
    /// Disk for cached objects.
    #[schemars(extend("x-no-effect" = true))]
    pub disk: Option<Size>,
    /// Larger bodies are not kept.
    pub max_object_size: Size,
    /// Concurrent misses of one key share one fetch.
    pub collapsed_forwarding: bool,
    /// How long a request waits for a fetch of another that makes no progress before it fetches for
    /// itself.
    pub follow_timeout: Duration,
    /// A request for a part that begins before this place fetches and keeps the whole, if that is
    /// no larger than `max_object_size`, as Squid's range_offset_limit; `0B`: parts are fetched
    /// alone and not kept.
    pub range_offset_limit: Size,
    /// Keep responses whose end is the end of the connection, although one that was cut cannot be
    /// told from a whole one.
    pub store_until_close: bool,
    /// First match wins; for responses that say nothing of their freshness. None applies to a
    /// request with Cookie or Authorization.
    pub refresh_patterns: Vec<RefreshPattern>,
}

/// Heuristic freshness, as Squid's refresh_pattern.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshPattern {
    /// For URLs that match. URLs with a query are meant only by a pattern that names it (`\?`):
    /// what follows the `?` is anything that a client likes.
    pub url_regex: Regex,
    /// Fresh for at least this long.
    #[serde(default = "zero")]
    pub min: Duration,
    /// Percent of the time since Last-Modified.
    #[serde(default = "twenty")]
    #[schemars(range(min = 0, max = 10000))]
    pub percent: u32,
    /// Fresh for at most this long.
    #[serde(default = "three_days")]
    pub max: Duration,
}

/// Other caches to ask.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hierarchy {
    /// Neighbours on the same level.
    #[schemars(extend("x-no-effect" = true))]
    pub siblings: Option<super::later::Siblings>,
    /// A second tier, in order of preference; empty: straight to the origin.
    pub parents: Vec<Parent>,
    /// What goes straight to its origin although there are parents.
    pub direct: Direct,
}

/// Destinations that no parent is asked for, in the terms of ACLs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Direct {
    /// Hosts, and domains with everything under them.
    pub dstdomain: Vec<Domain>,
    /// Addresses and networks; they are compared with addresses in requests, since the parents
    /// resolve names.
    pub dst: Vec<Network>,
}

/// A parent proxy, by `address`, or several by `service` and `tags`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Parent {
    /// Its host and port.
    #[serde(default)]
    pub address: Option<Address>,
    /// What proves the node to it: `file:/PATH` or `env:NAME`, whose content on the node is
    /// `user:password` for Basic, or `passthrough`: the client's own Proxy-Authorization goes on to
    /// the parent, and the parent's challenge back to the client. Without it a parent that asks for
    /// credentials gets none, and the client a 502 that says so.
    #[serde(default)]
    pub login: Option<Login>,
    /// `proxy-node`: the nodes of this cluster that have `tags` are parents of all others, as the
    /// membership lists them. They need a rule that lets those others in, and count them as clients
    /// unless they are among their `trusted_downstreams`.
    #[serde(default)]
    pub service: Option<Name>,
    /// Tags that the nodes have (`--tags` at their start).
    #[serde(default)]
    pub tags: Option<Vec<Name>>,
    /// How one is picked of parents that follow each other with the same `select`. Whatever it
    /// says, the living come first, and a parent that fails, refuses a tunnel, or answers 502, 503
    /// or 504 is followed by the next one where a request may be repeated.
    #[serde(default)]
    pub select: Select,
}

/// How a parent is picked.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The first that lives (`default` in Squid).
    #[default]
    First,
    /// In turn.
    RoundRobin,
    /// By a hash of the URL: each URL has one parent, and loses it only with that parent.
    Carp,
}

impl From<Select> for document::proxy::Select {
    fn from(select: Select) -> Self {
        match select {
            Select::First => Self::First,
            Select::RoundRobin => Self::RoundRobin,
            Select::Carp => Self::Carp,
        }
    }
}

/// Deadlines, every one on progress.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// Connection to origin or parent, TLS included.
    pub connect: Duration,
    /// Name resolution.
    pub dns: Duration,
    /// Between two reads from the origin, and until its first byte.
    pub read: Duration,
    /// Between two writes that make progress.
    pub write: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head: Duration,
    /// Between two reads of a request's body.
    pub request_body: Duration,
    /// A client's connection between requests.
    pub client_idle: Duration,
    /// A pooled connection to an origin.
    pub upstream_idle: Duration,
    /// A tunnel in which nothing moves.
    pub tunnel_idle: Duration,
}

/// The access log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Form of a line.
    #[schemars(extend("x-later" = ["common", "combined", "json"]))]
    pub format: AccessLogFormat,
    /// When the file is moved aside to `access.log.1`. A file that logrotate or others move away is
    /// opened anew, too.
    pub rotate: Rotate,
    /// A line ends with the request's id, an eleventh column behind Squid's ten, by which `shoal
    /// logs --request ID` finds it. Who reads Squid's logs and takes no more than ten columns needs
    /// `false`.
    pub request_id: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { format: AccessLogFormat::default(), rotate: Rotate::default(), request_id: true }
    }
}

/// When the access log's file is moved aside.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// When it is this large.
    pub size: Size,
    /// So many are kept beside it; the oldest goes.
    #[schemars(range(min = 0, max = 100))]
    pub keep: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        let document::proxy::Rotate { keep, .. } = document::proxy::Rotate::default();
        Self { size: size("256MiB"), keep }
    }
}

/// Form of an access log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessLogFormat {
    /// Squid's native format.
    #[default]
    Squid,
    /// No access log.
    Off,
}

fn duration(text: &str) -> Duration {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Duration::parse(text).expect("a duration")
}

fn size(text: &str) -> Size {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Size::parse(text).expect("a size")
}

fn zero() -> Duration {
    duration("0s")
}

fn twenty() -> u32 {
    20
}

fn three_days() -> Duration {
    duration("3d")
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            listen: None,
            visible_hostname: None,
            trusted_downstreams: Vec::new(),
            forwarded_for: ForwardedFor::default(),
            request_header_max_size: usual_head(),
            reply_header_max_size: usual_head(),
            relaxed_header_parser: true,
            cache: Cache::default(),
            hierarchy: Hierarchy::default(),
            access: Access::default(),
            auth: None,
            origin_tls: OriginTls::default(),
            timeouts: Timeouts::default(),
            access_log: AccessLog::default(),
        }
    }
}

/// Bytes of a head where nothing else is said.
pub(super) fn usual_head() -> Size {
    size("64KiB")
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: size("256MiB"),
            disk: None,
            max_object_size: size("50MiB"),
            collapsed_forwarding: true,
            follow_timeout: duration("2s"),
            range_offset_limit: size("1MiB"),
            store_until_close: false,
            refresh_patterns: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: duration("5s"),
            dns: duration("5s"),
            read: duration("60s"),
            write: duration("60s"),
            request_head: duration("30s"),
            request_body: duration("60s"),
            client_idle: duration("2m"),
            upstream_idle: duration("60s"),
            tunnel_idle: duration("1h"),
        }
    }
}

impl From<Timeouts> for document::proxy::Timeouts {
    fn from(written: Timeouts) -> Self {
        Self {
            connect: written.connect.value,
            dns: written.dns.value,
            read: written.read.value,
            write: written.write.value,
            request_head: written.request_head.value,
            request_body: written.request_body.value,
            client_idle: written.client_idle.value,
            upstream_idle: written.upstream_idle.value,
            tunnel_idle: written.tunnel_idle.value,
        }
    }
}

impl From<ForwardedFor> for document::proxy::ForwardedFor {
    fn from(written: ForwardedFor) -> Self {
        match written {
            ForwardedFor::Replace => Self::Replace,
            ForwardedFor::Append => Self::Append,
            ForwardedFor::Delete => Self::Delete,
        }
    }
}

impl From<AccessLog> for document::proxy::AccessLog {
    fn from(written: AccessLog) -> Self {
        let format = match written.format {
            AccessLogFormat::Squid => document::proxy::AccessLogFormat::Squid,
            AccessLogFormat::Off => document::proxy::AccessLogFormat::Off,
        };
        let rotate =
            document::proxy::Rotate { size: written.rotate.size.value, keep: written.rotate.keep };
        Self { format, rotate, request_id: written.request_id }
    }
}

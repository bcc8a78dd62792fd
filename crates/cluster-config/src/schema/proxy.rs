//! Section `proxy`.

mod access;
mod access_log;
mod cache;
mod caching;
mod compression;
mod hierarchy;
mod purge;
mod refresh;
mod timeouts;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    limits::Limits,
    notation::{Bind, Duration, Name, Network, Size, UrlPath},
};
use crate::document;

pub use self::access::{Access, Acl, Auth, Basic, Egress, EgressAllow, OneOrMany, Rule};
pub use self::access_log::{AccessLog, AccessLogFormat, Rotate};
pub use self::cache::{Cache, Negotiated, QuickAbort};
pub use self::caching::{Authorization, DefaultTtl, KeyRule, StoreRule};
pub use self::compression::{Coding, Compression};
pub use self::hierarchy::{
    Direct, Hierarchy, Icp, Parent, Select, Sibling, SiblingProtocol, Siblings,
};
pub use self::refresh::RefreshPattern;
pub use self::timeouts::Timeouts;

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
    /// Connections of all clients at a time, at all listeners together; those beyond are closed at
    /// once, those that are open stay. Balancers are no clients. Without it as many as there are
    /// descriptors for.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
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
    /// How many of the process's threads accept connections; without it all, which are as many as
    /// there are cores, or as its flag `--workers` says. A change closes nothing: who accepts no
    /// longer keeps the connections that it has until they end.
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<u16>,
    /// The cache.
    pub cache: Cache,
    /// Compression of what the cache answers; off unless it names codings.
    pub compression: Compression,
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
    /// Copies of the access log. Its file, which `shoal logs` looks into, is written all the same.
    #[schemars(length(max = 8))]
    pub log_targets: Vec<super::log::LogTarget>,
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

fn duration(text: &str) -> Duration {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Duration::parse(text).expect("a duration")
}

fn size(text: &str) -> Size {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Size::parse(text).expect("a size")
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            listen: None,
            visible_hostname: None,
            trusted_downstreams: Vec::new(),
            forwarded_for: ForwardedFor::default(),
            workers: None,
            max_connections: None,
            request_header_max_size: usual_head(),
            reply_header_max_size: usual_head(),
            relaxed_header_parser: true,
            cache: Cache::default(),
            compression: Compression::default(),
            hierarchy: Hierarchy::default(),
            access: Access::default(),
            auth: None,
            origin_tls: OriginTls::default(),
            timeouts: Timeouts::default(),
            access_log: AccessLog::default(),
            log_targets: Vec::new(),
        }
    }
}

/// Bytes of a head where nothing else is said.
pub(super) fn usual_head() -> Size {
    size("64KiB")
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

//! Where clients come in.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        limits::Limits,
        notation::{Duration, FileMode, FrontendBind, Name, Size, UrlPath},
        proxy::{OneOrMany, usual_head},
    },
    duration,
    fields::Fields,
    pac::Pac,
    routing::{Mode, ProxyProtocol, UseBackend},
    tls::Tls,
};
use crate::document::balancer as document;

/// A listener for clients.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frontend {
    /// Unique.
    pub name: Name,
    /// Address and port, or `unix:` and the path of a file; one, or a list. A client that comes
    /// through a file has no address: rules see it as 0.0.0.0 (this host), logs as `unix`.
    pub bind: OneOrMany<FrontendBind>,
    /// Who may connect where it listens at files.
    #[serde(default)]
    pub unix: UnixFiles,
    /// What is spoken.
    #[serde(default)]
    pub mode: Mode,
    /// Load balancers in front that say who the client is.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Clients speak TLS here.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// HTTP/2 with clients.
    #[serde(default)]
    pub http2: Http2,
    /// Where some requests or connections go; the first rule that matches decides.
    #[serde(default)]
    pub use_backend: Vec<UseBackend>,
    /// Where all others go.
    pub backend: Name,
    /// Origin-form GET, HEAD or OPTIONS of this path, and `OPTIONS *`, answer 200 while the
    /// balancer serves and 503 while it drains or has nobody to ask, as checks of a load balancer
    /// in front expect. Without it `/` where all servers are proxy-nodes, which have no page of
    /// their own, and none where requests go to servers by address.
    #[serde(default)]
    pub health_path: Option<UrlPath>,
    /// HAProxy's statistics page, for whoever may connect here; without it there is none. It is on
    /// every balancer's admin port in any case.
    #[serde(default)]
    pub stats: Option<FrontendStats>,
    /// Browsers read here which proxy to ask, in `/proxy.pac` and `/wpad.dat`; without it there is
    /// no such file. An empty map is enough.
    #[serde(default)]
    pub pac: Option<Pac>,
    /// Bytes of a request's head; a larger one is refused (431). 4KiB to 96KiB.
    #[serde(default = "usual_head")]
    pub request_header_max_size: Size,
    /// Header fields of requests, before servers see them; rules have seen them as they came.
    #[serde(default)]
    pub request_fields: Fields,
    /// Header fields of what servers answer; the balancer's own answers stay as they are.
    #[serde(default)]
    pub response_fields: Fields,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
    /// Deadlines of its clients.
    #[serde(default)]
    pub timeouts: FrontendTimeouts,
}

/// The files of a frontend. One that a dead process left is replaced.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnixFiles {
    /// In octal; who may write may connect.
    pub mode: FileMode,
    /// A user of the balancer's host; without it the balancer's own. Only root gives files away.
    pub user: Option<Name>,
    /// A group of the balancer's host; without it the balancer's own.
    pub group: Option<Name>,
}

impl Default for UnixFiles {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a constant of this file, read by the tests")]
        let mode = FileMode::parse("660").expect("a mode");
        Self { mode, user: None, group: None }
    }
}

impl From<UnixFiles> for document::UnixFiles {
    fn from(written: UnixFiles) -> Self {
        let name = |it: Option<Name>| it.map(|it| it.value);
        Self { mode: written.mode.value, user: name(written.user), group: name(written.group) }
    }
}

/// HTTP/2 with clients: requests and tunnels side by side on one connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http2 {
    /// Offered to clients that speak TLS (ALPN `h2`, beside `http/1.1`), where there is `tls`.
    pub enabled: bool,
    /// Without `tls`, a connection that begins with the preface of HTTP/2 speaks it, as clients do
    /// that are told to (RFC 9113 §3.3); all others speak HTTP/1.1.
    pub prior_knowledge: bool,
    /// Requests and tunnels that one connection may have under way. Each of them counts as one
    /// connection of its client under `limits`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { enabled: true, prior_knowledge: false, max_concurrent_streams: 100 }
    }
}

impl From<Http2> for document::Http2 {
    fn from(written: Http2) -> Self {
        let Http2 { enabled, prior_knowledge, max_concurrent_streams } = written;
        Self { enabled, prior_knowledge, max_concurrent_streams }
    }
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

/// HAProxy's statistics page on a frontend.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontendStats {
    /// Origin-form GET and HEAD of this path; behind it may stand `;csv`, `;json`, `;norefresh`.
    #[serde(default = "stats_uri")]
    pub uri: UrlPath,
    /// How often browsers read the page anew; without it they do not.
    #[serde(default)]
    pub refresh: Option<Duration>,
}

fn stats_uri() -> UrlPath {
    #[expect(clippy::expect_used, reason = "a constant of this file, read by the tests")]
    UrlPath::parse("/stats").expect("a path")
}

impl Default for FrontendTimeouts {
    fn default() -> Self {
        Self { client: duration("50s"), client_idle: duration("2m"), request_head: duration("30s") }
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

//! Where clients come in.

use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    super::{Limits, heads},
    Bind, Fields, Mode, Pac, Tls, UnixFiles, UseBackend,
    bind::binds,
};
use crate::units;

/// A listener for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Unique.
    pub name: String,
    /// Where it listens, at least at one place.
    #[serde(with = "binds")]
    pub bind: Vec<Bind>,
    /// Who may connect where it listens at files.
    #[serde(default)]
    pub unix: UnixFiles,
    /// What is spoken there.
    #[serde(default)]
    pub mode: Mode,
    /// Networks of load balancers in front, whose connections begin with a PROXY header.
    #[serde(default)]
    pub proxy_protocol: Vec<IpNet>,
    /// Connections to files begin with one.
    #[serde(default)]
    pub proxy_protocol_unix: bool,
    /// Clients speak TLS; none: they do not.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Whether clients may speak HTTP/2.
    #[serde(default)]
    pub http2: Http2,
    /// First match wins.
    #[serde(default)]
    pub use_backend: Vec<UseBackend>,
    /// Name of the backend for what no rule sends elsewhere.
    pub backend: String,
    /// Origin-form GET or OPTIONS of this path, and `OPTIONS *`, answer 200 while the balancer
    /// serves and 503 while it drains or has nobody to ask; none: they go to a server like every
    /// request.
    #[serde(default)]
    pub health_path: Option<String>,
    /// HAProxy's statistics page; none: it is not here.
    #[serde(default)]
    pub stats: Option<StatsPage>,
    /// What browsers are told; none: there is no such file.
    #[serde(default)]
    pub pac: Option<Pac>,
    /// Bytes of a request's head; a larger one is refused.
    #[serde(default = "heads::usual")]
    pub request_header_max_size: u64,
    /// What becomes of the fields of requests.
    #[serde(default)]
    pub request_fields: Fields,
    /// And of what servers answer.
    #[serde(default)]
    pub response_fields: Fields,
    /// What one client may have.
    #[serde(default)]
    pub limits: Limits,
    /// How long its clients may take.
    pub timeouts: ClientTimeouts,
}

/// HTTP/2 with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2 {
    /// Offered in TLS handshakes.
    pub enabled: bool,
    /// Without TLS, a connection that begins with its preface speaks it.
    pub prior_knowledge: bool,
    /// Requests and tunnels that a connection may have under way.
    pub max_concurrent_streams: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { enabled: true, prior_knowledge: false, max_concurrent_streams: 100 }
    }
}

/// HAProxy's statistics page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsPage {
    /// Origin-form GET and HEAD of this path.
    pub uri: String,
    /// How often browsers read it anew, in seconds; none: they do not.
    pub refresh: Option<u64>,
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

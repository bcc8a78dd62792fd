//! The document of a balancer.

mod backend;
mod bind;
mod earlier;
mod fields;
mod frontend;
mod health;
mod outliers;
mod pac;
mod retry;
mod routing;
mod servers;
mod sticky;
mod tls;
mod vrrp;

use std::collections::BTreeMap;

use super::{Unreadable, log::LogTarget};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use backend::{Backend, Balance, CircuitBreaker, ForwardedFor, SendProxy, Timeouts};
pub use bind::{Bind, UnixFiles};
pub use fields::{Field, Fields, Part};
pub use frontend::{ClientTimeouts, Frontend, Http2, StatsPage};
pub use health::{AgentCheck, Failure, HttpCheck, OwnCheck, Passive, Suspicion};
pub use outliers::OutlierEjection;
pub use pac::Pac;
pub use retry::{Hedge, Retry, RetryOn};
pub use routing::{Acl, HeaderTest, Mode, UseBackend};
pub use servers::{Discover, Locality, Prefer, Server};
pub use sticky::Sticky;
pub use tls::{Certificate, Tls, TlsVersion};
pub use vrrp::Vrrp;

/// Everything that a balancer is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancerDocument {
    /// Names and addresses are unique. May be empty: such a balancer serves nobody.
    pub frontends: Vec<Frontend>,
    /// Names are unique; every frontend's backends are among them.
    pub backends: Vec<Backend>,
    /// Where copies of the access log go.
    #[serde(default)]
    pub log_targets: Vec<LogTarget>,
    /// Connections of all clients at a time. None: as many as there are descriptors for.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// Addresses that move between balancers; names are unique.
    #[serde(default)]
    pub vrrp: Vec<Vrrp>,
    /// Every ACL that a frontend's rule names; others are left out.
    #[serde(default)]
    pub acls: BTreeMap<String, Acl>,
    /// How many of its threads accept connections; none: all.
    #[serde(default)]
    pub workers: Option<u16>,
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

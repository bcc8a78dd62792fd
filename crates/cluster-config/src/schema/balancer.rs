//! Section `balancer`.

mod backend;
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

use schemars::JsonSchema;
use serde::Deserialize;

use super::notation::{Duration, Percent};

pub use backend::{Backend, BackendTimeouts, Balance, CircuitBreaker, ForwardedFor};
pub use fields::Fields;
pub use frontend::{Frontend, FrontendTimeouts, Http2};
pub use health::{AgentCheck, Check, Failure, HttpCheck, Passive, Suspicion};
pub use outliers::OutlierEjection;
pub use pac::Pac;
pub use retry::{Hedge, Retry};
pub use routing::{Acl, HeaderTest, Mode, ProxyProtocol, SendProxy, UseBackend};
pub use servers::{Backup, Discoverable, Locality, Server, Servers};
pub use sticky::{CookieValue, Sticky};
pub use tls::{Certificate, ClientCertificates, Tls, TlsVersion};
pub use vrrp::{Track, Vrrp};

/// What every balancer does.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Balancer {
    /// Named conditions for `use_backend` of the frontends. Built in: `all`.
    pub acls: BTreeMap<String, Acl>,
    /// Listeners for clients.
    pub frontends: Vec<Frontend>,
    /// Pools of servers.
    pub backends: Vec<Backend>,
    /// Copies of the access log. Its file, which `shoal logs` looks into, is written all the same.
    #[schemars(length(max = 8))]
    pub log_targets: Vec<super::log::LogTarget>,
    /// Connections of all clients at a time, at all frontends together; those beyond are closed at
    /// once, those that are open stay. Without it as many as there are descriptors for.
    #[schemars(range(min = 1))]
    pub max_connections: Option<u32>,
    /// Addresses that move between balancers.
    pub vrrp: Vec<Vrrp>,
    /// How many of the process's threads accept connections; without it all, which are as many as
    /// there are cores, or as its flag `--workers` says. A change closes nothing: who accepts no
    /// longer keeps the connections that it has until they end.
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<u16>,
}

fn duration(text: &str) -> Duration {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Duration::parse(text).expect("a duration")
}

fn percent(text: &str) -> Percent {
    #[expect(clippy::expect_used, reason = "constants of this file, all read by the tests")]
    Percent::parse(text).expect("a percentage")
}

//! Section `checks`.

use super::notation::{Duration, Name, ProbeTarget, Status, UrlPath};
use super::proxy::OneOrMany;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One check of every instance of one service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Unique.
    pub name: Name,
    /// What is done.
    #[serde(rename = "type")]
    #[schemars(extend("x-later" = ["grpc", "metrics"]))]
    pub kind: Kind,
    /// Whose instances are checked.
    #[serde(default)]
    pub service: CheckedService,
    /// Which of their endpoints; without it `proxy` for proxy-nodes, `admin` for `http` checks,
    /// `grpc` otherwise.
    #[serde(default)]
    pub endpoint: Option<Name>,
    /// For `http`: what is asked for.
    #[serde(default)]
    pub path: Option<UrlPath>,
    /// For `proxy` and `connect`: `built-in`, the checker's own target, or a URL.
    #[serde(default)]
    pub url: Option<ProbeTarget>,
    /// Between two probes of one instance.
    #[serde(default = "ten_seconds")]
    pub interval: Duration,
    /// For one probe; without it the shorter of `interval` and 5s.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Successes in a row that turn the opinion to passing.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
    /// Failures in a row that turn it to critical.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
    /// What counts as well.
    #[serde(default)]
    pub expect: Option<Expect>,
}

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Connects.
    Tcp,
    /// GET of the endpoint itself.
    Http,
    /// GET through the endpoint as a proxy.
    Proxy,
    /// CONNECT through the endpoint as a proxy.
    Connect,
}

/// A service whose instances can be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckedService {
    /// The proxy.
    #[default]
    ProxyNode,
    /// The load balancer.
    Balancer,
    /// The registry.
    Registry,
    /// The keeper of bundles.
    ConfigService,
}

/// What counts as well.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Status codes or ranges.
    pub status: OneOrMany<Status>,
}

fn ten_seconds() -> Duration {
    #[expect(clippy::expect_used, reason = "a constant, read by the tests")]
    Duration::parse("10s").expect("a duration")
}

fn two() -> u32 {
    2
}

fn three() -> u32 {
    3
}

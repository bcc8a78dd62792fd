//! Sections that the format has and no service of this version acts on. Their form is checked, so
//! that a bundle stays valid later.

use super::notation::{Duration, Name, Network};
use schemars::JsonSchema;
use serde::Deserialize;

/// When to tell somebody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// Unique.
    pub name: Name,
    /// What is watched.
    pub metric: Name,
    /// Fires when less.
    #[serde(default)]
    pub below: Option<f64>,
    /// Fires when more.
    #[serde(default)]
    pub above: Option<f64>,
    /// Only when it lasts this long.
    #[serde(default, rename = "for")]
    pub lasting: Option<Duration>,
    /// How bad.
    #[serde(default)]
    pub severity: Option<AlertSeverity>,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    /// To know.
    Info,
    /// To look at.
    Warning,
    /// To act on.
    Critical,
}

/// A name that the registry answers for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsName {
    /// The name.
    pub name: String,
    /// How long answers may be kept.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// Which targets are answered.
    #[serde(default)]
    pub policy: Option<DnsPolicy>,
    /// In order of preference.
    pub targets: Vec<DnsTarget>,
}

/// Which targets are answered.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DnsPolicy {
    /// The first that is well.
    Failover,
    /// All that are well.
    All,
}

/// One target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsTarget {
    /// Where it is.
    #[serde(default)]
    pub datacenter: Option<Name>,
    /// Its address.
    pub address: Network,
}

//! Sections that the format has and no service of this version acts on. Their form is checked, so
//! that a bundle stays valid later.

use super::notation::{Duration, Name, Network, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// ICP siblings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Siblings {
    /// The service whose other instances are siblings.
    pub service: Name,
    /// How they are asked.
    #[serde(default)]
    pub protocol: Option<SiblingProtocol>,
    /// What they have is not kept here too.
    #[serde(default)]
    pub proxy_only: bool,
    /// The longest wait for answers.
    #[serde(default)]
    pub max_timeout: Option<Duration>,
}

/// How siblings are asked.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiblingProtocol {
    /// RFC 2186.
    Icp,
}

/// One VRRP instance.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vrrp {
    /// Unique.
    pub name: Name,
    /// Network interface.
    pub interface: Name,
    /// 1 to 255.
    #[schemars(range(min = 1, max = 255))]
    pub virtual_router_id: u32,
    /// 2 or 3.
    #[serde(default)]
    #[schemars(range(min = 2, max = 3))]
    pub version: Option<u32>,
    /// Priority by name of the balancer.
    pub priority: BTreeMap<String, u8>,
    /// Between two advertisements.
    #[serde(default)]
    pub advert_interval: Option<Duration>,
    /// Version 2 only.
    #[serde(default)]
    pub auth_pass: Option<Secret>,
    /// The addresses that move, with their prefix.
    pub addresses: Vec<String>,
}

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

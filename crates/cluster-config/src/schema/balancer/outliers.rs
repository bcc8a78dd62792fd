//! Servers that do worse than the others of their backend.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::notation::{Duration, Percent},
    duration, percent,
};
use crate::document::balancer as document;

/// When a server that does worse than the others is put aside, and for how long. `{}` takes what is
/// usual; without the key nobody is compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutlierEjection {
    /// The servers are compared so often, by what came in between.
    pub interval: Duration,
    /// With fewer requests than this in between, nothing is said of a server.
    #[schemars(range(min = 1, max = 1000000))]
    pub minimum_requests: u32,
    /// A server of which so many of its requests failed is put aside. What counts is what counts
    /// for `passive`: a proxy-node's own failures, never its origins'. 0%: not looked at.
    pub failure_percent: Percent,
    /// A server is put aside that takes longer than the others' median by this factor, without the
    /// time that a node waited for an origin; three servers at least have to be compared. 0: not
    /// looked at.
    #[schemars(range(min = 0, max = 1000))]
    pub latency_factor: u32,
    /// Who takes no longer than this is never too slow.
    pub latency_floor: Duration,
    /// How long a server is put aside for the first time; each time that follows is longer by as
    /// much, until it has done well for as many intervals.
    pub base_ejection_time: Duration,
    /// It is never put aside for longer than this.
    pub max_ejection_time: Duration,
    /// So many of the servers may be put aside at a time, but one always, and never so many that
    /// fewer than `panic_threshold` are left.
    pub max_ejection_percent: Percent,
}

impl Default for OutlierEjection {
    fn default() -> Self {
        Self {
            interval: duration("10s"),
            minimum_requests: 100,
            failure_percent: percent("50%"),
            latency_factor: 5,
            latency_floor: duration("100ms"),
            base_ejection_time: duration("30s"),
            max_ejection_time: duration("300s"),
            max_ejection_percent: percent("10%"),
        }
    }
}

impl From<OutlierEjection> for document::OutlierEjection {
    fn from(written: OutlierEjection) -> Self {
        Self {
            interval: written.interval.value,
            minimum_requests: written.minimum_requests,
            failure_percent: written.failure_percent.value,
            latency_factor: written.latency_factor,
            latency_floor: written.latency_floor.value,
            base_ejection_time: written.base_ejection_time.value,
            max_ejection_time: written.max_ejection_time.value,
            max_ejection_percent: written.max_ejection_percent.value,
        }
    }
}

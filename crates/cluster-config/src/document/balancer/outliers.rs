//! Servers that do worse than the others of their backend.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// When a server that does worse than the others is put aside, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutlierEjection {
    /// They are compared so often, by what came in between.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// With fewer requests than this in between, nothing is said of a server.
    pub minimum_requests: u32,
    /// Percent of the requests that failed through the server's own fault; 0: not looked at.
    pub failure_percent: u8,
    /// Times the median of the others' own time; 0: not looked at.
    pub latency_factor: u32,
    /// An own time below this is never too long.
    #[serde(with = "units::duration")]
    pub latency_floor: Duration,
    /// The first ejection of a server; each one that follows is longer by this.
    #[serde(with = "units::duration")]
    pub base_ejection_time: Duration,
    /// And no longer than this.
    #[serde(with = "units::duration")]
    pub max_ejection_time: Duration,
    /// Percent of the servers that may be put aside at a time, but one always.
    pub max_ejection_percent: u8,
}

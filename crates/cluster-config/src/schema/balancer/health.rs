//! What a balancer finds out itself about its servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{super::notation::Duration, duration};
use crate::document::balancer as document;

/// The balancer's own check of every server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// False: no own checks.
    pub enabled: bool,
    /// Between two checks.
    pub inter: Duration,
    /// For one check; without it the shorter of `inter` and 2s.
    pub timeout: Option<Duration>,
    /// Successes in a row that make a server well again.
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
    /// Failures in a row that make it unwell.
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
}

/// Evidence from traffic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// This many failures within `fail_timeout` put a server aside for `fail_timeout`; 0: never.
    #[schemars(range(min = 0, max = 1000))]
    pub max_fails: u32,
    /// See `max_fails`.
    pub fail_timeout: Duration,
    /// What counts against servers that are not proxy-nodes.
    pub count: Vec<Failure>,
}

/// A kind of failure of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Connection refused or not made in time.
    Connect,
    /// Connection reset, or closed before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// Status 502, 503 or 504.
    Gateway,
}

/// When a late proxy-node is probed and ejected.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Suspicion {
    /// Nothing received for this long while the node owes answers.
    pub after: Duration,
    /// For one probe.
    pub probe_timeout: Duration,
    /// Unanswered probes in a row that eject the node.
    #[schemars(range(min = 1, max = 10))]
    pub probes: u32,
}

impl Default for Check {
    fn default() -> Self {
        Self { enabled: true, inter: duration("5s"), timeout: None, rise: 2, fall: 3 }
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            max_fails: 2,
            fail_timeout: duration("30s"),
            count: vec![Failure::Connect, Failure::Reset],
        }
    }
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { after: duration("500ms"), probe_timeout: duration("250ms"), probes: 2 }
    }
}

impl From<Failure> for document::Failure {
    fn from(written: Failure) -> Self {
        match written {
            Failure::Connect => Self::Connect,
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
            Failure::Gateway => Self::Gateway,
        }
    }
}

impl From<Passive> for document::Passive {
    fn from(written: Passive) -> Self {
        let count = written.count.into_iter().map(Into::into).collect();
        Self { max_fails: written.max_fails, fail_timeout: written.fail_timeout.value, count }
    }
}

impl From<Suspicion> for document::Suspicion {
    fn from(written: Suspicion) -> Self {
        Self {
            after: written.after.value,
            probe_timeout: written.probe_timeout.value,
            probes: written.probes,
        }
    }
}

impl From<Check> for document::OwnCheck {
    fn from(written: Check) -> Self {
        let inter = written.inter.value;
        let timeout = written
            .timeout
            .map_or(inter.min(std::time::Duration::from_secs(2)), |timeout| timeout.value);
        Self { enabled: written.enabled, inter, timeout, rise: written.rise, fall: written.fall }
    }
}

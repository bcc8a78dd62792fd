//! What a balancer finds out itself about its servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// The balancer's own check of every server: a TCP connection, and `OPTIONS *` with `Max-Forwards:
/// 0` through the relay listener of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCheck {
    /// False: no own checks.
    pub enabled: bool,
    /// Between two checks of one server.
    #[serde(with = "units::duration")]
    pub inter: Duration,
    /// Between two checks of a server whose standing is about to change; zero: a fifth of `inter`.
    #[serde(default, with = "units::duration")]
    pub fastinter: Duration,
    /// Between two checks of an unwell one; zero: a fifth of `inter`.
    #[serde(default, with = "units::duration")]
    pub downinter: Duration,
    /// What servers by address are asked for; none: a connection.
    #[serde(default)]
    pub http: Option<HttpCheck>,
    /// For one check.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Successes in a row that make a server well again.
    pub rise: u32,
    /// Failures in a row that make it unwell.
    pub fall: u32,
}

/// What servers by address are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// With this method.
    pub method: String,
    /// At this path.
    pub path: String,
    /// Host; none: the address.
    pub host: Option<String>,
    /// Statuses that are well, as ranges with both ends.
    pub status: Vec<(u16, u16)>,
    /// What the answer has to contain.
    pub body: Option<String>,
}

/// What agents beside the servers are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCheck {
    /// Where they listen.
    pub port: u16,
    /// Between two questions.
    #[serde(with = "units::duration")]
    pub inter: Duration,
}

/// Evidence from traffic: failures of the server itself, never of the origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passive {
    /// This many failures within `fail_timeout` put a server aside for `fail_timeout`; 0: never.
    pub max_fails: u32,
    /// See `max_fails`.
    #[serde(with = "units::duration")]
    pub fail_timeout: Duration,
    /// What counts against servers that are not proxy-nodes (those with an address). Of a
    /// proxy-node only its own failures count, never its origins'.
    pub count: Vec<Failure>,
}

/// A kind of failure of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Connection refused or not made in time.
    Connect,
    /// Connection reset, or closed before the response.
    Reset,
    /// No response in time.
    Timeout,
    /// A response with status 502, 503 or 504.
    Gateway,
}

/// When a proxy-node that owes answers is probed, and when it is ejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Nothing received from the node for this long while it owes answers.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// For one probe.
    #[serde(with = "units::duration")]
    pub probe_timeout: Duration,
    /// Unanswered probes in a row that eject the node.
    pub probes: u32,
}

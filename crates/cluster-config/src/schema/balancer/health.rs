//! What a balancer finds out itself about its servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    super::{
        notation::{Duration, Method, Status, UrlPath},
        proxy::OneOrMany,
    },
    duration,
};
use crate::document::balancer as document;

/// The balancer's own check of every server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// False: no own checks.
    pub enabled: bool,
    /// Between two checks.
    pub inter: Duration,
    /// Between two checks of a server of which a check has just failed, or passed while it was
    /// unwell; a fifth of `inter` unless it is said.
    pub fastinter: Option<Duration>,
    /// Between two checks of an unwell server; a fifth of `inter` unless it is said.
    pub downinter: Option<Duration>,
    /// What servers by address are asked for; without it they have to take a connection.
    pub http: Option<HttpCheck>,
    /// For one check; without it the shorter of `inter` and 2s.
    pub timeout: Option<Duration>,
    /// Successes in a row that make a server well again.
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
    /// Failures in a row that make it unwell.
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
}

/// What servers by address are asked for, in HTTP/1.0.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpCheck {
    /// With this method.
    pub method: Method,
    /// At this path.
    pub path: UrlPath,
    /// Host; without it the server's address.
    pub host: Option<String>,
    /// Statuses or ranges that are well.
    pub status: OneOrMany<Status>,
    /// The first 64 KiB of the answer have to contain this text.
    pub body: Option<String>,
}

/// What an agent beside a server says of it, in HAProxy's agent-check text protocol: `up 80%`,
/// `drain`, `maint`, `ready`, `down`, `stopped`, `fail`, `maxconn:30`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentCheck {
    /// Where it listens, at the server's address.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Between two questions.
    #[serde(default = "two_seconds")]
    pub inter: Duration,
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
        Self {
            enabled: true,
            inter: duration("5s"),
            fastinter: None,
            downinter: None,
            http: None,
            timeout: None,
            rise: 2,
            fall: 3,
        }
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

impl Default for HttpCheck {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants, all read by the tests")]
        fn read<T>(read: Result<T, crate::units::Invalid>) -> T {
            read.expect("a constant")
        }
        Self {
            method: read(Method::parse("GET")),
            path: read(UrlPath::parse("/")),
            host: None,
            status: OneOrMany::One(read(Status::parse("200-399"))),
            body: None,
        }
    }
}

impl From<HttpCheck> for document::HttpCheck {
    fn from(written: HttpCheck) -> Self {
        let status = written.status.into_vec().into_iter().map(|status| status.value);
        Self {
            method: written.method.value,
            path: written.path.value,
            host: written.host,
            status: status.collect(),
            body: written.body,
        }
    }
}

impl From<AgentCheck> for document::AgentCheck {
    fn from(written: AgentCheck) -> Self {
        Self { port: written.port, inter: written.inter.value }
    }
}

fn two_seconds() -> Duration {
    duration("2s")
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
        let or_sooner = |it: Option<Duration>| it.map_or(inter / 5, |it| it.value);
        Self {
            enabled: written.enabled,
            inter,
            fastinter: or_sooner(written.fastinter),
            downinter: or_sooner(written.downinter),
            http: written.http.map(Into::into),
            timeout,
            rise: written.rise,
            fall: written.fall,
        }
    }
}

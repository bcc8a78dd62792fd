//! The document of a health-checker.

use super::Unreadable;
use crate::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything that a health-checker is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChecksDocument {
    /// Names are unique. May be empty.
    pub checks: Vec<Check>,
}

impl ChecksDocument {
    /// Reads a rendered document.
    pub fn from_json(json: &[u8]) -> Result<Self, Unreadable> {
        super::from_json(json)
    }
}

/// One check of every instance of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Unique.
    pub name: String,
    /// Service whose instances are checked.
    pub service: String,
    /// Which of an instance's endpoints: `proxy`, `admin`, …
    pub endpoint: String,
    /// What is done.
    pub probe: Probe,
    /// Between two probes of one instance.
    #[serde(with = "units::duration")]
    pub interval: Duration,
    /// For one probe; shorter than `interval` or equal.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    /// Successes in a row that turn the opinion to passing.
    pub rise: u32,
    /// Failures in a row that turn it to critical.
    pub fall: u32,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Probe {
    /// Connects.
    Tcp,
    /// GET of a path of the endpoint itself.
    Http {
        /// Begins with `/`.
        path: String,
        /// What counts as well.
        expect: Expect,
    },
    /// GET of a URL through the endpoint as a proxy.
    Proxy {
        /// Where to.
        url: ProbeUrl,
        /// What counts as well.
        expect: Expect,
    },
    /// CONNECT through the endpoint to the URL's host and port, then GET inside the tunnel (without
    /// TLS for http and built-in).
    Connect {
        /// Where to.
        url: ProbeUrl,
        /// What counts as well.
        expect: Expect,
    },
}

/// Where a probe through a proxy goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeUrl {
    /// The target that the checker itself serves.
    BuiltIn,
    /// An http or https URL.
    Url(String),
}

/// What counts as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// Status codes, inclusive ranges; at least one.
    pub status: Vec<(u16, u16)>,
}

impl Expect {
    /// Whether a status is among them.
    pub fn accepts(&self, status: u16) -> bool {
        self.status.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

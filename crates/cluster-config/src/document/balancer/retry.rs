//! Requests that are tried again, on another server.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::units;

/// Retries on another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts per request, the first included; at least 1.
    pub attempts: u32,
    /// Percent of the requests that may be retried after an answer or timeout of a live server.
    /// Retries because of a lost one do not count.
    pub budget: u8,
    /// What is tried again.
    #[serde(default = "RetryOn::usual")]
    pub on: Vec<RetryOn>,
    /// When a second server is asked while the first one is silent; none: never.
    #[serde(default)]
    pub hedge: Option<Hedge>,
}

/// A second server is asked while the first one is silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hedge {
    /// After this time at the earliest.
    #[serde(with = "units::duration")]
    pub after: Duration,
    /// And after what so many percent of the latest requests needed; none: after that time.
    #[serde(default)]
    pub percentile: Option<u8>,
}

/// Something that is tried again where a second attempt does no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection.
    ConnectFailure,
    /// The connection ended before an answer.
    Reset,
    /// An answer that is no HTTP.
    JunkResponse,
    /// A proxy-node's own error.
    NodeError,
    /// No answer in time.
    Timeout,
    /// An answer with this status.
    Status(u16),
}

impl RetryOn {
    /// What is the server's own failure, and no origin's.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        vec![Self::ConnectFailure, Self::Reset, Self::JunkResponse, Self::NodeError]
    }

    /// Statuses that can be tried again.
    pub const STATUSES: [u16; 12] = [401, 403, 404, 408, 421, 425, 429, 500, 501, 502, 503, 504];
}

impl fmt::Display for RetryOn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectFailure => formatter.write_str("connect_failure"),
            Self::Reset => formatter.write_str("reset"),
            Self::JunkResponse => formatter.write_str("junk_response"),
            Self::NodeError => formatter.write_str("node_error"),
            Self::Timeout => formatter.write_str("timeout"),
            Self::Status(status) => status.fmt(formatter),
        }
    }
}

/// Nothing of that name can be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing of that name can be tried again")]
pub struct NotARetry;

impl FromStr for RetryOn {
    type Err = NotARetry;

    fn from_str(text: &str) -> Result<Self, NotARetry> {
        Ok(match text {
            "connect_failure" => Self::ConnectFailure,
            "reset" => Self::Reset,
            "junk_response" => Self::JunkResponse,
            "node_error" => Self::NodeError,
            "timeout" => Self::Timeout,
            status => match status.parse() {
                Ok(status) if Self::STATUSES.contains(&status) => Self::Status(status),
                _ => return Err(NotARetry),
            },
        })
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

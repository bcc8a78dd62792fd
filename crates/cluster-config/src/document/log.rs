//! Where copies of the records of an access log go.

pub mod template;

use std::fmt;

use serde::{Deserialize, Serialize};
use template::Template;

/// One place, and how a record is written there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// Where it is.
    pub to: LogAddress,
    /// How a record is written.
    pub format: LogFormat,
    /// What stands around it.
    pub framing: LogFraming,
    /// Which part of a system it comes from (RFC 5424 §6.2.1), 0 to 23.
    pub facility: u8,
    /// Which program it comes from (TAG of RFC 3164, APP-NAME of RFC 5424).
    pub tag: String,
}

/// Where records are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogAddress {
    /// Standard output of the process.
    Stdout,
    /// A datagram a record (RFC 5426).
    Udp(String, u16),
    /// A line a record (RFC 6587 §3.4.2).
    Tcp(String, u16),
    /// A datagram or a line a record, whatever the socket of that path takes.
    Unix(String),
}

impl fmt::Display for LogAddress {
    /// As it is written in a bundle.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |host: &str| {
            if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
        };
        match self {
            Self::Stdout => formatter.write_str("stdout"),
            Self::Udp(name, port) => write!(formatter, "udp://{}:{port}", host(name)),
            Self::Tcp(name, port) => write!(formatter, "tcp://{}:{port}", host(name)),
            Self::Unix(path) => write!(formatter, "unix://{path}"),
        }
    }
}

/// How a record is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// HAProxy's (its configuration manual, section "HTTP log format").
    Httplog,
    /// One object a line; a balancer's as in the file.
    Json,
    /// Squid's native format: a proxy-node's as in the file.
    Squid,
    /// As it says.
    Custom(Template),
}

/// What stands around a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFraming {
    /// The header of RFC 3164.
    Rfc3164,
    /// The header of RFC 5424.
    Rfc5424,
    /// Nothing.
    Raw,
}

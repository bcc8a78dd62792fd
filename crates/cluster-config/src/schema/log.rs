//! Where copies of the records of an access log go.

use schemars::JsonSchema;
use serde::Deserialize;

use super::notation::{LogAddress, LogFormat, Name};
use crate::document::log as document;

/// A place for a copy of each record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogTarget {
    /// `stdout`, `udp://HOST:PORT`, `tcp://HOST:PORT` (a line a record) or `unix:///PATH`.
    pub to: LogAddress,
    /// How a record is written: `httplog` as HAProxy's `option httplog` (of balancers), `squid` as
    /// Squid's native format (of proxy-nodes), each of which is usual there; `json`; or a text with
    /// variables of HAProxy's `log-format`, as in `"%ci %ST %B %{+Q}r"`. What is not known is an
    /// error.
    pub format: Option<LogFormat>,
    /// What stands around it; `raw` where nothing is said and `to` is `stdout`.
    pub framing: Option<LogFraming>,
    /// Of syslog.
    #[serde(default)]
    pub facility: Facility,
    /// The program, as syslog has it: `shoal-balancer`, or what rules of a log server look for.
    pub tag: Option<Name>,
}

/// What stands around a record.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFraming {
    /// The header of RFC 3164, which every syslog understands.
    Rfc3164,
    /// The header of RFC 5424.
    Rfc5424,
    /// Nothing.
    Raw,
}

/// Facilities of syslog (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are their names")]
pub enum Facility {
    Kern,
    User,
    Mail,
    Daemon,
    Auth,
    Syslog,
    Lpr,
    News,
    Uucp,
    Cron,
    Authpriv,
    Ftp,
    Ntp,
    Audit,
    Alert,
    Cron2,
    #[default]
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

impl LogTarget {
    /// As services read it; `tag` and `format` where it says none.
    pub(crate) fn compile(self, tag: &str, format: document::LogFormat) -> document::LogTarget {
        let to = self.to.value;
        let framing = match self.framing {
            Some(LogFraming::Rfc3164) => document::LogFraming::Rfc3164,
            Some(LogFraming::Rfc5424) => document::LogFraming::Rfc5424,
            Some(LogFraming::Raw) => document::LogFraming::Raw,
            None if to == document::LogAddress::Stdout => document::LogFraming::Raw,
            None => document::LogFraming::Rfc3164,
        };
        document::LogTarget {
            to,
            format: self.format.map_or(format, |format| format.value),
            framing,
            facility: self.facility as u8,
            tag: self.tag.map_or_else(|| tag.to_owned(), |tag| tag.value),
        }
    }
}

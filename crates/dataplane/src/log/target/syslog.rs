//! What stands around a record in syslog: RFC 3164 §4.1, RFC 5424 §6. Pure.

use std::time::SystemTime;

use cluster_config::document::log::{LogFraming, LogTarget};
use jiff::{Timestamp, tz::TimeZone};

/// "Informational" (RFC 5424 §6.2.1): what every record is.
const SEVERITY: u8 = 6;

/// The header of one place, with the time of the messages that come next.
#[derive(Debug)]
pub struct Header {
    framing: LogFraming,
    facility: u8,
    host: String,
    tag: String,
    pid: u32,
    zone: TimeZone,
    text: String,
}

impl Header {
    /// Of a target on a host, which is named as a field of syslog can be.
    #[must_use]
    pub fn new(settings: &LogTarget, host: &str) -> Self {
        Self::of(settings, host, std::process::id(), TimeZone::system())
    }

    fn of(settings: &LogTarget, host: &str, pid: u32, zone: TimeZone) -> Self {
        let LogTarget { framing, facility, ref tag, .. } = *settings;
        let host = host.to_owned();
        Self { framing, facility, host, tag: tag.clone(), pid, zone, text: String::new() }
    }

    /// The messages that come next are of this time.
    pub fn set_time(&mut self, now: SystemTime) {
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
        let Self { facility, host, tag, pid, .. } = &*self;
        let priority = u16::from(*facility) * 8 + u16::from(SEVERITY);
        self.text = match self.framing {
            LogFraming::Raw => String::new(),
            // The local time, without a year; days below ten have a blank in front.
            LogFraming::Rfc3164 => {
                let time = now.to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S").to_string();
                format!("<{priority}>{time} {host} {tag}[{pid}]: ")
            }
            LogFraming::Rfc5424 => {
                let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                format!("<{priority}>1 {time} {host} {tag} {pid} - - ")
            }
        };
    }

    /// Appends a message, cut to `most` bytes where no more fit into one.
    pub fn write(&self, out: &mut Vec<u8>, line: &[u8], most: Option<usize>) {
        let begin = out.len();
        out.extend_from_slice(self.text.as_bytes());
        out.extend_from_slice(line);
        if let Some(most) = most {
            out.truncate(begin + most);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use cluster_config::document::log::{LogAddress, LogFormat};

    use super::*;

    fn header(framing: LogFraming, facility: u8) -> Header {
        let settings = LogTarget {
            to: LogAddress::Stdout,
            format: LogFormat::Httplog,
            framing,
            facility,
            tag: "haproxy".to_owned(),
        };
        let zone = TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC);
        let mut header = Header::of(&settings, "balancer-1", 42, zone);
        // 2009-02-06 11:14:14.655 UTC
        header.set_time(UNIX_EPOCH + Duration::from_millis(1_233_918_854_655));
        header
    }

    #[test]
    fn headers_are_those_of_the_rfcs() {
        for (framing, facility, expected) in [
            (LogFraming::Rfc3164, 16, "<134>Feb  6 19:14:14 balancer-1 haproxy[42]: x"),
            (LogFraming::Rfc3164, 0, "<6>Feb  6 19:14:14 balancer-1 haproxy[42]: x"),
            (
                LogFraming::Rfc5424,
                23,
                "<190>1 2009-02-06T11:14:14.655Z balancer-1 haproxy 42 - - x",
            ),
            (LogFraming::Raw, 23, "x"),
        ] {
            let mut out = Vec::new();
            header(framing, facility).write(&mut out, b"x", None);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    #[test]
    fn what_is_too_long_for_a_datagram_is_cut() {
        let mut out = b"before".to_vec();
        header(LogFraming::Rfc3164, 16).write(&mut out, &[b'x'; 100], Some(60));
        assert_eq!(out.len(), 66);
        assert!(out.starts_with(b"before<134>"));
    }
}

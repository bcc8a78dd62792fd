//! Copies of records for the log targets, made by the thread that writes the log: no worker pays
//! for them.

use std::{io::Write as _, sync::Arc};

use cluster_config::document::log::{
    LogFormat,
    template::{Piece, Template, Variable},
};
use dataplane::log::target::{Lines, Target, Targets};
use jiff::{Timestamp, tz::TimeZone};
use relay::rewrite::push_decimal;

use super::squid::Record;

/// Of one batch.
pub(super) struct Copies<'a> {
    targets: Arc<Vec<Arc<Target>>>,
    gathered: Vec<Vec<u8>>,
    count: u64,
    host: &'a str,
}

impl<'a> Copies<'a> {
    pub(super) fn of(targets: &'a Targets) -> Self {
        let current = targets.current();
        let gathered = current.iter().map(|_| Vec::new()).collect();
        Self { targets: current, gathered, count: 0, host: targets.host() }
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.count += 1;
        for (target, lines) in self.targets.iter().zip(&mut self.gathered) {
            match &target.settings().format {
                LogFormat::Json => json(lines, record),
                LogFormat::Custom(form) => templated(lines, record, form, self.host),
                // The lines of the file; HAProxy's format is of balancers, and no bundle with it
                // gets here.
                LogFormat::Squid | LogFormat::Httplog => {}
            }
        }
    }

    /// Hands them on. `lines`: of the file.
    pub(super) fn send(self, lines: &[u8]) {
        if self.count == 0 {
            return;
        }
        for (target, mut bytes) in self.targets.iter().zip(self.gathered) {
            if matches!(target.settings().format, LogFormat::Squid | LogFormat::Httplog) {
                bytes = lines.to_vec();
            }
            target.send(Lines { bytes, count: self.count });
        }
    }
}

/// A record as JSON, in the words that a balancer's has where they mean the same.
fn json(out: &mut Vec<u8>, record: &Record) {
    let line = serde_json::json!({
        "time": timestamp(record.ended_at).to_string(),
        "id": record.id.to_string(),
        "client": record.client.map(|it| it.to_string()).unwrap_or_default(),
        "method": record.method,
        "target": record.url,
        "status": record.status,
        "bytes": record.bytes,
        "ms": record.elapsed,
        "outcome": record.outcome.as_str(),
        "aborted": record.aborted,
        "hierarchy": record.hierarchy.to_string(),
        "media_type": record.media_type,
    });
    // Writing into memory never fails.
    writeln!(out, "{line}").unwrap_or_default();
}

fn templated(out: &mut Vec<u8>, record: &Record, form: &Template, host: &str) {
    for piece in form.pieces() {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable { variable, quoted } => {
                out.extend(quoted.then_some(b'"'));
                field(out, record, *variable, host);
                out.extend(quoted.then_some(b'"'));
            }
        }
    }
    out.push(b'\n');
}

/// Those that a node does not have are errors of the bundle, and `-` here.
fn field(out: &mut Vec<u8>, record: &Record, variable: Variable, host: &str) {
    use Variable as V;
    let began = record.ended_at.saturating_sub(record.elapsed);
    let (path, query) = record.url.split_at(record.url.find('?').unwrap_or(record.url.len()));
    // Writing into memory never fails.
    match variable {
        V::ClientIp => match record.client {
            Some(client) => write!(out, "{client}").unwrap_or_default(),
            None => out.push(b'-'),
        },
        V::ServerIp => match record.hierarchy.address() {
            None => out.push(b'-'),
            Some(address) => write!(out, "{address}").unwrap_or_default(),
        },
        V::Date | V::BeginDate => {
            date(out, began, "%d/%b/%Y:%H:%M:%S.", TimeZone::system());
            write!(out, "{:03}", began % 1000).unwrap_or_default();
        }
        V::DateUtc => date(out, began, "%d/%b/%Y:%H:%M:%S %z", TimeZone::UTC),
        V::DateLocal => date(out, began, "%d/%b/%Y:%H:%M:%S %z", TimeZone::system()),
        V::Timestamp => push_decimal(out, began / 1000),
        V::Milliseconds => write!(out, "{:03}", began % 1000).unwrap_or_default(),
        V::ActiveTime | V::TotalTime => push_decimal(out, record.elapsed),
        V::Status if record.status == 0 => out.extend_from_slice(b"-1"),
        V::Status => push_decimal(out, record.status.into()),
        V::BytesRead => push_decimal(out, record.bytes),
        V::Method => encoded(out, &record.method),
        V::Uri => encoded(out, &record.url),
        V::Path => encoded(out, path),
        V::PathOnly => {
            let rest = path.split_once("://").map(|(_, rest)| rest);
            encoded(out, rest.map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..])));
        }
        V::Query => encoded(out, query),
        V::Id => write!(out, "{}", record.id).unwrap_or_default(),
        V::Hostname => out.extend_from_slice(host.as_bytes()),
        V::Pid => push_decimal(out, std::process::id().into()),
        _ => out.push(b'-'),
    }
}

fn timestamp(millis: u64) -> Timestamp {
    Timestamp::from_millisecond(millis.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn date(out: &mut Vec<u8>, millis: u64, form: &str, zone: TimeZone) {
    let text = timestamp(millis).to_zoned(zone).strftime(form).to_string();
    out.extend_from_slice(text.as_bytes());
}

/// Text in which nobody can forge a line, encoded as HAProxy does.
fn encoded(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'#' | b'{' | b'}' | b'|') || !(0x20..0x7f).contains(&byte) {
            write!(out, "#{byte:02X}").unwrap_or_default();
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::record::{Hierarchy, Outcome};

    fn record() -> Record {
        Record {
            id: Uuid::from_u128(7),
            ended_at: 1_233_918_854_764,
            elapsed: 109,
            client: Some([10, 0, 0, 7].into()),
            outcome: Outcome::MemHit,
            status: 200,
            bytes: 2750,
            method: "GET".into(),
            url: "http://a.example/x\"y?q".into(),
            hierarchy: Hierarchy::Direct([192, 0, 2, 1].into()),
            media_type: "text/html".into(),
            ..Record::default()
        }
    }

    #[test]
    fn in_every_form() {
        let line = |form: &str| {
            let mut out = Vec::new();
            templated(&mut out, &record(), &form.parse().unwrap(), "node-1");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line("%ci %si %ST %B %Ta"), "10.0.0.7 192.0.2.1 200 2750 109\n");
        assert_eq!(line("%T %Ts.%ms"), "06/Feb/2009:11:14:14 +0000 1233918854.655\n");
        assert_eq!(line("%HM %HPO%HQ %{+Q}HU"), "GET /x#22y?q \"http://a.example/x#22y?q\"\n");
        assert_eq!(line("%H %ID"), "node-1 00000000-0000-0000-0000-000000000007\n");
        let mut out = Vec::new();
        json(&mut out, &record());
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["time"], "2009-02-06T11:14:14.764Z");
        assert_eq!((&value["outcome"], &value["ms"]), (&"TCP_MEM_HIT".into(), &109.into()));
        assert_eq!(value["target"], "http://a.example/x\"y?q");
    }
}

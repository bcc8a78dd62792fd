//! A record as HAProxy writes it with `option httplog`, and one of a frontend in mode tcp as with
//! `option tcplog` (its configuration manual, sections "HTTP log format", "TCP log format" and
//! "Session state at disconnection"), so that what reads such logs goes on reading them.
//!
//! Differences: TR is 0 for a head that was whole when it was first looked at; the date is when
//! the request began (`%tr`); a request that went to another server is always told as redispatched
//! (`+`); cookies and captured fields are not there, and the place in a server's own queue is 0, as
//! the queue is the backend's.

use std::{
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{Timestamp, tz::TimeZone};
use relay::{proxy_status::ErrorType, rewrite::push_decimal};

use super::{Error, Record};
use crate::stats::ServerCounts;

/// Writes dates; of one worker.
#[derive(Debug)]
pub struct Dates {
    zone: TimeZone,
    /// The second that is written already, and how.
    last: Option<(u64, String)>,
}

impl Dates {
    /// In local time, as HAProxy has it.
    #[must_use]
    pub fn local() -> Self {
        Self::of(TimeZone::system())
    }

    #[cfg(test)]
    pub(super) const fn of_utc() -> Self {
        Self::of(TimeZone::UTC)
    }

    const fn of(zone: TimeZone) -> Self {
        Self { zone, last: None }
    }

    /// Appends `06/Feb/2009:12:14:14.655`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        if self.last.as_ref().is_none_or(|(last, _)| *last != second) {
            let at = Timestamp::from_second(second.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
            let text = at.to_zoned(self.zone.clone()).strftime("%d/%b/%Y:%H:%M:%S.").to_string();
            self.last = Some((second, text));
        }
        if let Some((_, text)) = &self.last {
            out.extend_from_slice(text.as_bytes());
        }
        thousandths(out, since);
    }

    /// Appends `06/Feb/2009:12:14:14 +0100`: here, or in UTC.
    pub(super) fn write_with_zone(&self, out: &mut Vec<u8>, at: SystemTime, utc: bool) {
        let zone = if utc { TimeZone::UTC } else { self.zone.clone() };
        let at = Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone);
        out.extend_from_slice(at.strftime("%d/%b/%Y:%H:%M:%S %z").to_string().as_bytes());
    }
}

/// The milliseconds of a second.
pub(super) fn thousandths(out: &mut Vec<u8>, since: Duration) {
    let millis = since.subsec_millis();
    let digit = |unit: u32| b'0' + (millis / unit % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1)]);
}

/// Connections at the moment of writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) frontend: u64,
    pub(super) backend: u64,
    pub(super) server: u64,
}

impl Load {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let details = &record.details;
        Self {
            frontend: details.frontend.map_or(0, |it| it.counts.sum(|it| &it.active_connections)),
            backend: details.server.map_or(0, |it| it.backend.sum(|it| &it.active)),
            server: details.server.map_or(0, |it| ServerCounts::load(&it.tally.counts)),
        }
    }
}

/// What found no backend is told as HAProxy does, with the frontend in its place.
pub(super) fn backend<'a>(record: &Record<'a>) -> &'a str {
    if record.details.backend.is_empty() { record.frontend } else { record.details.backend }
}

pub(super) fn server<'a>(record: &Record<'a>) -> &'a str {
    if record.server.is_empty() { "<NOSRV>" } else { record.server }
}

/// What could not be read as a request.
pub(super) fn is_bad(record: &Record<'_>) -> bool {
    let unreadable = matches!(
        record.error,
        Some(
            Error::Answered(ErrorType::HttpRequestError)
                | Error::ProxyHeader
                | Error::Handshake
                | Error::Flood
        )
    );
    unreadable && record.details.backend.is_empty()
}

/// Appends the line, without its newline, of a request that ended at `now`.
pub fn write(out: &mut Vec<u8>, record: &Record<'_>, dates: &mut Dates, now: SystemTime) {
    let (details, load) = (&record.details, Load::of(record));
    out.extend_from_slice(record.client.as_bytes());
    number(out, b":", u64::from(details.port));
    out.extend_from_slice(b" [");
    dates.write(out, now.checked_sub(record.took + details.timers.head).unwrap_or(now));
    out.extend_from_slice(b"] ");
    out.extend_from_slice(record.frontend.as_bytes());
    out.push(b' ');
    out.extend_from_slice(backend(record).as_bytes());
    out.push(b'/');
    out.extend_from_slice(server(record).as_bytes());
    let tcp = record.method == super::TCP;
    timers(out, record, tcp);
    match record.status {
        _ if tcp => {}
        0 => out.extend_from_slice(b" -1"),
        status => number(out, b" ", u64::from(status)),
    }
    number(out, b" ", record.bytes);
    out.extend_from_slice(if tcp { b" " } else { b" - - " });
    out.extend_from_slice(&state(record));
    out.extend_from_slice(if tcp { b" " } else { b"-- " });
    number(out, b"", load.frontend);
    number(out, b"/", load.frontend);
    number(out, b"/", load.backend);
    number(out, b"/", load.server);
    out.push(b'/');
    retries(out, record);
    // The queue belongs to the backend.
    number(out, b" 0/", u64::from(details.timers.ahead));
    if tcp {
        return;
    }
    out.extend_from_slice(b" \"");
    request_line(out, record);
    out.push(b'"');
}

/// Attempts after the first; `+`: on another server.
pub(super) fn retries(out: &mut Vec<u8>, record: &Record<'_>) {
    let retries = record.attempts.saturating_sub(1);
    number(out, if retries > 0 { b"+" } else { b"" }, u64::from(retries));
}

pub(super) fn request_line(out: &mut Vec<u8>, record: &Record<'_>) {
    if is_bad(record) {
        return out.extend_from_slice(b"<BADREQ>");
    }
    encoded(out, record.method);
    out.push(b' ');
    encoded(out, record.target);
    out.push(b' ');
    version(out, record);
}

pub(super) fn version(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"HTTP/");
    out.extend_from_slice(record.details.protocol.as_str().as_bytes());
}

/// TR/Tw/Tc/Tr/Ta, or Tw/Tc/Tt, in milliseconds; -1 for what was not reached.
fn timers(out: &mut Vec<u8>, record: &Record<'_>, tcp: bool) {
    let timers = record.details.timers;
    let asked = record.attempts > 0;
    let reached = |out: &mut Vec<u8>, time: Option<Duration>| match time {
        Some(time) => number(out, b"/", millis(time)),
        None => out.extend_from_slice(b"/-1"),
    };
    let queue = timers.queue.or(asked.then_some(Duration::ZERO));
    if tcp {
        match queue {
            Some(time) => number(out, b" ", millis(time)),
            None => out.extend_from_slice(b" -1"),
        }
        reached(out, timers.connect);
    } else {
        number(out, b" ", millis(timers.head));
        reached(out, queue);
        reached(out, timers.connect);
        reached(out, timers.answer);
    }
    number(out, b"/", millis(record.took + timers.head));
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    push_decimal(out, value);
}

/// Who ended it, and in which step.
pub(super) fn state(record: &Record<'_>) -> [u8; 2] {
    let Some(error) = record.error else { return *b"--" };
    match error {
        Error::ProxyHeader | Error::Handshake | Error::Flood => *b"PR",
        Error::ClientTimeout => *b"cD",
        Error::ClientAborted if record.status == 0 && record.details.timers.connect.is_none() => {
            *b"CC"
        }
        Error::ClientAborted if record.status == 0 => *b"CH",
        Error::ClientAborted => *b"CD",
        Error::ResponseCut | Error::ResponseIncomplete => *b"SD",
        Error::TunnelIdle => *b"cD",
        Error::TunnelCut | Error::TunnelBroken => *b"SD",
        // Killed by an operator.
        Error::CutByOperator => *b"KD",
        // Nobody was asked yet: it had no place in the queue, or too long a wait.
        Error::Answered(ErrorType::ConnectionLimitReached) if record.attempts == 0 => *b"sQ",
        Error::Answered(error) => answered(error, record.status),
    }
}

/// Of an answer of the balancer's own.
const fn answered(error: ErrorType, status: u16) -> [u8; 2] {
    match error {
        ErrorType::HttpRequestError if status == 408 => *b"cR",
        ErrorType::HttpRequestError | ErrorType::ProxyLoopDetected => *b"PR",
        ErrorType::DestinationNotFound
        | ErrorType::DestinationUnavailable
        | ErrorType::ConnectionRefused
        | ErrorType::DestinationIpUnroutable => *b"SC",
        ErrorType::ConnectionTimeout => *b"sC",
        ErrorType::ConnectionLimitReached => *b"RC",
        ErrorType::HttpResponseTimeout => *b"sH",
        ErrorType::HttpProtocolError => *b"PH",
        _ => *b"SH",
    }
}

/// Appends text in which nobody can forge a line: what HAProxy encodes as `#XX` is encoded here.
pub(super) fn encoded(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'#' | b'{' | b'}' | b'|') || !(0x20..0x7f).contains(&byte) {
            // Writing into memory never fails.
            write!(out, "#{byte:02X}").unwrap_or_default();
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Details, Timers},
        *,
    };

    fn record() -> Record<'static> {
        Record {
            id: uuid::Uuid::nil(),
            client: "10.0.1.2",
            frontend: "http-in",
            method: "GET",
            target: "http://x/index.html",
            status: 200,
            bytes: 2750,
            took: Duration::from_millis(109),
            server: "srv1",
            attempts: 1,
            error: None,
            details: Details {
                port: 33317,
                backend: "static",
                timers: Timers {
                    queue: None,
                    ahead: 0,
                    head: Duration::ZERO,
                    connect: Some(Duration::from_millis(30)),
                    answer: Some(Duration::from_millis(69)),
                },
                ..Details::default()
            },
        }
    }

    fn line(record: &Record<'_>) -> String {
        let zone = TimeZone::get("Europe/Paris").unwrap_or(TimeZone::UTC);
        let mut out = Vec::new();
        let now = UNIX_EPOCH + Duration::from_millis(1_233_918_854_764);
        write(&mut out, record, &mut Dates::of(zone), now);
        String::from_utf8(out).expect("text")
    }

    /// The example of HAProxy's manual, but for what it captures and counts.
    #[test]
    fn the_line_of_the_manual() {
        assert_eq!(
            line(&record()),
            "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 0/0/30/69/109 200 2750 \
             - - ---- 0/0/0/0/0 0/0 \"GET http://x/index.html HTTP/1.1\""
        );
    }

    #[test]
    fn a_head_that_came_slowly_is_part_of_the_time() {
        let mut slow = record();
        slow.details.timers.head = Duration::from_millis(10);
        let line = line(&slow);
        assert!(line.contains("[06/Feb/2009:12:14:14.645]"), "{line}");
        assert!(line.contains(" 10/0/30/69/119 200 "), "{line}");
    }

    #[test]
    fn a_connection_is_a_line_of_tcplog() {
        let record = Record { method: super::super::TCP, status: 0, target: "", ..record() };
        assert_eq!(
            line(&record),
            "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 0/30/109 2750 -- \
             0/0/0/0/0 0/0"
        );
    }

    #[test]
    fn how_it_ended_is_in_two_letters() {
        use ErrorType as E;
        let nowhere = Timers::default();
        for (status, timers, error, expected) in [
            (400, nowhere, Error::Answered(E::HttpRequestError), "PR"),
            (408, nowhere, Error::Answered(E::HttpRequestError), "cR"),
            (503, nowhere, Error::Answered(E::DestinationUnavailable), "SC"),
            (502, nowhere, Error::Answered(E::ConnectionRefused), "SC"),
            (504, nowhere, Error::Answered(E::ConnectionTimeout), "sC"),
            (504, nowhere, Error::Answered(E::HttpResponseTimeout), "sH"),
            (502, nowhere, Error::Answered(E::HttpProtocolError), "PH"),
            (502, nowhere, Error::Answered(E::ConnectionTerminated), "SH"),
            (0, nowhere, Error::ClientAborted, "CC"),
            (0, record().details.timers, Error::ClientAborted, "CH"),
            (200, record().details.timers, Error::ClientAborted, "CD"),
            (200, record().details.timers, Error::ClientTimeout, "cD"),
            (200, record().details.timers, Error::ResponseCut, "SD"),
        ] {
            let details = Details { timers, ..record().details };
            let record = Record { status, error: Some(error), details, ..record() };
            let written = line(&record);
            assert!(written.contains(&format!(" - - {expected}-- ")), "{expected}: {written}");
            assert_eq!(written.contains(" -1 2750 "), status == 0, "{written}");
        }
    }

    #[test]
    fn what_a_client_sends_forges_no_line() {
        let forged = Record { target: "/\"\n{x}#é|", attempts: 3, ..record() };
        assert!(
            line(&forged).ends_with(" 0/0/0/0/+2 0/0 \"GET /#22#0A#7Bx#7D#23#C3#A9#7C HTTP/1.1\"")
        );
        let details = Details { backend: "", timers: Timers::default(), ..record().details };
        let error = Some(Error::Answered(ErrorType::HttpRequestError));
        let none = Record { server: "", attempts: 0, details, error, ..record() };
        let none = line(&none);
        assert!(none.contains(" http-in http-in/<NOSRV> 0/-1/-1/-1/109 "), "{none}");
        assert!(none.ends_with("\"<BADREQ>\""), "{none}");
    }
}

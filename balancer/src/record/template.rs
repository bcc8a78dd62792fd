//! A record in the form that the bundle says, with HAProxy's variables. What is not known is `-`,
//! and times of what was not reached are `-1`, as HAProxy has it.

use std::{
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cluster_config::document::log::template::{Piece, Template, Variable};

use super::{
    Record, TCP,
    httplog::{self, Dates, Load, encoded, millis, number},
};

/// A line to be.
pub(super) struct Line<'a> {
    pub(super) record: &'a Record<'a>,
    /// When it ended.
    pub(super) now: SystemTime,
    /// The name of this balancer.
    pub(super) host: &'a str,
}

impl Line<'_> {
    /// Appends it, without its newline.
    pub(super) fn write(&self, out: &mut Vec<u8>, form: &Template, dates: &mut Dates) {
        for piece in form.pieces() {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable { variable, quoted } => {
                    out.extend(quoted.then_some(b'"'));
                    self.variable(out, *variable, dates);
                    out.extend(quoted.then_some(b'"'));
                }
            }
        }
    }

    fn variable(&self, out: &mut Vec<u8>, variable: Variable, dates: &mut Dates) {
        use Variable as V;
        let (record, details) = (self.record, &self.record.details);
        let address = details.server.map(|server| server.address);
        match variable {
            V::ClientIp => text(out, record.client),
            V::ClientPort => number(out, b"", u64::from(details.port)),
            V::Frontend => text(out, record.frontend),
            V::Backend => text(out, httplog::backend(record)),
            V::Server => text(out, httplog::server(record)),
            V::ServerIp => match address {
                // Writing into memory never fails.
                Some(address) => write!(out, "{}", address.ip()).unwrap_or_default(),
                None => text(out, ""),
            },
            V::ServerPort => match address {
                Some(address) => number(out, b"", address.port().into()),
                None => text(out, ""),
            },
            V::Date | V::BeginDate => dates.write(out, self.began()),
            V::DateUtc => dates.write_with_zone(out, self.began(), true),
            V::DateLocal => dates.write_with_zone(out, self.began(), false),
            V::Timestamp => number(out, b"", self.since_epoch().as_secs()),
            V::Milliseconds => httplog::thousandths(out, self.since_epoch()),
            V::HeadTime
            | V::QueueTime
            | V::ConnectTime
            | V::ResponseTime
            | V::ActiveTime
            | V::TotalTime => self.time(out, variable),
            V::Status if record.method == TCP => text(out, ""),
            V::Status if record.status == 0 => out.extend_from_slice(b"-1"),
            V::Status => number(out, b"", record.status.into()),
            V::BytesRead => number(out, b"", record.bytes),
            V::State => out.extend_from_slice(&httplog::state(record)),
            V::StateAndCookie => {
                out.extend_from_slice(&httplog::state(record));
                out.extend_from_slice(b"--");
            }
            V::RequestCookie | V::ResponseCookie => text(out, ""),
            V::RequestHeaders | V::ResponseHeaders => {}
            V::ActiveConnections | V::FrontendConnections => {
                number(out, b"", Load::of(record).frontend);
            }
            V::BackendConnections => number(out, b"", Load::of(record).backend),
            V::ServerConnections => number(out, b"", Load::of(record).server),
            V::Retries => httplog::retries(out, record),
            V::BackendQueue => number(out, b"", details.timers.ahead.into()),
            // The queue belongs to the backend.
            V::ServerQueue => number(out, b"", 0),
            V::RequestLine => httplog::request_line(out, record),
            V::Method if httplog::is_bad(record) => out.extend_from_slice(b"<BADREQ>"),
            V::Method => encoded(out, record.method),
            V::Uri => encoded(out, record.target),
            V::Path => encoded(out, parts(record.target).0),
            V::PathOnly => encoded(out, without_host(parts(record.target).0)),
            V::Query => encoded(out, parts(record.target).1),
            V::Version => httplog::version(out, record),
            V::Id => {
                let mut buffer = uuid::Uuid::encode_buffer();
                text(out, record.id.hyphenated().encode_lower(&mut buffer));
            }
            V::Hostname => text(out, self.host),
            V::Pid => number(out, b"", std::process::id().into()),
        }
    }

    /// When the request began, as `%t` and `%tr` have it.
    fn began(&self) -> SystemTime {
        let took = self.record.took + self.record.details.timers.head;
        self.now.checked_sub(took).unwrap_or(self.now)
    }

    fn since_epoch(&self) -> Duration {
        self.began().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn time(&self, out: &mut Vec<u8>, variable: Variable) {
        let timers = self.record.details.timers;
        let asked = (self.record.attempts > 0).then_some(Duration::ZERO);
        let time = match variable {
            Variable::HeadTime => Some(timers.head),
            Variable::QueueTime => timers.queue.or(asked),
            Variable::ConnectTime => timers.connect,
            Variable::ResponseTime => timers.answer,
            _ => Some(self.record.took + timers.head),
        };
        match time {
            Some(time) => number(out, b"", millis(time)),
            None => out.extend_from_slice(b"-1"),
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(if text.is_empty() { b"-" } else { text.as_bytes() });
}

/// What is before the query, and the query with its `?`.
fn parts(target: &str) -> (&str, &str) {
    target.split_at(target.find('?').unwrap_or(target.len()))
}

fn without_host(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find('/').map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Details, Error, Timers},
        *,
    };
    use relay::proxy_status::ErrorType;

    fn record(target: &'static str) -> Record<'static> {
        Record {
            id: uuid::Uuid::from_u128(7),
            client: "10.0.1.2",
            frontend: "http-in",
            method: "GET",
            target,
            status: 200,
            bytes: 2750,
            took: Duration::from_millis(109),
            server: "srv1",
            attempts: 2,
            error: None,
            details: Details {
                port: 33317,
                backend: "static",
                timers: Timers {
                    queue: Some(Duration::from_millis(10)),
                    ahead: 3,
                    head: Duration::ZERO,
                    connect: Some(Duration::from_millis(30)),
                    answer: None,
                },
                ..Details::default()
            },
        }
    }

    fn line(form: &str, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        let now = UNIX_EPOCH + Duration::from_millis(1_233_918_854_764);
        let line = Line { record, now, host: "balancer-1" };
        line.write(&mut out, &form.parse().expect("a form"), &mut Dates::of_utc());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_as_it_was_asked_for() {
        let url = "http://x/a\"b?q=1";
        for (form, expected) in [
            ("%ci:%cp %f %b/%s", "10.0.1.2:33317 http-in static/srv1"),
            ("%ST %B %rc %tsc", "200 2750 +1 ----"),
            ("%TR/%Tw/%Tc/%Tr/%Ta %sq/%bq", "0/10/30/-1/109 0/3"),
            (
                "[%tr] %T %Ts.%ms",
                "[06/Feb/2009:11:14:14.655] 06/Feb/2009:11:14:14 +0000 \
              1233918854.655",
            ),
            ("%{+Q}r", "\"GET http://x/a#22b?q=1 HTTP/1.1\""),
            ("%HM %HP %HPO %HQ %HV", "GET http://x/a#22b /a#22b ?q=1 HTTP/1.1"),
            ("%ID %H", "00000000-0000-0000-0000-000000000007 balancer-1"),
            ("100%% %CC%hr%si:%sp", "100% --:-"),
        ] {
            assert_eq!(line(form, &record(url)), expected, "{form}");
        }
        let bad = Record {
            error: Some(Error::Answered(ErrorType::HttpRequestError)),
            details: Details::default(),
            attempts: 0,
            server: "",
            status: 400,
            ..record("")
        };
        assert_eq!(line("%r %b/%s %Tw %ts", &bad), "<BADREQ> http-in/<NOSRV> -1 PR");
    }

    /// The form of HAProxy's manual for `option httplog` gives what `httplog` gives.
    #[test]
    fn httplog_by_its_form() {
        let form = "%ci:%cp [%tr] %f %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc \
                    %ac/%fc/%bc/%sc/%rc %sq/%bq %{+Q}r";
        let (record, mut out) = (record("http://x/"), Vec::new());
        let now = UNIX_EPOCH + Duration::from_millis(1_233_918_854_764);
        httplog::write(&mut out, &record, &mut Dates::of_utc(), now);
        assert_eq!(line(form, &record), String::from_utf8(out).expect("text"));
    }
}

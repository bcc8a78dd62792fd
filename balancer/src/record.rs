//! Access records: one JSON object a line in `DATA_DIR/access.log`, and copies to the bundle's
//! `log_targets`, as JSON, in HAProxy's format ([`httplog`]) or in a form that the bundle says.
//!
//! A worker appends lines to a buffer of its own and hands it on, through a bounded queue
//! ([`dataplane::log`]), when it is full or 50 ms old, and when the worker ends. When the disk is
//! too slow, whole buffers are dropped and their lines counted.

mod copies;
pub mod httplog;
pub mod line;
mod template;

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt, io,
    path::PathBuf,
    thread::JoinHandle,
    time::Duration,
};

use cluster_config::document::proxy::Rotate;
use dataplane::{
    log::{
        self, Log,
        target::{Lines, Targets},
    },
    trace::{
        Trace,
        span::{self, Tracer},
    },
};
use opentelemetry::KeyValue;
use relay::{
    head::Version, octets::is_plain_in_json, proxy_status::ErrorType, rewrite::push_decimal,
};

use crate::{listen::Frontend, server::Server};
use copies::Copies;

/// A buffer is handed on when it is this full: some 400 records, so that the threads which write it
/// wake up for many at a time.
const FULL: usize = 128 * 1024;
/// Buffers that may wait for the disk.
const QUEUE: usize = 32;
/// The file is renamed to `access.log.1` when it is this large.
const ROTATE: Rotate = Rotate { size: 256 << 20, keep: 1 };

/// The workers' end of the log.
pub type Recorder = log::Recorder<AccessLog>;

/// What stands for the method of a connection in mode tcp.
pub const TCP: &str = "TCP";

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub id: uuid::Uuid,
    pub client: &'a str,
    pub frontend: &'a str,
    pub method: &'a str,
    pub target: &'a str,
    /// What the client got; 0: nothing.
    pub status: u16,
    /// Body bytes to the client; both directions for a tunnel.
    pub bytes: u64,
    /// From the request's head to the end.
    pub took: Duration,
    /// Who answered; empty: the balancer itself.
    pub server: &'a str,
    /// How many servers were asked.
    pub attempts: u32,
    /// What went wrong, if anything.
    pub error: Option<Error>,
    pub details: Details<'a>,
}

/// What HAProxy's format has besides.
#[derive(Clone, Copy, Default)]
pub struct Details<'a> {
    /// The client's port.
    pub port: u16,
    /// Empty: it came to none.
    pub backend: &'a str,
    /// Of the request.
    pub protocol: Protocol,
    pub timers: Timers,
    /// Where it came in, for how many connections there are now.
    pub frontend: Option<&'a Frontend>,
    /// Who answered, for how much it carries now.
    pub server: Option<&'a Server>,
}

/// In which a client has asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Protocol {
    /// Of a request that has come in this version of HTTP/1, or is a stream of HTTP/2.
    #[must_use]
    pub const fn of(version: Version, http2: bool) -> Self {
        match version {
            _ if http2 => Self::Http2,
            Version::Http10 => Self::Http10,
            Version::Http11 => Self::Http11,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2.0",
        }
    }
}

impl fmt::Debug for Details<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Details").field("backend", &self.backend).finish_non_exhaustive()
    }
}

/// How long the steps of the last attempt took, as far as they were reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// From the first byte of its head to the last, where that came in pieces.
    pub head: Duration,
    /// In the queue of the backend, if there was one.
    pub queue: Option<Duration>,
    /// How many waited there before it.
    pub ahead: u32,
    /// Until there was a connection: nothing for a pooled one.
    pub connect: Option<Duration>,
    /// From then to the head of the answer.
    pub answer: Option<Duration>,
}

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The balancer has answered itself, with this error type of Proxy-Status (RFC 9209).
    Answered(ErrorType),
    /// The connection did not begin with the PROXY header that it has to begin with.
    ProxyHeader,
    /// The TLS handshake has failed.
    Handshake,
    /// The client sent many frames of HTTP/2 that ask for nothing.
    Flood,
    /// The client sent or took nothing for too long.
    ClientTimeout,
    /// The client went away, or sent something malformed.
    ClientAborted,
    /// The response broke off because its server died.
    ResponseCut,
    /// The response broke off, and its server lives.
    ResponseIncomplete,
    /// Nothing moved in the tunnel for too long.
    TunnelIdle,
    /// The tunnel broke off because its server died.
    TunnelCut,
    /// The tunnel broke off, and its server lives.
    TunnelBroken,
    /// An operator had what was under way at its server end.
    CutByOperator,
}

impl Error {
    /// The word that the record has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(error) => error.as_str(),
            Self::ProxyHeader => "proxy_header_error",
            Self::Handshake => "tls_handshake_error",
            Self::Flood => "http2_flood",
            Self::ClientTimeout => "client_timeout",
            Self::ClientAborted => "client_aborted",
            Self::ResponseCut => "response_cut",
            Self::ResponseIncomplete => "response_incomplete",
            Self::TunnelIdle => "tunnel_idle",
            Self::TunnelCut => "tunnel_cut",
            Self::TunnelBroken => "tunnel_broken",
            Self::CutByOperator => "cut_by_operator",
        }
    }
}

impl Record<'_> {
    /// Exports its span, which has ended just now.
    pub(crate) fn trace(&self, trace: &Trace, tracer: &Tracer) {
        let request = span::Request {
            id: self.id,
            method: self.method,
            target: self.target,
            client: self.client.parse().ok(),
            status: self.status,
            error: self.error.map_or("", Error::as_str),
            bytes: self.bytes,
            ended: relay::clock::exact_wall(),
            took: self.took,
        };
        let frontend = KeyValue::new("shoal.frontend", self.frontend.to_owned());
        let attempts = KeyValue::new("shoal.attempts", i64::from(self.attempts));
        let server = (!self.server.is_empty())
            .then(|| KeyValue::new("shoal.server", self.server.to_owned()));
        tracer.end(trace, &request, [frontend, attempts].into_iter().chain(server));
    }

    /// Appends the line. By hand, as a formatter takes longer over it than the relay does over both
    /// heads.
    fn write(&self, out: &mut Vec<u8>, time: &str) {
        let mut id = uuid::Uuid::encode_buffer();
        // These two are of our own making.
        out.extend_from_slice(br#"{"time":""#);
        out.extend_from_slice(time.as_bytes());
        out.extend_from_slice(br#"","id":""#);
        out.extend_from_slice(self.id.hyphenated().encode_lower(&mut id).as_bytes());
        text(out, br#"","client":""#, self.client);
        text(out, br#"","frontend":""#, self.frontend);
        text(out, br#"","method":""#, self.method);
        text(out, br#"","target":""#, self.target);
        number(out, br#"","status":"#, u64::from(self.status));
        number(out, br#","bytes":"#, self.bytes);
        number(out, br#","ms":"#, u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX));
        text(out, br#","server":""#, self.server);
        number(out, br#"","attempts":"#, u64::from(self.attempts));
        text(out, br#","error":""#, self.error.map_or("", Error::as_str));
        out.extend_from_slice(b"\"}\n");
    }
}

fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    push_decimal(out, value);
}

/// Appends text inside a JSON string.
fn text(out: &mut Vec<u8>, before: &[u8], text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    out.extend_from_slice(before);
    let mut rest = text.as_bytes();
    if is_plain_in_json(rest) {
        return out.extend_from_slice(rest);
    }
    while let Some(at) = rest.iter().position(special) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// One worker's end of the queue.
pub struct Journal {
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    recorder: Recorder,
    /// The time as text. The clock is asked once a flush, not once a request: the file's times are
    /// exact to 50 ms.
    now: RefCell<String>,
    copies: RefCell<Copies>,
}

impl Journal {
    /// An empty one.
    #[must_use]
    pub fn new(recorder: Recorder) -> Self {
        let mut copies = Copies::new();
        copies.hand_on(&recorder.log().targets);
        Self {
            lines: RefCell::default(),
            count: Cell::new(0),
            recorder,
            now: RefCell::new(chassis::Clock::system().now().to_string()),
            copies: RefCell::new(copies),
        }
    }

    /// Adds a record.
    pub fn add(&self, record: &Record<'_>) {
        let full = {
            let mut lines = self.lines.borrow_mut();
            let begin = lines.len();
            record.write(&mut lines, &self.now.borrow());
            let mut copies = self.copies.borrow_mut();
            if copies.are_wanted() {
                copies.add(record, &lines[begin..]);
            }
            lines.len() >= FULL
        };
        self.count.set(self.count.get() + 1);
        if full {
            self.flush();
        }
    }

    /// Hands on what is there.
    pub fn flush(&self) {
        *self.now.borrow_mut() = chassis::Clock::system().now().to_string();
        self.copies.borrow_mut().hand_on(&self.recorder.log().targets);
        let mut lines = self.lines.borrow_mut();
        if lines.is_empty() {
            return;
        }
        let count = self.count.replace(0);
        // The next one will be about as large: growing to that size again would copy every line
        // several times. What idles holds little.
        let room = (lines.len() + lines.len() / 4).min(FULL + FULL / 4);
        let bytes = std::mem::replace(&mut *lines, Vec::with_capacity(room));
        self.recorder.record(Lines { bytes, count });
    }
}

/// A worker that ends hands on its last lines, those of the last 50 ms.
impl Drop for Journal {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The file, and what is kept of it.
#[derive(Debug)]
pub struct AccessLog {
    /// Where copies go.
    pub targets: Targets,
}

impl Log for AccessLog {
    type Records = Lines;

    fn count(lines: &Lines) -> u64 {
        lines.count
    }

    fn write(&self, written: &Lines, lines: &mut Vec<u8>) {
        lines.extend_from_slice(&written.bytes);
    }

    fn keep<'l>(&self, _: impl Iterator<Item = Lines>, lines: &'l [u8]) -> Cow<'l, [u8]> {
        Cow::Borrowed(lines)
    }
}

/// Starts the thread that writes the log of the balancer of that name.
///
/// # Errors
/// It cannot be made.
pub fn start(path: PathBuf, name: &str) -> io::Result<(Recorder, JoinHandle<()>)> {
    log::start(AccessLog { targets: Targets::new(name) }, path, QUEUE, ROTATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_was_asked_for() {
        let record = Record {
            id: uuid::Uuid::nil(),
            client: "127.0.0.1",
            frontend: "f",
            method: "GET",
            target: "http://x/\"\\\u{1}é",
            status: 200,
            bytes: 5,
            took: Duration::from_millis(7),
            server: "node-1",
            attempts: 2,
            error: None,
            details: Details::default(),
        };
        let mut line = Vec::new();
        record.write(&mut line, "1970-01-01T00:00:00Z");
        let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        assert_eq!(value["target"], "http://x/\"\\\u{1}é");
        assert_eq!((value["status"].as_u64(), value["ms"].as_u64()), (Some(200), Some(7)));
    }
}

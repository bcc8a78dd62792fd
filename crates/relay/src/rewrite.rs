//! Writes the head that the next hop gets, straight into the buffer that is sent.
//!
//! Fields keep their order and spelling: neighbours that stay are copied in one stretch. What is
//! replaced (Host, the framing fields) is replaced where it stood, in the one spelling that every
//! parser reads alike; what is added comes last.

mod copy;

use std::net::IpAddr;

use crate::field::{Field, FieldSet};
use crate::framing::BodyFraming;
use crate::head::{Lines, Request, Response, Version};
use crate::method::Method;
use crate::octets;
use crate::target::Target;

/// The form of an outgoing request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineForm {
    /// The target as received: to another proxy.
    AsReceived,
    /// Path and query only: to an origin (RFC 9112 §3.2.1). CONNECT keeps its authority.
    Origin,
}

/// How the outgoing body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFields {
    /// As the message says: the body is relayed as it is. Of a response without body (HEAD, 304)
    /// the announced length stays.
    AsReceived,
    /// Framed anew: decoded, replaced or dropped on the way.
    Set(BodyFraming),
}

/// What an outgoing Connection field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing: HTTP/1.1 stays open by itself.
    Implied,
    /// `close`.
    Close,
    /// `keep-alive`: for a client of version 1.0 that asked for it.
    KeepAlive,
}

impl Persistence {
    /// What a client of this version has to be told.
    pub const fn of(stays: bool, client: Version) -> Self {
        match (stays, client) {
            (false, _) => Self::Close,
            (true, Version::Http10) => Self::KeepAlive,
            (true, Version::Http11) => Self::Implied,
        }
    }
}

/// A part of a field's value.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// As it is; characters that no value may hold become spaces.
    Text(&'a [u8]),
    /// In decimal.
    Number(i64),
}

/// A head being written. Always ends with [`HeadWriter::finish`].
#[must_use]
#[derive(Debug)]
pub struct HeadWriter<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> HeadWriter<'o> {
    /// Begins a request with `request`'s method and target and the version 1.1, and copies its
    /// fields, except `drop` and what its Connection nominates. Host says what the target says,
    /// wherever the target says something.
    pub fn request(
        out: &'o mut Vec<u8>,
        request: Request<'_>,
        form: LineForm,
        drop: FieldSet,
        body: BodyFields,
    ) -> Self {
        Self::request_without(out, request, form, (drop, &[]), body)
    }

    /// As [`request`](Self::request), without fields of further names, which no [`Field`] is
    /// called.
    pub fn request_without(
        out: &'o mut Vec<u8>,
        request: Request<'_>,
        form: LineForm,
        (drop, others): (FieldSet, &[Box<[u8]>]),
        body: BodyFields,
    ) -> Self {
        out.reserve(request.bytes().len() + 256);
        out.extend_from_slice(request.method_bytes());
        out.push(b' ');
        push_target(out, request, form);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let plain = if request.has_odd_authority() {
            request.authority().map(|authority| authority.plainly())
        } else {
            None
        };
        let host = plain.as_deref().map(str::as_bytes);
        let host = host.or_else(|| request.target_authority_bytes());
        let framing = match body {
            BodyFields::AsReceived => request.framing(),
            BodyFields::Set(framing) => framing,
        };
        let drop = if expects_in_vain(request) { drop.with(Field::Expect) } else { drop };
        let mut writer = Self { out };
        if !request.lines().has(Field::Host) {
            writer.field("Host", host.unwrap_or_default());
        }
        writer.copy(request.lines(), (drop, others), host, framing);
        writer
    }

    /// Begins a response with `response`'s status and the version 1.1, and copies its fields,
    /// except `drop` and what its Connection nominates.
    pub fn response(
        out: &'o mut Vec<u8>,
        response: Response<'_>,
        drop: FieldSet,
        body: BodyFields,
    ) -> Self {
        Self::response_without(out, response, (drop, &[]), body)
    }

    /// As [`response`](Self::response), without fields of further names, which no [`Field`] is
    /// called.
    pub fn response_without(
        out: &'o mut Vec<u8>,
        response: Response<'_>,
        (drop, others): (FieldSet, &[Box<[u8]>]),
        body: BodyFields,
    ) -> Self {
        out.reserve(response.bytes().len() + 256);
        push_status(out, response.status());
        out.extend_from_slice(response.reason());
        out.extend_from_slice(b"\r\n");
        let framing = match body {
            // RFC 9110 §8.6 and RFC 9112 §6.1: no framing fields in these.
            BodyFields::AsReceived if matches!(response.status(), 100..=199 | 204) => {
                BodyFraming::Empty
            }
            // Method GET: the announced length, whether or not a body follows.
            BodyFields::AsReceived => response.head().declared_framing(),
            BodyFields::Set(framing) => framing,
        };
        let mut writer = Self { out };
        writer.copy(response.lines(), (drop, others), None, framing);
        writer
    }

    /// Begins a response of our own. See also [`crate::respond`].
    pub fn status(out: &'o mut Vec<u8>, status: u16, reason: &str) -> Self {
        push_status(out, status);
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out }
    }

    /// Goes on with a head that was begun earlier: a stored one, whose status line and fields (each
    /// with its CRLF) are in `out`.
    pub fn resume(out: &'o mut Vec<u8>) -> Self {
        Self { out }
    }

    /// The framing field that announces `framing`, if it has one.
    fn framing(&mut self, framing: BodyFraming) {
        match framing {
            BodyFraming::Length(length) => self.number("Content-Length", length),
            BodyFraming::Chunked => self.field("Transfer-Encoding", b"chunked"),
            BodyFraming::Empty | BodyFraming::UntilClose => {}
        }
    }

    /// Adds a field. Characters that no value may hold become spaces, so that no value ever becomes
    /// a second field.
    pub fn field(&mut self, name: &str, value: &[u8]) {
        debug_assert!(crate::head::lines::is_token(name.as_bytes()), "{name:?} is no field name");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        push_text(self.out, value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds a field whose value is a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        push_decimal(self.out, value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds a field whose value is put together of pieces, without a buffer of its own.
    pub fn pieces(&mut self, name: &str, pieces: &[Piece<'_>]) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        for piece in pieces {
            match *piece {
                Piece::Text(text) => push_text(self.out, text),
                Piece::Number(number) => {
                    if number < 0 {
                        self.out.push(b'-');
                    }
                    push_decimal(self.out, number.unsigned_abs());
                }
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds our entry to Via (RFC 9110 §7.6.3): the version that we received, and our pseudonym.
    /// Entries before ours were copied.
    pub fn via(&mut self, received: Version, pseudonym: &str) {
        let received = match received {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
        };
        self.via_as(received, pseudonym);
    }

    /// As [`via`](Self::via), of a message that has come in another version of HTTP.
    pub fn via_as(&mut self, received: &str, pseudonym: &str) {
        self.out.extend_from_slice(b"Via: ");
        self.out.extend_from_slice(received.as_bytes());
        self.out.push(b' ');
        push_text(self.out, pseudonym.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds X-Forwarded-For, which must be in the set of dropped fields: `client` alone, or behind
    /// what `believed` already lists, as one line (some readers look at the first line only, some
    /// at the last).
    pub fn forwarded_for(&mut self, believed: Option<Lines<'_>>, client: &str) {
        self.out.extend_from_slice(b"X-Forwarded-For: ");
        for value in believed
            .iter()
            .flat_map(|lines| lines.all(Field::XForwardedFor))
            .filter(|value| !value.is_empty())
        {
            self.out.extend_from_slice(value);
            self.out.extend_from_slice(b", ");
        }
        push_text(self.out, client.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds Upgrade, and Connection that nominates it: the next hop is asked for another protocol,
    /// or told that it is spoken from here on.
    pub fn upgrade(&mut self, protocol: &[u8]) {
        self.out.extend_from_slice(b"Connection: upgrade\r\n");
        self.field("Upgrade", protocol);
    }

    /// Adds Forwarded (RFC 7239), which must be in the set of dropped fields: `client` alone, or
    /// behind what `believed` already lists, as one line. None: a client that has no address.
    pub fn forwarded(
        &mut self,
        believed: Option<Lines<'_>>,
        client: Option<IpAddr>,
        proto: Option<&str>,
    ) {
        self.out.extend_from_slice(b"Forwarded: ");
        for value in believed
            .iter()
            .flat_map(|lines| lines.all(Field::Forwarded))
            .filter(|value| !value.is_empty())
        {
            self.out.extend_from_slice(value);
            self.out.extend_from_slice(b", ");
        }
        let element = match client {
            Some(IpAddr::V4(address)) => format!("for={address}"),
            Some(IpAddr::V6(address)) => format!("for=\"[{address}]\""),
            None => "for=unknown".to_owned(),
        };
        self.out.extend_from_slice(element.as_bytes());
        if let Some(proto) = proto {
            self.out.extend_from_slice(b";proto=");
            self.out.extend_from_slice(proto.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Adds Connection, if there is something to say.
    pub fn connection(&mut self, persistence: Persistence) {
        self.out.extend_from_slice(match persistence {
            Persistence::Implied => b"",
            Persistence::Close => b"Connection: close\r\n".as_slice(),
            Persistence::KeepAlive => b"Connection: keep-alive\r\n",
        });
    }

    /// Ends the head.
    pub fn finish(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// A 1.0 client must not be sent a 100, and without a body there is nothing to go on with (RFC 9110
/// §10.1.1); upstream, who is told 1.1, could not know.
fn expects_in_vain(request: Request<'_>) -> bool {
    request.lines().has(Field::Expect)
        && !request.head().expects_continue()
        && (request.version() == Version::Http10 || request.framing().is_empty())
}

fn push_target(out: &mut Vec<u8>, request: Request<'_>, form: LineForm) {
    let path = match (form, request.method()) {
        // An authority stays, and is all that there is.
        (LineForm::AsReceived, _) | (_, Method::Connect) => None,
        (LineForm::Origin, _) => match request.target() {
            Target::Absolute { path, .. } => Some(path),
            _ => None,
        },
    };
    match path {
        Some(path) => {
            // RFC 9112 §3.2.4: the last proxy turns OPTIONS without a path into OPTIONS for the
            // whole server.
            if path.is_empty() && request.method() == Method::Options {
                out.push(b'*');
            } else if !path.starts_with('/') {
                out.push(b'/');
            }
            out.extend_from_slice(path.as_bytes());
        }
        _ => push_whole_target(out, request),
    }
}

/// The target as received, but for a port that is not in the plain spelling.
fn push_whole_target(out: &mut Vec<u8>, request: Request<'_>) {
    let around = if request.has_odd_authority() { request.around_authority() } else { None };
    match around.zip(request.authority()) {
        Some(((before, after), authority)) => {
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(authority.plainly().as_bytes());
            out.extend_from_slice(after.as_bytes());
        }
        None => out.extend_from_slice(request.target_bytes()),
    }
}

fn push_status(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..=999).contains(&status));
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, u64::from(status));
    out.push(b' ');
}

/// Text that may stand in a field value; anything else becomes a space.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &[u8]) {
    let at = out.len();
    out.extend_from_slice(text);
    if octets::has_no_controls(text) {
        return;
    }
    // Without a branch for each byte the loop becomes vector instructions.
    for byte in &mut out[at..] {
        *byte = if crate::head::lines::is_text(*byte) { *byte } else { b' ' };
    }
}

/// Appends a number in decimal.
pub fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

//! Answers of our own: status line, a few fields and a body, written into the buffer that is sent.

use std::time::SystemTime;

use crate::date::http_date;
use crate::rewrite::{HeadWriter, Persistence};

/// A response that no upstream sent.
#[derive(Debug, Clone, Copy)]
pub struct Canned<'a> {
    /// The status, 200 or more.
    pub status: u16,
    /// The time of the Date field.
    pub now: SystemTime,
    /// Content-Type of the body; left out if empty.
    pub content_type: &'a str,
    /// Further fields, in order (Proxy-Status, Shoal-Request-Id, …). No framing fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// What becomes of the connection.
    pub persistence: Persistence,
}

impl Canned<'_> {
    /// Appends head and body.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_head(out);
        if !self.is_bodiless() {
            out.extend_from_slice(self.body);
        }
    }

    /// Appends the head only: the answer to HEAD, which announces the length all the same.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        let mut head = HeadWriter::status(out, self.status, reason(self.status));
        head.field("Date", &http_date(self.now));
        for (name, value) in self.fields {
            head.field(name, value.as_bytes());
        }
        if !self.is_bodiless() {
            if !self.content_type.is_empty() {
                head.field("Content-Type", self.content_type.as_bytes());
            }
            head.number("Content-Length", self.body.len() as u64);
        }
        head.connection(self.persistence);
        head.finish();
    }

    fn is_bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }
}

/// Asks the client to go on with its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The 2xx that turns a connection into a tunnel: no framing fields (RFC 9110 §9.3.6).
pub fn write_established(out: &mut Vec<u8>, fields: &[(&str, &str)]) {
    let mut head = HeadWriter::status(out, 200, "Connection established");
    for (name, value) in fields {
        head.field(name, value.as_bytes());
    }
    head.finish();
}

/// The usual reason phrase; empty for a code without one.
pub fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::framing::BodyFraming;
    use crate::head::{Limits, Progress, ResponseHead};
    use crate::method::Method;

    #[test]
    fn parses_back() {
        let canned = Canned {
            status: 503,
            now: UNIX_EPOCH,
            content_type: "text/plain",
            fields: &[("Proxy-Status", "node-1; error=x"), ("X", "a\r\nInjected: b")],
            body: b"sorry\n",
            persistence: Persistence::Close,
        };
        let mut out = Vec::new();
        canned.write(&mut out);
        let mut head = ResponseHead::new();
        assert_eq!(head.parse(&out, &Limits::default()), Ok(Progress::Complete(out.len() - 6)));
        assert_eq!((head.status(), head.persistent(Method::Get)), (503, false));
        assert_eq!(head.framing(Method::Get), BodyFraming::Length(6));
        let view = head.view(&out);
        assert_eq!(view.reason(), b"Service Unavailable");
        assert_eq!(view.lines().named("x").next(), Some(&b"a  Injected: b"[..]));
        assert!(out.ends_with(b"\r\n\r\nsorry\n"));
    }

    #[test]
    fn no_body_where_none_may_be() {
        let canned = Canned {
            status: 204,
            now: UNIX_EPOCH,
            content_type: "a/b",
            fields: &[],
            body: b"x",
            persistence: Persistence::Implied,
        };
        let mut out = Vec::new();
        canned.write(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
        );
    }
}

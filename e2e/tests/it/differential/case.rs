//! What the tables are made of. In all bytes `{o}` stands for the authority of the case's own
//! origin, `{h}` and `{p}` for its host and port.

use super::{message::Message, origin::Then};

/// One request, and what may become of it.
pub struct Case {
    /// Which class of attack.
    pub class: &'static str,
    /// What is tried.
    pub name: String,
    /// As sent.
    pub bytes: Vec<u8>,
    /// What has to come of it.
    pub expect: Expect,
}

/// The one thing that may happen.
pub enum Expect {
    /// A status of these, the connection is closed, the origin sees not a byte.
    Refused(&'static [u16]),
    /// Refused in the middle of its body: the origin never sees a whole request.
    Cut,
    /// Answered on the way: the origin sees not a byte.
    Local(&'static [u16]),
    /// These requests arrive, and nothing else.
    Forwarded(Vec<Meaning>),
    /// These arrive; what follows them is refused with a status of these, and the connection
    /// closed.
    Then(Vec<Meaning>, &'static [u16]),
}

/// What a request means to its origin.
#[derive(Clone, Debug, Default)]
pub struct Meaning {
    pub method: &'static str,
    pub target: &'static str,
    pub body: Vec<u8>,
    /// Fields that arrive once, with exactly this value.
    pub has: Vec<(&'static str, &'static str)>,
    /// Fields that do not arrive.
    pub lacks: Vec<&'static str>,
    /// Trailer fields.
    pub trailers: Vec<(&'static str, &'static str)>,
}

impl Meaning {
    pub fn of(method: &'static str, target: &'static str) -> Self {
        Self { method, target, ..Self::default() }
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn has(mut self, name: &'static str, value: &'static str) -> Self {
        self.has.push((name, value));
        self
    }

    pub fn lacks(mut self, name: &'static str) -> Self {
        self.lacks.push(name);
        self
    }

    pub fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }

    /// What is wrong with a request that should mean this.
    pub fn differs(&self, got: &Message) -> Option<String> {
        let line = format!("{} {} HTTP/1.1", self.method, self.target);
        if got.line != line {
            return Some(format!("{:?} instead of {line:?}", got.line));
        }
        if got.body != self.body {
            return Some(format!("body {:?}", got.text()));
        }
        let trailers: Vec<_> =
            got.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if trailers != self.trailers {
            return Some(format!("trailers {trailers:?}"));
        }
        let wrong = self.has.iter().find(|(name, value)| got.only(name) != Some(value));
        if let Some((name, value)) = wrong {
            return Some(format!("{name}: {:?} instead of {value:?}", got.all(name)));
        }
        let there = self.lacks.iter().find(|name| !got.all(name).is_empty())?;
        Some(format!("{there}: {:?} arrived", got.all(there)))
    }
}

/// One answer of an origin, and what may become of it.
pub struct Reply {
    /// Which class of attack.
    pub class: &'static str,
    /// What is tried.
    pub name: String,
    /// The methods of the requests that it answers.
    pub methods: &'static [&'static str],
    /// As sent by the origin.
    pub bytes: Vec<u8>,
    /// What the origin then does.
    pub then: Then,
    /// What has to come of it.
    pub expect: Gets,
}

/// What the client gets.
pub enum Gets {
    /// 502 of the proxy's own.
    Refused,
    /// 502, or an answer that is visibly not whole.
    Cut,
    /// This.
    Answer(Reading),
}

/// What an answer means to the client.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub status: u16,
    pub body: Vec<u8>,
    pub has: Vec<(&'static str, &'static str)>,
    pub lacks: Vec<&'static str>,
}

impl Reading {
    pub fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn has(mut self, name: &'static str, value: &'static str) -> Self {
        self.has.push((name, value));
        self
    }

    pub fn lacks(mut self, name: &'static str) -> Self {
        self.lacks.push(name);
        self
    }

    /// What is wrong with an answer that should mean this.
    pub fn differs(&self, got: &Message, method: &str) -> Option<String> {
        if got.status() != self.status {
            return Some(format!("{:?} instead of {}: {:?}", got.line, self.status, got.text()));
        }
        if method != "HEAD" && got.body != self.body {
            return Some(format!("body {:?}", got.text()));
        }
        if let Some((name, value)) =
            self.has.iter().find(|(name, value)| got.only(name) != Some(value))
        {
            return Some(format!("{name}: {:?} instead of {value:?}", got.all(name)));
        }
        let there = self.lacks.iter().find(|name| !got.all(name).is_empty())?;
        Some(format!("{there}: {:?} came through", got.all(there)))
    }
}

/// Puts the origin's authority in place of `{o}`, its host in place of `{h}`, and its port in place
/// of `{p}`.
pub fn fill(bytes: &[u8], authority: &str) -> Vec<u8> {
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    replace(&replace(&replace(bytes, b"{o}", authority), b"{h}", host), b"{p}", port)
}

/// Puts `text` in place of every `mark`.
pub fn replace(bytes: &[u8], mark: &[u8], text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut rest = bytes;
    while let Some(at) = rest.windows(mark.len()).position(|window| window == mark) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(text.as_bytes());
        rest = &rest[at + mark.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// A POST to `/t` with these field lines and this body.
pub fn post(fields: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST http://{o}/t HTTP/1.1\r\nHost: {o}\r\n", fields.as_ref(), b"\r\n", body.as_ref()]
        .concat()
}

/// A GET of `/t` with these field lines.
pub fn get(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n", fields.as_ref(), b"\r\n"].concat()
}

/// A case that is refused.
pub fn refused(class: &'static str, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    case(class, bytes, Expect::Refused(statuses))
}

/// A case that is refused in its body.
pub fn cut(class: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    case(class, bytes, Expect::Cut)
}

/// A case that is answered on the way.
pub fn local(class: &'static str, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    case(class, bytes, Expect::Local(statuses))
}

/// A case that goes through as one request.
pub fn forwarded(class: &'static str, bytes: impl Into<Vec<u8>>, meaning: Meaning) -> Case {
    case(class, bytes, Expect::Forwarded(vec![meaning]))
}

/// A case, named by its bytes.
pub fn case(class: &'static str, bytes: impl Into<Vec<u8>>, expect: Expect) -> Case {
    let bytes = bytes.into();
    let name = bytes.escape_ascii().to_string();
    Case { class, name: name.chars().take(300).collect(), bytes, expect }
}

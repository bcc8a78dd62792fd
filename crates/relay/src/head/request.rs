//! The head of a request.

mod view;

use std::mem::MaybeUninit;

use crate::field::{Field, FieldSet};
use crate::framing::{self, BodyFraming};
use crate::head::fields::{Fields, Options};
use crate::head::lines::{Kind, Scan, is_target, is_token};
use crate::head::mend::mend;
use crate::head::{INLINE_FIELDS, Limits, Lines, MAX_FIELDS, Progress, Version};
use crate::malformed::Malformed;
use crate::method::Method;
use crate::target::{Authority, Parts, Target};

pub use view::Request;

/// The index of a request's head, reused from request to request. See [`crate::head`].
#[derive(Debug, Clone)]
pub struct RequestHead {
    scan: Scan,
    fields: Fields,
    line: RequestLine,
    options: Options,
    framing: BodyFraming,
    /// Its target, taken apart.
    target: Parts,
    expects_continue: bool,
    /// It asks for another protocol on its connection, in a way that goes on.
    upgrades: bool,
    /// The port of its authority is not in the plain spelling.
    odd_authority: bool,
    len: usize,
    /// The head in the plain spelling, where it came in another; the index is one of these bytes
    /// then.
    mended: Vec<u8>,
}

/// Where the parts of the request line are.
#[derive(Debug, Clone, Copy, Default)]
struct RequestLine {
    method: Method,
    method_at: u16,
    method_len: u16,
    target_at: u16,
    target_len: u16,
    /// The authority within the target; of no length when it names none.
    authority_at: u16,
    authority_len: u16,
    version: Version,
}

impl Default for RequestHead {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestHead {
    /// An empty index.
    pub const fn new() -> Self {
        Self {
            scan: Scan::new(),
            fields: Fields::new(),
            line: RequestLine {
                method: Method::Other,
                method_at: 0,
                method_len: 0,
                target_at: 0,
                target_len: 0,
                authority_at: 0,
                authority_len: 0,
                version: Version::Http11,
            },
            options: Options { close: false, keep_alive: false, upgrade: false },
            framing: BodyFraming::Empty,
            target: Parts::Asterisk,
            expects_continue: false,
            upgrades: false,
            odd_authority: false,
            len: 0,
            mended: Vec::new(),
        }
    }

    /// Looks for a complete head at the beginning of `bytes`. After [`Progress::NeedMore`] call
    /// again with the same bytes and more behind them (what was looked at is not looked at again);
    /// after anything else the next call starts a new head.
    ///
    /// One empty line before the request is skipped (RFC 9112 §2.2): old clients send one after a
    /// POST.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Malformed> {
        if self.scan.is_fresh() && self.tokenise(limits.window(bytes), limits).is_some() {
            return self.conclude(bytes);
        }
        match self.scan.advance(bytes, limits, Kind::Request) {
            Ok(None) => Ok(Progress::NeedMore),
            Ok(Some(len)) => {
                self.reset();
                if self.tokenise(&bytes[..len], limits).is_some() {
                    return self.conclude(bytes);
                }
                let mended = mend(&bytes[..len], Kind::Request);
                self.tokenise(&mended, limits).ok_or(Malformed::Syntax)?;
                let concluded = self.conclude(&mended);
                (self.len, self.mended) = (len, mended);
                concluded.map(|_| Progress::Complete(len))
            }
            Err(malformed) => {
                self.reset();
                Err(malformed)
            }
        }
    }

    /// Forgets a head that was begun.
    pub fn reset(&mut self) {
        self.scan = Scan::new();
    }

    /// Indexes a head that is complete and whose every line is right; `None` otherwise, without
    /// saying why.
    fn tokenise(&mut self, bytes: &[u8], limits: &Limits) -> Option<()> {
        self.mended.clear();
        let mut storage = [const { MaybeUninit::uninit() }; INLINE_FIELDS];
        match self.tokenise_within(bytes, limits, &mut storage) {
            Err(httparse::Error::TooManyHeaders) => self
                .tokenise_within(bytes, limits, &mut vec![MaybeUninit::uninit(); MAX_FIELDS])
                .ok()
                .flatten(),
            other => other.ok().flatten(),
        }
    }

    fn tokenise_within<'b>(
        &mut self,
        bytes: &'b [u8],
        limits: &Limits,
        storage: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Option<()>, httparse::Error> {
        let mut parsed = httparse::Request::new(&mut []);
        let httparse::Status::Complete(len) = parsed.parse_with_uninit_headers(bytes, storage)?
        else {
            return Ok(None);
        };
        Ok(self.index(&bytes[..len], &parsed, limits))
    }

    fn index(
        &mut self,
        head: &[u8],
        parsed: &httparse::Request<'_, '_>,
        limits: &Limits,
    ) -> Option<()> {
        let (method, target) = (parsed.method?, parsed.path?);
        let offset = |part: &str| part.as_ptr() as usize - head.as_ptr() as usize;
        // The tokeniser skips any number of empty lines, whatever ends them.
        match offset(method) {
            0 => {}
            2 if head.starts_with(b"\r\n") => {}
            _ => return None,
        }
        if target.len() > limits.target || !is_target(target.as_bytes()) {
            return None;
        }
        self.fields.index(head, parsed.headers, limits.fields)?;
        self.line = RequestLine {
            method: Method::from_text(method.as_bytes()),
            method_at: u16::try_from(offset(method)).ok()?,
            method_len: u16::try_from(method.len()).ok()?,
            target_at: u16::try_from(offset(target)).ok()?,
            target_len: u16::try_from(target.len()).ok()?,
            // Known once the target has been taken apart.
            authority_at: 0,
            authority_len: 0,
            version: if parsed.version? == 0 { Version::Http10 } else { Version::Http11 },
        };
        self.len = head.len();
        Some(())
    }

    /// The rules that need the whole head: target and method, Host, framing, Connection.
    fn conclude(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        let head = &bytes[..self.len];
        let (text, lines) = (self.line.target(head), Lines::new(&self.fields, head));
        let target = Target::parse(text, self.line.method)?;
        self.target = Parts::of(&target, text);
        self.odd_authority = !check_host(lines, &target, self.line.version)?;
        if let Some(authority) = target.authority() {
            // Both within the head, whose offsets were seen to fit.
            let at = authority.text.as_ptr() as usize - head.as_ptr() as usize;
            self.line.authority_at = u16::try_from(at).unwrap_or_default();
            self.line.authority_len = u16::try_from(authority.text.len()).unwrap_or_default();
        }
        self.framing = framing::of_request(
            framing::declared_by_request(lines, self.line.version)?,
            self.line.method,
        )?;
        self.expects_continue = self.line.version == Version::Http11
            && !self.framing.is_empty()
            && lines
                .get(Field::Expect)
                .is_some_and(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"));
        self.options = self.fields.read_connection(head)?;
        self.upgrades = self.options.upgrade && self.asks_for_protocol(head);
        Ok(Progress::Complete(self.len))
    }

    /// Whether Upgrade is one that is forwarded: of a GET without a body, to one protocol that is
    /// no HTTP. Another version of HTTP (h2c) would carry requests past everybody on the way, and
    /// TLS would be the next hop's, not ours.
    fn asks_for_protocol(&self, head: &[u8]) -> bool {
        let mut protocols = Lines::new(&self.fields, head).all(Field::Upgrade);
        let (Some(protocol), None) = (protocols.next(), protocols.next()) else { return false };
        let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
        let forbidden = [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other));
        let token = protocol.split(|byte| *byte == b'/').count() <= 2
            && protocol.split(|byte| *byte == b'/').all(is_token);
        token
            && !forbidden
            && self.line.method == Method::Get
            && self.line.version == Version::Http11
            && self.framing.is_empty()
    }

    /// Whether the target itself names whom the request is for: absolute form, or CONNECT's.
    pub fn names_authority(&self) -> bool {
        self.line.authority_len > 0
    }

    /// Whether the request asks for another protocol on its connection (a WebSocket), in a way that
    /// goes on from hop to hop.
    pub fn upgrades(&self) -> bool {
        self.upgrades
    }

    /// Bytes of the head, the empty line at its end (and one skipped before it) included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no head was ever completed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.line.method
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Where the body ends; never [`BodyFraming::UntilClose`].
    pub fn framing(&self) -> BodyFraming {
        self.framing
    }

    /// Whether the client may send another request on this connection (RFC 9112 §9.3): a 1.1 client
    /// unless it says close; a 1.0 client only if it asks, and only where we are its gateway, not
    /// its proxy (older proxies forward `Connection: keep-alive` blindly).
    pub fn persistent(&self) -> bool {
        match self.line.version {
            Version::Http11 => !self.options.close,
            Version::Http10 => {
                self.options.keep_alive && !self.options.close && self.target == Parts::Origin
            }
        }
    }

    /// Whether nothing can come after this head: the client has no body to send and has said that
    /// it is done (RFC 9112 §9.6: it must not send another request). Then its connection can be
    /// closed without waiting for it.
    pub fn is_last(&self) -> bool {
        !self.persistent() && self.framing.is_empty()
    }

    /// Whether the client waits for a 100 (Continue) before it sends the body that it announces.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether a known field is there.
    pub fn has(&self, field: Field) -> bool {
        self.fields.present().contains(field)
    }

    /// The known fields that are there.
    pub fn present(&self) -> FieldSet {
        self.fields.present()
    }

    /// Joins the index with the bytes that it was made from.
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        let bytes =
            if self.mended.is_empty() { &bytes[..self.len.min(bytes.len())] } else { &self.mended };
        Request { head: self, bytes }
    }
}

impl RequestLine {
    fn target<'a>(&self, head: &'a [u8]) -> &'a str {
        text(head, self.target_at, self.target_len)
    }

    fn target_bytes<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        part(head, self.target_at, self.target_len)
    }
}

/// A part of the request line: tokenised as ASCII.
fn text(head: &[u8], at: u16, len: u16) -> &str {
    std::str::from_utf8(part(head, at, len)).unwrap_or_default()
}

fn part(head: &[u8], at: u16, len: u16) -> &[u8] {
    let at = usize::from(at);
    head.get(at..at + usize::from(len)).unwrap_or_default()
}

/// RFC 9112 §3.2: exactly one Host in 1.1, at most one in 1.0, valid, and empty only where the
/// target has no authority to repeat. One that differs from the target's authority is not an error:
/// the target's replaces it (§3.2.2). CONNECT names the host itself, and some clients leave it at
/// that. Answers whether the authority that counts is in the plain spelling.
fn check_host(lines: Lines<'_>, target: &Target<'_>, version: Version) -> Result<bool, Malformed> {
    let named = target.authority();
    let plain = named.is_none_or(|authority| authority.is_plain());
    let mut hosts = lines.all(Field::Host);
    let Some(host) = hosts.next() else {
        let needed = version == Version::Http11 && !matches!(target, Target::Authority(_));
        return if needed { Err(Malformed::MissingHost) } else { Ok(plain) };
    };
    if hosts.next().is_some() {
        return Err(Malformed::SeveralHosts);
    }
    let same = named.is_some_and(|authority| authority.text.as_bytes() == host);
    if same || (host.is_empty() && *target == Target::Asterisk) {
        return Ok(plain);
    }
    let host =
        std::str::from_utf8(host).ok().and_then(Authority::parse).ok_or(Malformed::BadHost)?;
    Ok(plain && (named.is_some() || host.is_plain()))
}

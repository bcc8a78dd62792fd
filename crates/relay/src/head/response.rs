//! The head of a response.

use std::mem::MaybeUninit;

use crate::chunked::Dialect;
use crate::field::{Field, FieldSet};
use crate::framing::{self, BodyFraming, Declared};
use crate::head::fields::{Fields, Options};
use crate::head::lines::{Kind, Scan};
use crate::head::mend::mend;
use crate::head::{HeaderLine, INLINE_FIELDS, Limits, Lines, MAX_FIELDS, Progress, Version};
use crate::malformed::Malformed;
use crate::method::Method;

/// The index of a response's head, reused from response to response. See [`crate::head`].
#[derive(Debug, Clone)]
pub struct ResponseHead {
    scan: Scan,
    fields: Fields,
    status: u16,
    reason_at: u16,
    reason_len: u16,
    version: Version,
    options: Options,
    declared: Declared,
    /// It is written so that only one reading is left, but another recipient might have refused it:
    /// nothing follows it on its connection.
    sloppy: bool,
    dialect: Dialect,
    /// The request asked for another protocol: 101 may be the answer.
    may_switch: bool,
    len: usize,
    /// The head in the plain spelling, where it came in another; the index is one of these bytes
    /// then.
    mended: Vec<u8>,
}

impl Default for ResponseHead {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseHead {
    /// An empty index.
    pub const fn new() -> Self {
        Self {
            scan: Scan::new(),
            fields: Fields::new(),
            status: 0,
            reason_at: 0,
            reason_len: 0,
            version: Version::Http11,
            options: Options { close: false, keep_alive: false, upgrade: false },
            declared: Declared::Nothing,
            sloppy: false,
            dialect: Dialect::Response,
            may_switch: false,
            len: 0,
            mended: Vec::new(),
        }
    }

    /// Looks for a complete head at the beginning of `bytes`, like
    /// [`crate::head::RequestHead::parse`]; no empty line may precede it.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Malformed> {
        if self.scan.is_fresh() && self.tokenise(limits.window(bytes), limits).is_some() {
            return self.conclude(bytes, limits);
        }
        let kind = Kind::Response { relaxed: limits.relaxed };
        match self.scan.advance(bytes, limits, kind) {
            Ok(None) => Ok(Progress::NeedMore),
            Ok(Some(len)) => {
                let bare_lf = self.scan.has_bare_lf();
                self.reset();
                if self.tokenise(&bytes[..len], limits).is_some() {
                    return self.conclude(bytes, limits);
                }
                let mended = mend(&bytes[..len], kind);
                self.tokenise(&mended, limits).ok_or(Malformed::Syntax)?;
                let concluded = self.conclude(&mended, limits);
                // A later version alone is nothing odd.
                self.sloppy |= mended.get(8..) != bytes.get(8..len);
                if bare_lf {
                    self.dialect = Dialect::BareLf;
                }
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
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let httparse::Status::Complete(len) =
            config.parse_response_with_uninit_headers(&mut parsed, bytes, storage)?
        else {
            return Ok(None);
        };
        Ok(self.index(&bytes[..len], &parsed, limits))
    }

    fn index(
        &mut self,
        head: &[u8],
        parsed: &httparse::Response<'_, '_>,
        limits: &Limits,
    ) -> Option<()> {
        // The tokeniser skips empty lines, and hides a reason phrase that has bytes beyond ASCII:
        // so the line is read here.
        let line_end = head.iter().position(|byte| *byte == b'\r')?;
        let code = parsed.code?;
        if !head.starts_with(b"HTTP/1.")
            || !matches!(head.get(12), Some(b' ' | b'\r'))
            || code < 100
        {
            return None;
        }
        self.fields.index(head, parsed.headers, limits.fields)?;
        self.reason_at = u16::try_from(line_end.min(13)).ok()?;
        self.reason_len = u16::try_from(line_end - usize::from(self.reason_at)).ok()?;
        self.status = code;
        self.version = if parsed.version? == 0 { Version::Http10 } else { Version::Http11 };
        self.len = head.len();
        Some(())
    }

    /// The rules that need the whole head.
    fn conclude(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Malformed> {
        let head = &bytes[..self.len];
        if self.status == 101 && !self.may_switch {
            return Err(Malformed::SwitchingProtocols);
        }
        let stated = framing::declared_by_response(
            Lines::new(&self.fields, head),
            self.version,
            self.status,
            limits.relaxed,
        )?;
        (self.declared, self.sloppy) = (stated.declared, !stated.plainly);
        self.dialect = if limits.relaxed { Dialect::Relaxed } else { Dialect::Response };
        self.options = self.fields.read_connection(head)?;
        Ok(Progress::Complete(self.len))
    }

    /// Bytes of the head, the empty line at its end included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no head was ever completed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether 101 may be the answer to the request: unasked, nobody switches protocols. Stays so
    /// until it is said otherwise.
    pub fn set_may_switch(&mut self, may_switch: bool) {
        self.may_switch = may_switch;
    }

    /// How the chunks of the body may be written.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether nothing may follow on the connection, as the sender's next message could begin
    /// elsewhere than we think.
    pub fn is_sloppy(&self) -> bool {
        self.sloppy
    }

    /// The status code, 100 to 999; 101 only where it [may be](Self::set_may_switch).
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether another response follows for the same request.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where the body ends, if this answers a request with that method (RFC 9112 §6.3).
    pub fn framing(&self, request: Method) -> BodyFraming {
        framing::of_response(self.declared, self.status, request)
    }

    /// The framing that the fields announce, whether or not a body follows (after HEAD none does).
    pub(crate) fn declared_framing(&self) -> BodyFraming {
        framing::of_response(self.declared, 200, Method::Get)
    }

    /// Whether the connection can carry another exchange after this one (RFC 9112 §9.3).
    pub fn persistent(&self, request: Method) -> bool {
        let asked = match self.version {
            Version::Http11 => !self.options.close,
            Version::Http10 => self.options.keep_alive && !self.options.close,
        };
        let tunnel = request == Method::Connect && matches!(self.status, 200..=299);
        asked && !tunnel && !self.sloppy && self.framing(request) != BodyFraming::UntilClose
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
    pub fn view<'a>(&'a self, bytes: &'a [u8]) -> Response<'a> {
        let bytes =
            if self.mended.is_empty() { &bytes[..self.len.min(bytes.len())] } else { &self.mended };
        Response { head: self, bytes }
    }
}

/// A response's head and its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    head: &'a ResponseHead,
    bytes: &'a [u8],
}

impl<'a> Response<'a> {
    /// The status code.
    pub fn status(self) -> u16 {
        self.head.status
    }

    /// Whether it switches to the protocol that was asked for, and to no other.
    pub fn switches_to(self, protocol: &[u8]) -> bool {
        let mut protocols = self.values(Field::Upgrade);
        self.status() == 101
            && protocols.next().is_some_and(|it| it.eq_ignore_ascii_case(protocol))
            && protocols.next().is_none()
    }

    /// The reason phrase as received; often empty.
    pub fn reason(self) -> &'a [u8] {
        let at = usize::from(self.head.reason_at);
        self.bytes.get(at..at + usize::from(self.head.reason_len)).unwrap_or_default()
    }

    /// The version.
    pub fn version(self) -> Version {
        self.head.version
    }

    /// The index behind this view.
    pub fn head(self) -> &'a ResponseHead {
        self.head
    }

    /// The bytes of the head.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The field lines, with look-up.
    pub fn lines(self) -> Lines<'a> {
        Lines::new(&self.head.fields, self.bytes)
    }

    /// Every field line, in order.
    pub fn fields(self) -> impl Iterator<Item = HeaderLine<'a>> {
        self.lines().iter()
    }

    /// The first value of a known field.
    pub fn value(self, field: Field) -> Option<&'a [u8]> {
        self.lines().get(field)
    }

    /// Every value of a known field.
    pub fn values(self, field: Field) -> impl Iterator<Item = &'a [u8]> {
        self.lines().all(field)
    }
}

//! The head of a response.

use std::mem::MaybeUninit;

use crate::field::{Field, FieldSet};
use crate::framing::{self, BodyFraming, Declared};
use crate::head::fields::{Fields, Options};
use crate::head::lines::{Kind, Scan};
use crate::head::{HeaderLine, Limits, Lines, MAX_FIELDS, Progress, Version};
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
    len: usize,
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
            options: Options { close: false, keep_alive: false },
            declared: Declared::Nothing,
            len: 0,
        }
    }

    /// Looks for a complete head at the beginning of `bytes`, like [`crate::head::RequestHead::parse`]; no empty line may precede it.
    pub fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<Progress, Malformed> {
        if self.scan.is_fresh() && self.tokenise(limits.window(bytes), limits).is_some() {
            return self.conclude(bytes);
        }
        match self.scan.advance(bytes, limits, Kind::Response) {
            Ok(None) => Ok(Progress::NeedMore),
            Ok(Some(len)) => {
                self.reset();
                self.tokenise(&bytes[..len], limits).ok_or(Malformed::Syntax)?;
                self.conclude(bytes)
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

    /// Indexes a head that is complete and whose every line is right; `None` otherwise, without saying why.
    fn tokenise(&mut self, bytes: &[u8], limits: &Limits) -> Option<()> {
        let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let Ok(httparse::Status::Complete(len)) = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut storage) else {
            return None;
        };
        let head = &bytes[..len];
        // The tokeniser skips empty lines, and hides a reason phrase that has bytes beyond ASCII: so the line is read here.
        let line_end = head.iter().position(|byte| *byte == b'\r')?;
        let code = parsed.code?;
        if !head.starts_with(b"HTTP/1.") || !matches!(head.get(12), Some(b' ' | b'\r')) || code < 100 {
            return None;
        }
        self.fields.index(head, parsed.headers, limits.fields)?;
        self.reason_at = u16::try_from(line_end.min(13)).ok()?;
        self.reason_len = u16::try_from(line_end - usize::from(self.reason_at)).ok()?;
        self.status = code;
        self.version = if parsed.version? == 0 { Version::Http10 } else { Version::Http11 };
        self.len = len;
        Some(())
    }

    /// The rules that need the whole head.
    fn conclude(&mut self, bytes: &[u8]) -> Result<Progress, Malformed> {
        let head = &bytes[..self.len];
        if self.status == 101 {
            return Err(Malformed::SwitchingProtocols);
        }
        self.declared = framing::declared(Lines::new(&self.fields, head), self.version)?;
        framing::check_response(self.declared, self.status)?;
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

    /// The status code, 100 to 999, never 101.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether another response follows for the same request.
    pub fn is_interim(&self) -> bool {
        self.status < 200
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
        asked && !tunnel && self.framing(request) != BodyFraming::UntilClose
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
        Response { head: self, bytes: &bytes[..self.len.min(bytes.len())] }
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

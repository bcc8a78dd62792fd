//! The slow way through a head: line by line, each looked at once, when it is there in full. It
//! never accepts a head by itself (the tokeniser does that); it finds the end of a head that comes
//! in pieces, and the first line that is wrong, by name.

use crate::field::{Field, FieldSet};
use crate::head::Limits;
use crate::malformed::Malformed;

/// Which first line to expect, and how it and the others may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response { relaxed: bool },
}

impl Kind {
    fn is_relaxed(self) -> bool {
        self == Self::Response { relaxed: true }
    }
}

/// How far the lines of one head have been looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    /// Where the first line not yet complete begins.
    line_at: usize,
    /// Up to here there is no LF that has not been dealt with.
    searched: usize,
    /// Lines seen, the first line included, a skipped empty one not.
    lines: usize,
    skipped_empty: bool,
    /// The lines behind the first end with LF alone; unknown before there is one.
    bare_lf: Option<bool>,
    /// The last line is of a field that may go on in the next one.
    foldable: bool,
}

impl Scan {
    pub(crate) const fn new() -> Self {
        Self {
            line_at: 0,
            searched: 0,
            lines: 0,
            skipped_empty: false,
            bare_lf: None,

            foldable: false,
        }
    }

    /// Whether nothing has been looked at.
    pub(crate) fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Whether the lines of a complete head end with LF alone.
    pub(crate) fn has_bare_lf(&self) -> bool {
        self.bare_lf == Some(true)
    }

    /// Goes on where it stopped. The head's length when its empty line is there.
    pub(crate) fn advance(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        kind: Kind,
    ) -> Result<Option<usize>, Malformed> {
        let window = limits.window(bytes);
        while let Some(found) =
            window.get(self.searched..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let line_end = self.searched + found + 1;
            let line = self.complete_line(&window[self.line_at..line_end], kind)?;
            self.line_at = line_end;
            self.searched = line_end;
            if !line.is_empty() {
                self.check(line, limits, kind)?;
                self.lines += 1;
            } else if self.lines > 0 {
                return Ok(Some(line_end));
            } else if self.skipped_empty || kind != Kind::Request {
                return Err(Malformed::EmptyLine);
            } else {
                self.skipped_empty = true;
            }
        }
        self.searched = window.len();
        if window.len() < limits.head_limit() {
            return Ok(None);
        }
        Err(if self.lines == 0 && kind == Kind::Request {
            Malformed::TargetTooLong
        } else {
            Malformed::HeadTooLarge
        })
    }

    /// Strips its end from a line, and refuses what no line may contain. A server that ends lines
    /// with LF alone ends all fields so: a single LF among CRLFs is a field to one reader and a
    /// part of the one before to another.
    fn complete_line<'a>(&mut self, line: &'a [u8], kind: Kind) -> Result<&'a [u8], Malformed> {
        let (line, bare) = match line.strip_suffix(b"\r\n") {
            Some(line) => (line, false),
            None if kind.is_relaxed() => (&line[..line.len() - 1], true),
            None => return Err(Malformed::BareLf),
        };
        if self.lines > 0 && *self.bare_lf.get_or_insert(bare) != bare {
            return Err(Malformed::BareLf);
        }
        if line.contains(&b'\r') {
            return Err(Malformed::BareCr);
        }
        if line.contains(&0) && (self.lines == 0 || !kind.is_relaxed()) {
            return Err(Malformed::Nul);
        }
        Ok(line)
    }

    fn check(&mut self, line: &[u8], limits: &Limits, kind: Kind) -> Result<(), Malformed> {
        match (self.lines, kind) {
            (0, Kind::Request) => request_line(line, limits),
            (0, Kind::Response { .. }) => status_line(line),
            (lines, _) => {
                if !(self.foldable && is_continuation(line)) {
                    self.foldable = field_line(line, lines == 1, kind)? && kind.is_relaxed();
                }
                if lines > limits.fields.min(super::MAX_FIELDS) {
                    Err(Malformed::TooManyFields)
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn request_line(line: &[u8], limits: &Limits) -> Result<(), Malformed> {
    let mut parts = line.split(|byte| *byte == b' ');
    let method = parts.next().unwrap_or_default();
    let target = parts.next().ok_or(Malformed::RequestLine)?;
    if !is_token(method) {
        return Err(if method.is_empty() { Malformed::RequestLine } else { Malformed::Method });
    }
    if target.is_empty() {
        return Err(Malformed::RequestLine);
    }
    let version = parts.next().ok_or(Malformed::NoVersion)?;
    if parts.next().is_some() {
        return Err(Malformed::RequestLine);
    }
    if target.len() > limits.target {
        return Err(Malformed::TargetTooLong);
    }
    if target.iter().any(u8::is_ascii_control) {
        return Err(Malformed::ControlCharacter);
    }
    if !is_target(target) {
        return Err(Malformed::Target);
    }
    self::version(version)
}

fn status_line(line: &[u8]) -> Result<(), Malformed> {
    let (version, rest) = line.split_at_checked(8).ok_or(Malformed::StatusLine)?;
    self::version(version)?;
    let (code, reason) = rest
        .strip_prefix(b" ")
        .and_then(|rest| rest.split_at_checked(3))
        .ok_or(Malformed::StatusLine)?;
    if !code.iter().all(u8::is_ascii_digit) || code[0] == b'0' {
        return Err(Malformed::StatusCode);
    }
    // The space after the code is required, and left out by many when there is no reason phrase.
    match reason.split_first() {
        None => Ok(()),
        Some((b' ', reason)) => visible(reason),
        Some((byte, _)) if byte.is_ascii_digit() => Err(Malformed::StatusCode),
        Some(_) => Err(Malformed::StatusLine),
    }
}

/// `HTTP/1.` and a digit.
fn version(text: &[u8]) -> Result<(), Malformed> {
    match text {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => Ok(()),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(Malformed::Version)
        }
        _ => Err(Malformed::VersionSyntax),
    }
}

/// One field line, without its end: `token ":" value`. RFC 9112 §5.1: a blank before the colon is
/// refused in a request and removed from a response. Answers whether the field is about the content
/// alone: not about where the message or its connection ends.
fn field_line(line: &[u8], first: bool, kind: Kind) -> Result<bool, Malformed> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(if first { Malformed::LeadingWhitespace } else { Malformed::ObsFold });
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed::NoColon)?;
    let (mut name, value) = (&line[..colon], &line[colon + 1..]);
    if kind != Kind::Request {
        name = without_blanks_behind(name);
    }
    match name.last() {
        None => return Err(Malformed::EmptyFieldName),
        Some(b' ' | b'\t') => return Err(Malformed::SpaceBeforeColon),
        Some(_) if !is_token(name) => {
            return Err(if name.contains(&0) { Malformed::Nul } else { Malformed::FieldName });
        }
        Some(_) if name.len() > usize::from(u8::MAX) => return Err(Malformed::FieldNameTooLong),
        Some(_) => {}
    }
    // Where a message ends is not guessed from what somebody garbled.
    let field = Field::classify(name);
    let frames =
        matches!(field, Field::ContentLength | Field::TransferEncoding | Field::Connection);
    if frames || !kind.is_relaxed() {
        visible(value)?;
    }
    Ok(!frames && !OF_THE_CONNECTION.contains(field))
}

/// What is said of this connection, beside what frames: a reader that takes a folded line otherwise
/// would treat the connection otherwise.
const OF_THE_CONNECTION: FieldSet = FieldSet::of(&[
    Field::Trailer,
    Field::Upgrade,
    Field::KeepAlive,
    Field::ProxyConnection,
    Field::Te,
]);

/// A line that goes on with the value of the one before (RFC 9112 §5.2), and that nobody takes for
/// anything else: not for the empty line behind the fields, nor for a field of its own.
fn is_continuation(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let looks_like_a_field = text
        .iter()
        .position(|byte| *byte == b':')
        .is_some_and(|colon| is_token(without_blanks_behind(&text[..colon])));
    matches!(line.first(), Some(b' ' | b'\t'))
        && !matches!(text.first(), None | Some(b':'))
        && !looks_like_a_field
        && visible(text).is_ok()
}

fn without_blanks_behind(name: &[u8]) -> &[u8] {
    let blanks = name.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &name[..name.len() - blanks]
}

/// Field values and reason phrases: visible ASCII, space, tab, and obs-text (RFC 9110 §5.5).
fn visible(text: &[u8]) -> Result<(), Malformed> {
    if text.iter().all(|byte| is_text(*byte)) { Ok(()) } else { Err(Malformed::ControlCharacter) }
}

pub(crate) fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// `1*tchar` (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_tchar(*byte))
}

pub(crate) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Visible ASCII without a fragment. (RFC 3986 excludes a few more that browsers do send, such as
/// `|` and `"`; they divide nothing.)
#[inline]
pub(crate) fn is_target(target: &[u8]) -> bool {
    // Without an early exit the loop becomes vector instructions.
    target.iter().fold(true, |good, byte| good & byte.is_ascii_graphic() & (*byte != b'#'))
}

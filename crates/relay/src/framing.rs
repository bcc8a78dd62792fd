//! Where a message's body ends: RFC 9112 §6, without its leniencies.

use crate::field::Field;
use crate::head::{Lines, Version};
use crate::malformed::Malformed;
use crate::method::Method;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BodyFraming {
    /// No body. (After a 2xx to CONNECT, too: what follows belongs to the tunnel.)
    #[default]
    Empty,
    /// So many bytes, from Content-Length; `Length(0)` is a body of no bytes that was announced.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
    /// Everything up to the end of the connection; responses only.
    UntilClose,
}

impl BodyFraming {
    /// Whether not a single body byte will follow the head.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::Empty | Self::Length(0))
    }
}

/// What the fields alone say; what it means depends on method and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Declared {
    #[default]
    Nothing,
    Length(u64),
    Chunked,
}

/// Reads Content-Length and Transfer-Encoding. Anything that two recipients could read differently is an error.
pub(crate) fn declared(lines: Lines<'_>, version: Version) -> Result<Declared, Malformed> {
    let has_length = lines.has(Field::ContentLength);
    if lines.has(Field::TransferEncoding) {
        if has_length {
            return Err(Malformed::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(Malformed::CodingOnOldVersion);
        }
        let coding = sole(lines, Field::TransferEncoding, Malformed::SeveralTransferEncodings)?;
        return if coding.eq_ignore_ascii_case(b"chunked") { Ok(Declared::Chunked) } else { Err(Malformed::TransferCoding) };
    }
    if !has_length {
        return Ok(Declared::Nothing);
    }
    content_length(sole(lines, Field::ContentLength, Malformed::SeveralContentLengths)?).map(Declared::Length)
}

/// The value of a field that may occur once.
fn sole<'a>(lines: Lines<'a>, field: Field, several: Malformed) -> Result<&'a [u8], Malformed> {
    let mut values = lines.all(field);
    let first = values.next().unwrap_or_default();
    if values.next().is_some() { Err(several) } else { Ok(first) }
}

/// Only digits, no padding (some recipients read a leading zero as octal), at most 18 of them (far below 2^63).
fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    let padded = value.len() > 1 && value[0] == b'0';
    if value.is_empty() || value.len() > 18 || padded || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// The framing of a request: it never ends with the connection.
pub(crate) fn of_request(declared: Declared, method: Method) -> Result<BodyFraming, Malformed> {
    match (declared, method) {
        (Declared::Nothing, _) => Ok(BodyFraming::Empty),
        // Some clients announce an empty body with CONNECT; more than that and the tunnel's first bytes have two meanings.
        (Declared::Length(0), Method::Connect | Method::Trace) => Ok(BodyFraming::Empty),
        (_, Method::Connect | Method::Trace) => Err(Malformed::UnexpectedBody),
        (Declared::Length(length), _) => Ok(BodyFraming::Length(length)),
        (Declared::Chunked, _) => Ok(BodyFraming::Chunked),
    }
}

/// Refuses bodies announced where none may be (RFC 9112 §6.1 and §6.2): the sender may mean to send them.
pub(crate) fn check_response(declared: Declared, status: u16) -> Result<(), Malformed> {
    match (status, declared) {
        (100..=199 | 204, Declared::Chunked | Declared::Length(1..)) => Err(Malformed::UnexpectedBody),
        _ => Ok(()),
    }
}

/// The framing of a response to a request with this method (RFC 9112 §6.3).
pub(crate) fn of_response(declared: Declared, status: u16, request: Method) -> BodyFraming {
    let bodiless = request == Method::Head || matches!(status, 100..=199 | 204 | 304);
    if bodiless || (request == Method::Connect && matches!(status, 200..=299)) {
        return BodyFraming::Empty;
    }
    match declared {
        Declared::Nothing => BodyFraming::UntilClose,
        Declared::Length(length) => BodyFraming::Length(length),
        Declared::Chunked => BodyFraming::Chunked,
    }
}

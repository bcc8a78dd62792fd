//! Where a message's body ends: RFC 9112 §6. A request has one reading or none; a response is read
//! where all who read it at all read it alike.

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

    /// Whether the head says that more than so many bytes follow.
    pub const fn exceeds(self, bytes: u64) -> bool {
        matches!(self, Self::Length(length) if length > bytes)
    }

    /// How a body that comes like this goes to a client: chunks only to those who know them (RFC
    /// 9112 §7.1), and an end that is announced to all of them.
    #[must_use]
    pub const fn for_client(self, client: Version) -> Self {
        match (self, client) {
            (Self::Chunked | Self::UntilClose, Version::Http11) => Self::Chunked,
            (Self::Chunked | Self::UntilClose, Version::Http10) => Self::UntilClose,
            (known, _) => known,
        }
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

/// What the framing fields of a request say. Anything that two recipients could read differently is
/// an error.
pub(crate) fn declared_by_request(
    lines: Lines<'_>,
    version: Version,
) -> Result<Declared, Malformed> {
    let has_length = lines.has(Field::ContentLength);
    if lines.has(Field::TransferEncoding) {
        if has_length {
            return Err(Malformed::LengthAndCoding);
        }
        if version == Version::Http10 {
            return Err(Malformed::CodingOnOldVersion);
        }
        return chunked(lines);
    }
    if !has_length {
        return Ok(Declared::Nothing);
    }
    length(sole(lines, Field::ContentLength, Malformed::SeveralContentLengths)?)
        .map(Declared::Length)
}

/// What the framing fields of a response say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) declared: Declared,
    /// It could not have been said more plainly. Otherwise the connection ends after it.
    pub(crate) plainly: bool,
}

/// Reads the framing fields of a response (RFC 9112 §6.3): where it ends is never in doubt, or it
/// is an error. `relaxed` lets pass what a server should not have written and everybody reads
/// alike, as the coding overrides the length.
pub(crate) fn declared_by_response(
    lines: Lines<'_>,
    version: Version,
    status: u16,
    relaxed: bool,
) -> Result<Stated, Malformed> {
    let (has_length, coding) =
        (lines.has(Field::ContentLength), lines.has(Field::TransferEncoding));
    // RFC 2616 §3.6.2 had a coding that does nothing, and some servers still say so.
    let says_nothing = coding
        && relaxed
        && lines.all(Field::TransferEncoding).all(|it| it.eq_ignore_ascii_case(b"identity"));
    let has_coding = coding && !says_nothing;
    if !has_length && !has_coding {
        return Ok(Stated { declared: Declared::Nothing, plainly: !coding });
    }
    // These end with the head, whatever they announce. What their sender thinks that follows is
    // nobody's next response.
    match status {
        100..=199 | 204 => {
            let plainly = !coding && lengths(lines) == Ok(0);
            return Ok(Stated { declared: Declared::Nothing, plainly });
        }
        304 => {
            let length = lengths(lines).ok().filter(|_| has_length && !coding);
            return Ok(Stated {
                declared: length.map_or(Declared::Nothing, Declared::Length),
                plainly: length.is_some(),
            });
        }
        _ => {}
    }
    if !has_coding {
        return Ok(Stated { declared: Declared::Length(lengths(lines)?), plainly: !coding });
    }
    if has_length && !relaxed {
        return Err(Malformed::LengthAndCoding);
    }
    if version == Version::Http10 && !relaxed {
        return Err(Malformed::CodingOnOldVersion);
    }
    Ok(Stated { declared: chunked(lines)?, plainly: !has_length && version == Version::Http11 })
}

/// The one coding that there may be.
fn chunked(lines: Lines<'_>) -> Result<Declared, Malformed> {
    let coding = sole(lines, Field::TransferEncoding, Malformed::SeveralTransferEncodings)?;
    if coding.eq_ignore_ascii_case(b"chunked") {
        Ok(Declared::Chunked)
    } else {
        Err(Malformed::TransferCoding)
    }
}

/// The value of a field that may occur once.
fn sole<'a>(lines: Lines<'a>, field: Field, several: Malformed) -> Result<&'a [u8], Malformed> {
    let mut values = lines.all(field);
    let first = values.next().unwrap_or_default();
    if values.next().is_some() { Err(several) } else { Ok(first) }
}

/// The one length that all Content-Length fields of a response say, each of which may be a list
/// (RFC 9110 §8.6).
fn lengths(lines: Lines<'_>) -> Result<u64, Malformed> {
    let mut members = lines
        .all(Field::ContentLength)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(blanks_trimmed);
    let first = length(members.next().unwrap_or_default())?;
    for other in members {
        if length(other)? != first {
            return Err(Malformed::SeveralContentLengths);
        }
    }
    Ok(first)
}

fn blanks_trimmed(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// Only digits, at most 18 of them that count (far below 2^63). All read them as decimal, zeros in
/// front of them included.
fn length(value: &[u8]) -> Result<u64, Malformed> {
    let zeros = value.iter().take_while(|digit| **digit == b'0').count();
    if value.is_empty() || value.len() - zeros > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::ContentLength);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// The framing of a request: it never ends with the connection.
pub(crate) fn of_request(declared: Declared, method: Method) -> Result<BodyFraming, Malformed> {
    match (declared, method) {
        (Declared::Nothing, _) => Ok(BodyFraming::Empty),
        // Some clients announce an empty body with CONNECT; more than that and the tunnel's first
        // bytes have two meanings.
        (Declared::Length(0), Method::Connect | Method::Trace) => Ok(BodyFraming::Empty),
        (_, Method::Connect | Method::Trace) => Err(Malformed::UnexpectedBody),
        (Declared::Length(length), _) => Ok(BodyFraming::Length(length)),
        (Declared::Chunked, _) => Ok(BodyFraming::Chunked),
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

#[cfg(test)]
mod tests {
    use super::{BodyFraming::*, *};

    #[test]
    fn chunks_are_for_those_who_know_them() {
        use Version::{Http10, Http11};
        for (incoming, client, want) in [
            (Chunked, Http11, Chunked),
            (Chunked, Http10, UntilClose),
            (UntilClose, Http11, Chunked),
            (UntilClose, Http10, UntilClose),
            (Length(3), Http10, Length(3)),
            (Empty, Http11, Empty),
        ] {
            assert_eq!(incoming.for_client(client), want, "{incoming:?} {client:?}");
        }
    }
}

//! What a client gets of a stored response: all of it, a part of it, or the news that it has it
//! already. Pure.

use std::ops::Range;

use crate::cache::{
    facts::{RequestFacts, none_match_names},
    object::Object,
};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The stored response.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 206: these bytes of so many.
    Part(Range<u64>, u64),
    /// 416: of so many bytes.
    Unsatisfiable(u64),
}

/// Chooses. `range` is the value of Range.
#[must_use]
pub fn choose(object: &Object, request: &RequestFacts, range: Option<&[u8]>) -> Serving {
    if object.status == 200 && not_modified(object, request) {
        return Serving::NotModified;
    }
    // Of what is still growing, a part can be told from the whole where the origin has said how
    // long it will be.
    let whole = object.length().filter(|_| object.status == 200 && request.get);
    match (range.and_then(parse_range), whole) {
        (Some(asked), Some(length)) => match asked.within(length) {
            Some(part) => Serving::Part(part, length),
            None => Serving::Unsatisfiable(length),
        },
        _ => Serving::Whole,
    }
}

/// RFC 9110 §13.2.2: If-None-Match decides where it is there, else If-Modified-Since.
fn not_modified(object: &Object, request: &RequestFacts) -> bool {
    match (&request.if_none_match, request.if_modified_since) {
        (Some(tags), _) => none_match_names(tags, object.etag.as_ref()),
        (None, Some(since)) => object.last_modified.is_some_and(|changed| changed <= since),
        (None, None) => false,
    }
}

/// One range of bytes, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    first: Option<u64>,
    last: Option<u64>,
}

impl Asked {
    fn within(self, length: u64) -> Option<Range<u64>> {
        let part = match (self.first, self.last) {
            (Some(first), last) => {
                first..last.map_or(length, |last| last.saturating_add(1)).min(length)
            }
            (None, Some(suffix)) => length.saturating_sub(suffix)..length,
            (None, None) => return None,
        };
        (part.start < part.end).then_some(part)
    }
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`. Several ranges, and what is no range, are ignored, as RFC
/// 9110 §14.2 allows.
fn parse_range(value: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let (unit, set) = text.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    let number = |digits: &str| -> Option<Option<u64>> {
        if digits.is_empty() {
            return Some(None);
        }
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(Some(digits.parse().unwrap_or(u64::MAX)))
    };
    let asked = Asked { first: number(first)?, last: number(last)? };
    let backwards = matches!((asked.first, asked.last), (Some(first), Some(last)) if last < first)
        || asked == (Asked { first: None, last: None });
    (unit.eq_ignore_ascii_case("bytes") && !backwards).then_some(asked)
}

/// The first byte that a Range asks for, of a body whose length is not known yet; `None`: it is no
/// single range of bytes from the beginning.
#[must_use]
pub fn first_of(range: &[u8]) -> Option<u64> {
    parse_range(range)?.first
}

/// Whether a field goes with a 416: who says so, when, and of which representation.
#[must_use]
pub fn goes_with_416(name: &[u8]) -> bool {
    [&b"date"[..], b"etag", b"via", b"accept-ranges"]
        .iter()
        .any(|kept| name.eq_ignore_ascii_case(kept))
}

/// Whether a field goes with a 304 (RFC 9110 §15.4.5): what a cache needs, and not what describes
/// a body that is not sent.
#[must_use]
pub fn goes_with_304(name: &[u8]) -> bool {
    !name.to_ascii_lowercase().starts_with(b"content-")
        || name.eq_ignore_ascii_case(b"content-location")
}

#[cfg(test)]
mod tests;

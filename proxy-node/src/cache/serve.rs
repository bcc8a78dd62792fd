//! What a client gets of a stored response: all of it, parts of it, or the news that it has it
//! already. Pure.

mod ranges;

use std::ops::Range;

use crate::cache::{
    facts::{Part, RequestFacts, http_date, none_match_names},
    object::Object,
};
use ranges::Asked;
pub use ranges::{Spec, only_one};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// The stored response.
    Whole,
    /// 304: the client has it.
    NotModified,
    /// 206: these bytes of so many.
    Part(Range<u64>, u64),
    /// 206, multipart/byteranges: these parts of so many bytes, in order and apart from each other.
    Parts(Vec<Range<u64>>, u64),
    /// 416: of so many bytes.
    Unsatisfiable(u64),
}

/// Chooses (RFC 9110 §13.2.2). `range` is the value of Range.
#[must_use]
pub fn choose(object: &Object, request: &RequestFacts, range: Option<&[u8]>) -> Serving {
    let asks = request.get || request.head;
    if asks && matches!(object.status, 200 | 206) && not_modified(object, request) {
        return Serving::NotModified;
    }
    if let Some(part) = &object.part {
        let asked = range.and_then(only_one).and_then(|spec| spec.within(part.of));
        return Serving::Part(asked.map_or(part.bytes.clone(), |it| within(&it, part)), part.of);
    }
    // Of what is still growing, a part can be told from the whole where the origin has said how
    // long it will be.
    let whole = object.length().filter(|_| object.status == 200 && request.get);
    let (Some(range), Some(length)) = (range.filter(|_| in_range_of(object, request)), whole)
    else {
        return Serving::Whole;
    };
    match ranges::read(range) {
        Some(Asked::One(spec)) => match spec.within(length) {
            Some(part) => Serving::Part(part, length),
            None => Serving::Unsatisfiable(length),
        },
        Some(Asked::Several(specs)) if object.content.is_complete() => {
            let mut parts = ranges::within(&specs, length);
            match parts.len() {
                0 => Serving::Unsatisfiable(length),
                1 => Serving::Part(parts.remove(0), length),
                _ => Serving::Parts(parts, length),
            }
        }
        // RFC 9110 §14.2: what is no range is ignored.
        Some(Asked::Several(_)) | None => Serving::Whole,
    }
}

/// What of these bytes a part has; all of it, where that is none.
fn within(asked: &Range<u64>, part: &Part) -> Range<u64> {
    let both = asked.start.max(part.bytes.start)..asked.end.min(part.bytes.end);
    if both.is_empty() { part.bytes.clone() } else { both }
}

/// Whether a stored part has every byte that a request asks for (RFC 9111 §3.3).
#[must_use]
pub fn covers(object: &Object, request: &RequestFacts, range: &Spec) -> bool {
    let Some(part) = &object.part else { return false };
    request.get
        && in_range_of(object, request)
        && range
            .within(part.of)
            .is_some_and(|asked| part.bytes.start <= asked.start && asked.end <= part.bytes.end)
}

/// Whether a part that came is what a request asked for, from its first byte on: an origin may send
/// less than that, and nothing else.
#[must_use]
pub fn is_asked_for(part: &Part, range: &Spec) -> bool {
    range
        .within(part.of)
        .is_some_and(|asked| asked.start == part.bytes.start && part.bytes.end <= asked.end)
}

/// RFC 9110 §13.2.2: If-None-Match decides where it is there, else If-Modified-Since.
fn not_modified(object: &Object, request: &RequestFacts) -> bool {
    match (&request.if_none_match, request.if_modified_since) {
        (Some(tags), _) => none_match_names(tags, object.etag.as_ref()),
        (None, Some(since)) => object.last_modified.is_some_and(|changed| changed <= since),
        (None, None) => false,
    }
}

/// Whether a part of this object goes with what the client has, as its If-Range says: the entity
/// tags are strong and the same, or the date is exactly that of a change which lies behind its
/// response (RFC 9110 §13.1.5, §8.8.2.2).
fn in_range_of(object: &Object, request: &RequestFacts) -> bool {
    let Some(has) = &request.if_range else { return true };
    if has.starts_with(b"\"") {
        return object.etag.as_ref().is_some_and(|etag| etag == has);
    }
    let (Some(since), Some(changed)) = (http_date(has), object.last_modified) else {
        return false;
    };
    let date = object.fields().find(|(name, _)| name.eq_ignore_ascii_case(b"date"));
    let sent = date.and_then(|(_, date)| http_date(date));
    since == changed && sent.is_some_and(|sent| sent > changed)
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

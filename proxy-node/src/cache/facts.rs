//! What the cache has to know of a request or of a response, gathered in one pass over its fields.

mod request;
mod response;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

pub use request::RequestFacts;
pub use response::{Expires, ResponseFacts, Vary};

use crate::cache::directives::elements;

/// An HTTP date in any of its three spellings, as Unix seconds.
#[must_use]
pub fn http_date(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?.trim()).ok()?;
    Some(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Unix seconds as an HTTP date.
#[must_use]
pub fn http_date_text(seconds: u64) -> String {
    let time =
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(253_402_300_799));
    String::from_utf8_lossy(&relay::date::http_date(time)).into_owned()
}

/// Whether an If-None-Match value names this entity tag, by the weak comparison (RFC 9110
/// §13.1.2).
#[must_use]
pub fn none_match_names(value: &[u8], etag: Option<&Bytes>) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    elements(value)
        .any(|element| element == b"*" || etag.is_some_and(|etag| opaque(element) == opaque(etag)))
}

#[cfg(test)]
mod tests;

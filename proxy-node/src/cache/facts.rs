//! What the cache has to know of a request or of a response, gathered in one pass over its fields.

mod content_range;
mod date;
mod request;
mod response;
mod targeted;

use std::time::SystemTime;

use bytes::Bytes;

pub use content_range::{ContentRange, Part};
pub use date::http_date;
pub use request::RequestFacts;
pub use response::{Expires, ResponseFacts, Vary};

use crate::cache::directives::elements;

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

/// Adds a line of a field: several are one list (RFC 9110 §5.3).
fn join(slot: &mut Option<Vec<u8>>, value: &[u8]) {
    match slot {
        Some(joined) => {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        None => *slot = Some(value.to_vec()),
    }
}

#[cfg(test)]
mod tests;

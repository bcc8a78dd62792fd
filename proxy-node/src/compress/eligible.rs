//! Which answers are compressed, and what becomes of their heads. Pure.
//!
//! The entity tag of what is compressed is weak. A strong one would promise the same bytes wherever
//! it is seen (RFC 9110 §8.8.1), which nodes with other versions or levels do not send, and had to
//! differ from that of the identity form (§8.8.3.3). A weak one says what holds, that the content
//! is the same; If-None-Match compares weakly (§13.1.2), so that a client's condition is
//! understood by every cache on the way and by the origin, whether they compress or not; and
//! If-Range wants a strong one (§13.1.5), so that parts of different forms are never put together.

use bytes::Bytes;

use super::{Coding, Settings};
use crate::cache::{content::Content, directives::elements, object::Object};

/// Whether an answer depends on Accept-Encoding: clients that want it get it compressed.
#[must_use]
pub fn is_negotiable(settings: &Settings, object: &Object) -> bool {
    if object.status != 200 || object.part.is_some() {
        return false;
    }
    // What is read from the disk piece by piece would be compressed each time.
    if !matches!(object.content, Content::Memory(_)) {
        return false;
    }
    if object.length().is_some_and(|length| !settings.sizes.contains(&length)) {
        return false;
    }
    is_of_a_type(settings, &object.media_type)
        && !object.fields().any(|(name, value)| {
            name.eq_ignore_ascii_case(b"content-encoding")
                || name.eq_ignore_ascii_case(b"content-range")
                || (name.eq_ignore_ascii_case(b"cache-control") && forbids(value))
        })
}

/// Whether a Cache-Control says `no-transform` (RFC 9111 §5.2.1.6, §5.2.2.6).
#[must_use]
pub fn forbids(cache_control: &[u8]) -> bool {
    elements(cache_control).any(|element| element.eq_ignore_ascii_case(b"no-transform"))
}

fn is_of_a_type(settings: &Settings, content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    !essence.is_empty()
        && settings.types.iter().any(|pattern| match pattern.split_once('*') {
            None => *pattern == essence,
            Some((before, after)) => {
                essence.len() >= before.len() + after.len()
                    && essence.starts_with(before)
                    && essence.ends_with(after)
            }
        })
}

/// Whether Vary names Accept-Encoding already.
#[must_use]
pub fn names_accept_encoding(object: &Object) -> bool {
    object.fields().any(|(name, value)| {
        name.eq_ignore_ascii_case(b"vary")
            && elements(value)
                .any(|element| element == b"*" || element.eq_ignore_ascii_case(b"accept-encoding"))
    })
}

/// The entity tag of what is compressed.
#[must_use]
pub fn weak(etag: &Bytes) -> Bytes {
    if etag.starts_with(b"W/") { etag.clone() } else { [b"W/", &etag[..]].concat().into() }
}

/// The head of what is compressed, as in [`Object::head`]: without digests of the bytes as they
/// were, and without the offer of ranges of them.
#[must_use]
pub fn head(object: &Object, coding: Coding) -> Vec<u8> {
    const GONE: [&[u8]; 6] = [
        b"etag",
        b"accept-ranges",
        // RFC 9530, RFC 3230, RFC 1864.
        b"content-digest",
        b"repr-digest",
        b"digest",
        b"content-md5",
    ];
    let end = object.head.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut head = object.head.get(..end).unwrap_or_default().to_vec();
    let mut add = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            head.extend_from_slice(part);
        }
    };
    for (name, value) in object.fields() {
        if !GONE.iter().any(|gone| name.eq_ignore_ascii_case(gone)) {
            add(name, value);
        }
    }
    if let Some(etag) = &object.etag {
        add(b"ETag", &weak(etag));
    }
    add(b"Content-Encoding", coding.name().as_bytes());
    if !names_accept_encoding(object) {
        add(b"Vary", b"Accept-Encoding");
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(types: &[&str]) -> Settings {
        Settings {
            codings: vec![Coding::Gzip],
            types: types.iter().map(|it| (*it).to_owned()).collect(),
            sizes: 0..=10,
            gzip_level: 1,
            br_level: 1,
            zstd_level: 1,
        }
    }

    #[test]
    fn types_are_compared_without_parameters_and_case() {
        let types = ["text/*", "application/*+json", "application/json"];
        for (content_type, want) in [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            ("application/json ; x=y", true),
            ("application/ld+json", true),
            ("application/+json", true),
            ("application/jsonx", false),
            ("image/png", false),
            ("", false),
            ("text", false),
        ] {
            assert_eq!(is_of_a_type(&settings(&types), content_type), want, "{content_type}");
        }
    }

    #[test]
    fn who_forbids_it() {
        for (value, want) in [
            ("no-transform", true),
            ("max-age=1, No-Transform", true),
            ("x=\"no-transform\"", false),
            ("no-transformation", false),
        ] {
            assert_eq!(forbids(value.as_bytes()), want, "{value}");
        }
        let tag = |text: &'static str| weak(&Bytes::from_static(text.as_bytes()));
        assert_eq!((tag("\"a\""), tag("W/\"a\"")), (tag("W/\"a\""), "W/\"a\"".into()));
    }
}

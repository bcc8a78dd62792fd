//! What the cache has to know of a response.

use bytes::Bytes;

use super::http_date;
use crate::cache::directives::{ResponseDirectives, elements};

/// Names in Vary that a stored response may have, and their bytes together. An origin that names
/// more varies with everything, as far as this cache is concerned: a request would be searched for
/// each of them.
pub(super) const MOST_NAMES: usize = 32;
pub(super) const MOST_NAME_BYTES: usize = 1024;

/// When a response says that it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    At(u64),
    /// A date that cannot be read, `0` above all: it has expired (RFC 9111 §5.3).
    Unreadable,
}

/// Vary of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vary {
    /// One response for everybody.
    #[default]
    Nothing,
    /// Request fields, lower case, sorted, each once.
    Fields(Vec<Box<str>>),
    /// `*`: no two requests are alike.
    Anything,
}

/// What the cache has to know of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    pub status: u16,
    /// Cache-Control, all fields together.
    pub directives: ResponseDirectives,
    /// Date, in Unix seconds.
    pub date: Option<u64>,
    pub expires: Option<Expires>,
    /// Age, in seconds; 0 without one.
    pub age: u64,
    /// Last-Modified, in Unix seconds.
    pub last_modified: Option<u64>,
    /// Last-Modified as sent: what goes back in If-Modified-Since.
    pub last_modified_text: Option<Bytes>,
    /// ETag as sent.
    pub etag: Option<Bytes>,
    pub vary: Vary,
    /// Sets a cookie.
    pub set_cookie: bool,
    pub content_range: bool,
}

impl ResponseFacts {
    /// Gathers the facts of a response.
    pub fn new<'a>(status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut facts = Self { status, ..Self::default() };
        for (name, value) in fields {
            match name.len() {
                13 if name.eq_ignore_ascii_case(b"cache-control") => facts.directives.add(value),
                13 if name.eq_ignore_ascii_case(b"last-modified") => {
                    facts.last_modified = http_date(value);
                    facts.last_modified_text =
                        facts.last_modified.map(|_| Bytes::copy_from_slice(value));
                }
                13 if name.eq_ignore_ascii_case(b"content-range") => facts.content_range = true,
                10 if name.eq_ignore_ascii_case(b"set-cookie") => facts.set_cookie = true,
                7 if name.eq_ignore_ascii_case(b"expires") => {
                    let read = http_date(value).map_or(Expires::Unreadable, Expires::At);
                    // Of two, the earlier: an unreadable one is the earliest.
                    facts.expires = Some(match (facts.expires, read) {
                        (Some(Expires::At(old)), Expires::At(new)) => Expires::At(old.min(new)),
                        (Some(Expires::Unreadable), _) | (_, Expires::Unreadable) => {
                            Expires::Unreadable
                        }
                        (None, new) => new,
                    });
                }
                4 if name.eq_ignore_ascii_case(b"date") => facts.date = http_date(value),
                4 if name.eq_ignore_ascii_case(b"etag") => {
                    facts.etag = is_etag(value).then(|| Bytes::copy_from_slice(value))
                }
                4 if name.eq_ignore_ascii_case(b"vary") => facts.vary.add(value),
                3 if name.eq_ignore_ascii_case(b"age") => facts.age = facts.age.max(age(value)),
                _ => {}
            }
        }
        facts
    }
}

impl Vary {
    fn add(&mut self, value: &[u8]) {
        for element in elements(value) {
            if element == b"*" {
                *self = Self::Anything;
            }
            let name = String::from_utf8_lossy(element).to_ascii_lowercase().into_boxed_str();
            match self {
                Self::Anything => return,
                Self::Nothing => *self = Self::Fields(vec![name]),
                Self::Fields(names) => {
                    if let Err(at) = names.binary_search(&name) {
                        names.insert(at, name);
                    }
                }
            }
            if let Self::Fields(names) = self
                && (names.len() > MOST_NAMES
                    || names.iter().map(|name| name.len()).sum::<usize>() > MOST_NAME_BYTES)
            {
                *self = Self::Anything;
            }
        }
    }
}

fn age(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(0, |age: u64| age.min(1 << 31))
}

/// An entity tag, weak or strong (RFC 9110 §8.8.3).
fn is_etag(value: &[u8]) -> bool {
    let opaque = value.strip_prefix(b"W/").unwrap_or(value);
    opaque.len() >= 2 && opaque.starts_with(b"\"") && opaque.ends_with(b"\"")
}

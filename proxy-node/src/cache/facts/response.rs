//! What the cache has to know of a response.

use bytes::Bytes;

use super::{
    content_range::{ContentRange, Part},
    http_date, targeted,
};
use crate::cache::directives::{ResponseDirectives, elements};

/// Names in Vary that a stored response may have, and their bytes together. An origin that names
/// more varies with everything, as far as this cache is concerned: a request would be searched for
/// each of them.
pub(super) const MOST_NAMES: usize = 32;
pub(super) const MOST_NAME_BYTES: usize = 1024;

/// Seconds that stand for "longer than anybody waits" (RFC 9111 §1.2.2).
const MOST_AGE: u64 = 1 << 31;

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
    /// Of the first targeted field that counts, or else of Cache-Control, all fields together.
    pub directives: ResponseDirectives,
    /// They are those of a targeted field.
    pub targeted: bool,
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
    pub content_range: ContentRange,
}

impl ResponseFacts {
    /// Gathers the facts of a response.
    pub fn new<'a>(status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        Self::targeted(status, fields, &[])
    }

    /// The same for a cache that these fields are targeted at (RFC 9213 §2.2): lower case, the
    /// first one first. Where there is a valid one, Cache-Control and Expires do not count.
    pub fn targeted<'a>(
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        targets: &[String],
    ) -> Self {
        let mut facts = Self { status, ..Self::default() };
        let mut aimed = targeted::Aimed::new(targets);
        for (name, value) in fields {
            match name.len() {
                13 if name.eq_ignore_ascii_case(b"cache-control") => facts.directives.add(value),
                13 if name.eq_ignore_ascii_case(b"last-modified") => {
                    facts.last_modified = http_date(value);
                    facts.last_modified_text =
                        facts.last_modified.map(|_| Bytes::copy_from_slice(value));
                }
                13 if name.eq_ignore_ascii_case(b"content-range") => facts.content_range.add(value),
                10 if name.eq_ignore_ascii_case(b"set-cookie") => facts.set_cookie = true,
                7 if name.eq_ignore_ascii_case(b"expires") => facts.expires(value),
                4 if name.eq_ignore_ascii_case(b"date") => facts.date = http_date(value),
                4 if name.eq_ignore_ascii_case(b"etag") => {
                    facts.etag = is_etag(value).then(|| Bytes::copy_from_slice(value))
                }
                4 if name.eq_ignore_ascii_case(b"vary") => facts.vary.add(value),
                3 if name.eq_ignore_ascii_case(b"age") => facts.age = facts.age.max(age(value)),
                _ => {}
            }
            aimed.note(name, value);
        }
        if let Some(directives) = aimed.directives() {
            (facts.directives, facts.expires, facts.targeted) = (directives, None, true);
        }
        facts
    }

    /// The part that it has, of an answer that has one.
    #[must_use]
    pub fn part(&self) -> Option<&Part> {
        self.content_range.part().filter(|_| self.status == 206)
    }

    /// Whether it has an entity tag that says of every byte that it is the same (RFC 9110 §8.8.1).
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.etag.as_ref().is_some_and(|etag| etag.starts_with(b"\""))
    }

    /// Of two, the earlier: one that cannot be read is the earliest (RFC 9111 §4.2.1, §5.3).
    fn expires(&mut self, value: &[u8]) {
        let read = http_date(value).map_or(Expires::Unreadable, Expires::At);
        self.expires = Some(match (self.expires, read) {
            (Some(Expires::At(old)), Expires::At(new)) => Expires::At(old.min(new)),
            (Some(Expires::Unreadable), _) | (_, Expires::Unreadable) => Expires::Unreadable,
            (None, new) => new,
        });
    }
}

impl Vary {
    fn add(&mut self, value: &[u8]) {
        for element in elements(value) {
            if element == b"*" {
                *self = Self::Anything;
            }
            // What is no name of a field may mean anything.
            if !element.iter().all(|byte| is_token(*byte)) {
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

/// Seconds of an Age (RFC 9111 §5.1): of a list the most, and of a number with something behind it
/// the number. It is never read as younger than it may have been meant; what begins with no digit
/// says nothing.
fn age(value: &[u8]) -> u64 {
    let members = value.split(|byte| *byte == b',').map(|member| {
        let member = member.trim_ascii().iter().take_while(|byte| byte.is_ascii_digit());
        member
            .fold(0u64, |age, digit| age.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    });
    members.max().unwrap_or(0).min(MOST_AGE)
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// An entity tag, weak or strong (RFC 9110 §8.8.3).
fn is_etag(value: &[u8]) -> bool {
    let opaque = value.strip_prefix(b"W/").unwrap_or(value);
    opaque.len() >= 2 && opaque.starts_with(b"\"") && opaque.ends_with(b"\"")
}

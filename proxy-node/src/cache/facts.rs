//! What the cache has to know of a request or of a response, gathered in one pass over its fields.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::cache::directives::{RequestDirectives, ResponseDirectives, elements};

/// Names in Vary that a stored response may have, and their bytes together. An origin that names
/// more varies with everything, as far as this cache is concerned: a request would be searched for
/// each of them.
const MOST_NAMES: usize = 32;
const MOST_NAME_BYTES: usize = 1024;

/// What the cache has to know of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Method is GET.
    pub get: bool,
    /// Method is HEAD.
    pub head: bool,
    /// Cache-Control; Pragma counts where there is none (RFC 9111 §5.4).
    pub directives: RequestDirectives,
    /// Carries Authorization.
    pub authorization: bool,
    /// Carries Cookie.
    pub cookie: bool,
    /// Carries Range.
    pub range: bool,
    /// Carries If-Match, If-Unmodified-Since or If-Range: for the origin to decide.
    pub precondition: bool,
    /// If-None-Match, as sent (several fields joined with commas).
    pub if_none_match: Option<Vec<u8>>,
    /// If-Modified-Since in Unix seconds, where it can be read.
    pub if_modified_since: Option<u64>,
    /// Carries a body.
    pub body: bool,
}

impl RequestFacts {
    /// Gathers the facts of a request.
    pub fn new<'a>(
        method: &[u8],
        body: bool,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut facts =
            Self { get: method == b"GET", head: method == b"HEAD", body, ..Self::default() };
        let (mut cache_control, mut pragma) = (false, false);
        for (name, value) in fields {
            // The length first: most fields are none of these.
            match name.len() {
                13 if name.eq_ignore_ascii_case(b"cache-control") => {
                    cache_control = true;
                    facts.directives.add(value);
                }
                13 if name.eq_ignore_ascii_case(b"authorization") => facts.authorization = true,
                13 if name.eq_ignore_ascii_case(b"if-none-match") => {
                    join(&mut facts.if_none_match, value)
                }
                17 if name.eq_ignore_ascii_case(b"if-modified-since") => {
                    facts.if_modified_since = http_date(value)
                }
                6 if name.eq_ignore_ascii_case(b"cookie") => facts.cookie = true,
                6 if name.eq_ignore_ascii_case(b"pragma") => {
                    pragma |= elements(value).any(|item| item.eq_ignore_ascii_case(b"no-cache"))
                }
                5 if name.eq_ignore_ascii_case(b"range") => facts.range = true,
                8 if name.eq_ignore_ascii_case(b"if-match")
                    || name.eq_ignore_ascii_case(b"if-range") =>
                {
                    facts.precondition = true
                }
                19 if name.eq_ignore_ascii_case(b"if-unmodified-since") => {
                    facts.precondition = true
                }
                _ => {}
            }
        }
        facts.directives.no_cache |= pragma && !cache_control;
        facts
    }

    /// Whether it says who asks, so that nobody but the origin may guess for how long and for whom
    /// its answer is good.
    #[must_use]
    pub const fn personal(&self) -> bool {
        self.authorization || self.cookie
    }

    /// Whether the client asks for the response only if it has changed.
    #[must_use]
    pub const fn conditional(&self) -> bool {
        self.if_none_match.is_some() || self.if_modified_since.is_some()
    }
}

fn join(slot: &mut Option<Vec<u8>>, value: &[u8]) {
    match slot {
        Some(joined) => {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value);
        }
        None => *slot = Some(value.to_vec()),
    }
}

/// When a response says that it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Unix seconds.
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
    /// Status code.
    pub status: u16,
    /// Cache-Control, all fields together.
    pub directives: ResponseDirectives,
    /// Date, in Unix seconds.
    pub date: Option<u64>,
    /// Expires.
    pub expires: Option<Expires>,
    /// Age, in seconds; 0 without one.
    pub age: u64,
    /// Last-Modified, in Unix seconds.
    pub last_modified: Option<u64>,
    /// Last-Modified as sent: what goes back in If-Modified-Since.
    pub last_modified_text: Option<Bytes>,
    /// ETag as sent.
    pub etag: Option<Bytes>,
    /// Vary.
    pub vary: Vary,
    /// Sets a cookie.
    pub set_cookie: bool,
    /// Carries Content-Range.
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

/// Whether an If-None-Match value names this entity tag, by the weak comparison (RFC 9110 §13.1.2).
#[must_use]
pub fn none_match_names(value: &[u8], etag: Option<&Bytes>) -> bool {
    let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    elements(value)
        .any(|element| element == b"*" || etag.is_some_and(|etag| opaque(element) == opaque(etag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(fields: &[(&str, &str)]) -> ResponseFacts {
        ResponseFacts::new(
            200,
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        )
    }

    #[test]
    fn dates_in_three_spellings() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(http_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(http_date(b"0"), None);
        assert_eq!(http_date_text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_earlier_expiry_counts() {
        let early = "Sun, 06 Nov 1994 08:49:37 GMT";
        let late = "Sun, 06 Nov 1994 08:49:38 GMT";
        assert_eq!(
            response(&[("Expires", late), ("Expires", early)]).expires,
            Some(Expires::At(784_111_777))
        );
        assert_eq!(
            response(&[("Expires", late), ("Expires", "0")]).expires,
            Some(Expires::Unreadable)
        );
        assert_eq!(
            response(&[("Expires", "0"), ("Expires", late)]).expires,
            Some(Expires::Unreadable)
        );
    }

    #[test]
    fn vary_is_sorted_and_a_star_wins() {
        let fields =
            |names: &[&str]| Vary::Fields(names.iter().map(|name| (*name).into()).collect());
        assert_eq!(
            response(&[("Vary", "Cookie, accept"), ("vary", "ACCEPT")]).vary,
            fields(&["accept", "cookie"])
        );
        assert_eq!(response(&[("Vary", "Cookie, *"), ("Vary", "x")]).vary, Vary::Anything);
        assert_eq!(response(&[]).vary, Vary::Nothing);
        let many = |count: usize| {
            (0..count).map(|number| format!("x-{number}")).collect::<Vec<_>>().join(",")
        };
        assert!(matches!(response(&[("Vary", &many(MOST_NAMES))]).vary, Vary::Fields(_)));
        assert_eq!(response(&[("Vary", &many(MOST_NAMES + 1))]).vary, Vary::Anything);
        assert_eq!(response(&[("Vary", &many(7000))]).vary, Vary::Anything);
        assert_eq!(response(&[("Vary", &"y".repeat(MOST_NAME_BYTES + 1))]).vary, Vary::Anything);
    }

    #[test]
    fn tags_compare_weakly() {
        let tag = Bytes::from_static(b"W/\"a\"");
        for (value, want) in
            [("\"a\"", true), ("\"x\", W/\"a\"", true), ("*", true), ("\"A\"", false), ("", false)]
        {
            assert_eq!(none_match_names(value.as_bytes(), Some(&tag)), want, "{value}");
        }
        assert!(!none_match_names(b"\"a\"", None));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let facts = |fields: &[(&str, &str)]| {
            RequestFacts::new(
                b"GET",
                false,
                fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())),
            )
        };
        assert!(facts(&[("Pragma", "no-cache")]).directives.no_cache);
        assert!(
            !facts(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=1")]).directives.no_cache
        );
    }
}

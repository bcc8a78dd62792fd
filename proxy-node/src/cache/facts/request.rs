//! What the cache has to know of a request.

use super::{http_date, join};
use crate::cache::directives::{RequestDirectives, elements};

/// What the cache has to know of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Method is GET.
    pub get: bool,
    /// Method is HEAD.
    pub head: bool,
    /// Cache-Control; Pragma counts where there is none (RFC 9111 §5.4).
    pub directives: RequestDirectives,
    pub authorization: bool,
    pub cookie: bool,
    pub range: bool,
    /// Carries If-Match or If-Unmodified-Since: for the origin to decide.
    pub precondition: bool,
    /// If-Range, as sent.
    pub if_range: Option<Vec<u8>>,
    /// If-None-Match, as sent (several fields joined with commas).
    pub if_none_match: Option<Vec<u8>>,
    /// If-Modified-Since in Unix seconds, where it can be read.
    pub if_modified_since: Option<u64>,
    /// Wants to be taken for another method, as some origins do: a field says so that no key has.
    pub overrides_method: bool,
    /// Bytes of its fields.
    pub bytes: usize,
    /// Carries a body.
    pub body: bool,
}

impl RequestFacts {
    /// Gathers the facts of a request. Pragma: RFC 9111 §5.4.
    pub fn new<'a>(
        method: &[u8],
        body: bool,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut facts =
            Self { get: method == b"GET", head: method == b"HEAD", body, ..Self::default() };
        let (mut cache_control, mut pragma) = (false, false);
        for (name, value) in fields {
            facts.bytes += name.len() + value.len();
            // The length first: most fields are none of these.
            match name.len() {
                13 if name.eq_ignore_ascii_case(b"cache-control") => {
                    cache_control = true;
                    facts.directives.add(value);
                }
                13 if name.eq_ignore_ascii_case(b"x-http-method") => facts.overrides_method = true,
                17 if name.eq_ignore_ascii_case(b"x-method-override") => {
                    facts.overrides_method = true
                }
                22 if name.eq_ignore_ascii_case(b"x-http-method-override") => {
                    facts.overrides_method = true
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
                8 if name.eq_ignore_ascii_case(b"if-match") => facts.precondition = true,
                8 if name.eq_ignore_ascii_case(b"if-range") => join(&mut facts.if_range, value),
                19 if name.eq_ignore_ascii_case(b"if-unmodified-since") => {
                    facts.precondition = true
                }
                _ => {}
            }
        }
        facts.directives.no_cache |= pragma && !cache_control;
        facts
    }

    /// The same as facts of a GET for the whole, without conditions.
    #[must_use]
    pub fn as_plain_get(&self) -> Self {
        Self {
            get: true,
            directives: self.directives,
            authorization: self.authorization,
            cookie: self.cookie,
            bytes: self.bytes,
            ..Self::default()
        }
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

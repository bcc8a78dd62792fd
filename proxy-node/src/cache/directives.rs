//! Cache-Control, as RFC 9111 §5.2 has it, read to the careful side: of two values the smaller
//! counts, and one that cannot be read counts as 0.

/// Seconds that stand for "longer than anybody waits" (RFC 9111 §1.2.2).
pub(super) const FOREVER: u64 = 1 << 31;

/// Directives of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    pub no_store: bool,
    /// Validate before every use. The form with field names counts as the plain one.
    pub no_cache: bool,
    /// Not for shared caches. The form with field names counts as the plain one.
    pub private: bool,
    /// Storable even where the rules say otherwise.
    pub public: bool,
    /// Never serve stale.
    pub must_revalidate: bool,
    /// The same, for shared caches.
    pub proxy_revalidate: bool,
    pub max_age: Option<u64>,
    /// Seconds, for shared caches; wins over `max_age`.
    pub s_maxage: Option<u64>,
    /// Seconds for which a stale response may stand in for an error (RFC 5861 §4).
    pub stale_if_error: Option<u64>,
    /// Seconds for which a stale response may be served while it is validated (RFC 5861 §3).
    pub stale_while_revalidate: Option<u64>,
    /// Storable only by who knows what its status asks of caches, and then whatever `no_store` says
    /// (RFC 9111 §5.2.2.3).
    pub must_understand: bool,
}

/// Directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Validate whatever is stored.
    pub no_cache: bool,
    /// Store nothing of this exchange.
    pub no_store: bool,
    /// Answer from the cache or with 504.
    pub only_if_cached: bool,
    /// Oldest age accepted, in seconds.
    pub max_age: Option<u64>,
    /// Freshness that must be left, in seconds.
    pub min_fresh: Option<u64>,
    /// Staleness accepted, in seconds.
    pub max_stale: Option<u64>,
    /// Seconds for which a stale response may stand in for an error (RFC 5861).
    pub stale_if_error: Option<u64>,
}

impl ResponseDirectives {
    /// Adds the directives of one Cache-Control value.
    pub fn add(&mut self, value: &[u8]) {
        for (name, argument) in split(value) {
            match_name(name, |name| self.set(name, seconds(argument)));
        }
    }

    /// Adds one directive: its name in lower case, and its argument, where it takes seconds.
    pub(super) fn set(&mut self, name: &[u8], seconds: u64) {
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"max-age" => smaller(&mut self.max_age, seconds),
            b"s-maxage" => smaller(&mut self.s_maxage, seconds),
            b"stale-if-error" => smaller(&mut self.stale_if_error, seconds),
            b"stale-while-revalidate" => smaller(&mut self.stale_while_revalidate, seconds),
            _ => {}
        }
    }

    /// Whether the response itself says how long it lives.
    #[must_use]
    pub const fn is_explicit(&self) -> bool {
        self.s_maxage.is_some() || self.max_age.is_some()
    }

    /// Whether a response of this kind may never be served stale (RFC 9111 §4.2.4); s-maxage
    /// implies proxy-revalidate (§5.2.2.10).
    #[must_use]
    pub const fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache || self.s_maxage.is_some()
    }
}

impl RequestDirectives {
    /// Adds the directives of one Cache-Control value.
    pub fn add(&mut self, value: &[u8]) {
        for (name, argument) in split(value) {
            match_name(name, |name| match name {
                b"no-cache" => self.no_cache = true,
                b"no-store" => self.no_store = true,
                b"only-if-cached" => self.only_if_cached = true,
                b"max-age" => smaller(&mut self.max_age, seconds(argument)),
                b"min-fresh" => {
                    self.min_fresh = Some(
                        self.min_fresh.unwrap_or(0).max(argument.map_or(0, |_| seconds(argument))),
                    )
                }
                b"max-stale" => {
                    smaller(&mut self.max_stale, argument.map_or(FOREVER, |_| seconds(argument)))
                }
                b"stale-if-error" => smaller(&mut self.stale_if_error, seconds(argument)),
                _ => {}
            });
        }
    }
}

fn smaller(slot: &mut Option<u64>, value: u64) {
    *slot = Some(slot.map_or(value, |old| old.min(value)));
}

/// delta-seconds, quoted or not; what is none is 0.
fn seconds(argument: Option<&[u8]>) -> u64 {
    let digits = argument.unwrap_or_default();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    digits
        .iter()
        .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
        .min(FOREVER)
}

/// Calls `found` with the name in lower case. Longer names than any that we know are nobody's.
fn match_name(name: &[u8], found: impl FnOnce(&[u8])) {
    let mut lower = [0; 24];
    if let Some(slot) = lower.get_mut(..name.len()) {
        slot.copy_from_slice(name);
        slot.make_ascii_lowercase();
        found(slot);
    }
}

/// Splits `a, b=1, c="x, y"` into names and arguments, quotes taken off. Blanks around `=` make an
/// argument that is no number (RFC 9111 §5.2 has none there).
fn split(value: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    elements(value).map(|element| match element.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let argument = element.get(at + 1..).unwrap_or_default();
            let bare = argument
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""))
                .unwrap_or(argument);
            let name = element.get(..at).unwrap_or_default();
            let exact = !name.ends_with(b" ") && !name.ends_with(b"\t");
            (name.trim_ascii(), Some(if exact { bare } else { b" " }))
        }
        None => (element, None),
    })
}

/// The elements of a comma-separated list, commas in quoted strings respected, blanks and empty
/// elements dropped (RFC 9110 §5.6.1).
pub fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = end_of_element(rest);
            let element = rest.get(..end).unwrap_or_default().trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    })
}

fn end_of_element(value: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(value: &str) -> ResponseDirectives {
        let mut directives = ResponseDirectives::default();
        directives.add(value.as_bytes());
        directives
    }

    #[test]
    fn response_directives() {
        type Check = fn(&ResponseDirectives) -> bool;
        let cases: [(&str, Check); 18] = [
            ("max-age=60", |d| d.max_age == Some(60)),
            ("MAX-AGE=\"60\"", |d| d.max_age == Some(60)),
            ("max-age=60, max-age=5", |d| d.max_age == Some(5)),
            ("max-age=-1", |d| d.max_age == Some(0)),
            ("max-age=ten", |d| d.max_age == Some(0)),
            ("max-age", |d| d.max_age == Some(0)),
            ("max-age=60.5", |d| d.max_age == Some(0)),
            ("max-age='60'", |d| d.max_age == Some(0)),
            ("max-age = 60", |d| d.max_age == Some(0)),
            ("max-age =60", |d| d.max_age == Some(0)),
            ("max-age= 60", |d| d.max_age == Some(0)),
            ("must-understand, stale-while-revalidate=9", |d| {
                d.must_understand && d.stale_while_revalidate == Some(9)
            }),
            ("max-age=99999999999999999999999", |d| d.max_age == Some(FOREVER)),
            ("no-cache=\"set-cookie, x\" , s-maxage=3", |d| d.no_cache && d.s_maxage == Some(3)),
            ("x=\"a, no-store\"", |d| !d.no_store),
            ("x=\"a\\\", no-store\", private", |d| !d.no_store && d.private),
            (",, ,public,", |d| d.public),
            ("no-storefront, averyveryveryverylongextension=1", |d| {
                *d == ResponseDirectives::default()
            }),
        ];
        for (value, holds) in cases {
            assert!(holds(&response(value)), "{value}: {:?}", response(value));
        }
    }

    #[test]
    fn request_directives() {
        let mut directives = RequestDirectives::default();
        directives.add(b"max-stale, min-fresh=10");
        directives.add(b"only-if-cached, no-cache");
        assert_eq!(directives.max_stale, Some(FOREVER));
        assert_eq!(directives.min_fresh, Some(10));
        assert!(directives.only_if_cached && directives.no_cache && !directives.no_store);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
        ) {
            ResponseDirectives::default().add(&value);
            RequestDirectives::default().add(&value);
        }
    }
}

//! How long a response lives and how old it is (RFC 9111 §4.2).

use std::fmt;

use super::pattern::RefreshPattern;
use crate::cache::{
    directives::ResponseDirectives,
    facts::{Expires, ResponseFacts},
};

/// The longest that a response lives by guess alone.
pub(super) const HEURISTIC_MAX: u64 = 24 * 3600;
/// The share of its age that it lives by guess, in percent (RFC 9111 §4.2.2).
const HEURISTIC_PERCENT: u64 = 10;

/// Where a freshness lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A field that is targeted at this cache (RFC 9213).
    Targeted,
    /// `s-maxage`.
    SharedMaxAge,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// A refresh pattern of the configuration.
    Pattern,
    /// A tenth of the time since Last-Modified.
    Heuristic,
    /// Nothing says so: stale at once.
    Unknown,
    /// What the configuration says of its status.
    Default,
    /// Its URL has its digest: it never changes.
    Immutable,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Targeted => "a targeted field",
            Self::SharedMaxAge => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "Expires",
            Self::Pattern => "a refresh pattern",
            Self::Heuristic => "a tenth of the time since Last-Modified",
            Self::Unknown => "nothing",
            Self::Default => "a default TTL",
            Self::Immutable => "the digest in its URL",
        })
    }
}

/// How long a response lives, and the age that it had when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub lifetime: u64,
    /// What says so.
    pub source: Source,
    /// Corrected initial age in seconds (RFC 9111 §4.2.3).
    pub initial_age: u64,
    /// When it came, in steady seconds: those of a clock that nobody can set.
    pub received_at: u64,
    /// What the response itself asked for.
    pub directives: ResponseDirectives,
}

/// When a response was asked for and came, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it was asked for, in steady seconds.
    pub asked_at: u64,
    /// When it came, in steady seconds.
    pub received_at: u64,
    /// The same moment by the wall clock, in Unix seconds: what its Date is compared with.
    pub wall: u64,
}

impl Freshness {
    /// The age at `now`, in seconds (RFC 9111 §4.2.3).
    #[must_use]
    pub const fn age(&self, now: u64) -> u64 {
        self.initial_age.saturating_add(now.saturating_sub(self.received_at))
    }

    /// Seconds past its lifetime; 0 while fresh (RFC 9111 §4.2).
    #[must_use]
    pub const fn staleness(&self, now: u64) -> u64 {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Computes the freshness of a response that has come (RFC 9111 §4.2.3). `pattern`: what says
    /// how long it lives where it does not say so itself; none for a request that is
    /// [personal](crate::cache::facts::RequestFacts::personal).
    #[must_use]
    pub fn new(
        response: &ResponseFacts,
        url: &[u8],
        pattern: Option<&RefreshPattern>,
        times: Times,
    ) -> Self {
        let Times { asked_at, received_at, wall } = times;
        let apparent = response.date.map_or(0, |date| wall.saturating_sub(date));
        let corrected = response.age.saturating_add(received_at.saturating_sub(asked_at));
        let (lifetime, source) = lifetime(response, url, pattern, wall);
        Self {
            lifetime,
            source,
            initial_age: apparent.max(corrected),
            received_at,
            directives: response.directives,
        }
    }
}

/// How long it lives, and what says so (RFC 9111 §4.2.1, §4.2.2).
fn lifetime(
    response: &ResponseFacts,
    url: &[u8],
    pattern: Option<&RefreshPattern>,
    wall: u64,
) -> (u64, Source) {
    let date = response.date.unwrap_or(wall);
    if response.targeted {
        let directives = &response.directives;
        let seconds = directives.s_maxage.or(directives.max_age).filter(|_| !directives.no_cache);
        return (seconds.unwrap_or(0), Source::Targeted);
    }
    if let Some(seconds) = response.directives.s_maxage {
        return (seconds, Source::SharedMaxAge);
    }
    if let Some(seconds) = response.directives.max_age {
        return (seconds, Source::MaxAge);
    }
    match response.expires {
        Some(Expires::At(at)) => return (at.saturating_sub(date), Source::Expires),
        Some(Expires::Unreadable) => return (0, Source::Expires),
        None => {}
    }
    if !heuristically_cacheable(response.status) && !response.directives.public {
        return (0, Source::Unknown);
    }
    let since_change = response.last_modified.map(|changed| date.saturating_sub(changed));
    if let Some(pattern) = pattern {
        return pattern.lifetime(since_change);
    }
    match since_change {
        // A query with nothing said about it is most often made for one client (Squid's
        // `refresh_pattern (/cgi-bin/|\?) 0 0% 0`).
        Some(age) if !url.contains(&b'?') => {
            ((age.saturating_mul(HEURISTIC_PERCENT) / 100).min(HEURISTIC_MAX), Source::Heuristic)
        }
        _ => (0, Source::Unknown),
    }
}

/// Statuses whose lifetime a refresh pattern says, as in Squid: what is not there, or went wrong,
/// is not kept for as long as what is.
pub(super) const fn guessable(status: u16) -> bool {
    matches!(status, 200..=203 | 300..=399 | 410)
}

/// Statuses that RFC 9110 §15.1 calls heuristically cacheable.
pub(super) const fn heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

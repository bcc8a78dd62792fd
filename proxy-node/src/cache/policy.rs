//! What RFC 9111 lets a shared cache do: store a response, serve it, validate it first, or serve it
//! stale. Pure.

use std::{fmt, time::Duration};

use regex::bytes::Regex;

use crate::cache::{
    directives::{RequestDirectives, ResponseDirectives},
    facts::{Expires, RequestFacts, ResponseFacts, Vary},
};

/// Freshness for responses that do not say how long they live, like Squid's `refresh_pattern`.
#[derive(Clone, Debug)]
pub struct RefreshPattern {
    /// Which URLs.
    pub url: Regex,
    /// It names `?`, and so is meant for URLs with a query; other patterns are not.
    pub query: bool,
    /// Fresh at least so long.
    pub min: Duration,
    /// Share of the time since Last-Modified, in percent.
    pub percent: u32,
    /// Fresh at most so long.
    pub max: Duration,
}

impl RefreshPattern {
    /// Whether it says how long responses for a URL live. `/personal?x.deb` is no package: the end
    /// of a query is what the client likes.
    #[must_use]
    pub fn applies(&self, url: &[u8]) -> bool {
        (self.query || !url.contains(&b'?')) && self.url.is_match(url)
    }
}

/// Whether a regular expression names a question mark: escaped, or in a class. All others are its
/// syntax.
#[must_use]
pub fn names_query(regex: &str) -> bool {
    let (mut escaped, mut class) = (false, false);
    for character in regex.chars() {
        match character {
            '?' if escaped || class => return true,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            _ => {}
        }
    }
    false
}

/// The longest that a response lives by guess alone.
const HEURISTIC_MAX: u64 = 24 * 3600;
/// The share of its age that it lives by guess, in percent (RFC 9111 §4.2.2).
const HEURISTIC_PERCENT: u64 = 10;
/// How long a stale response may stand in for an origin that cannot be reached, where nothing
/// forbids it (RFC 9111 §4.2.4).
const UNREACHABLE_GRACE: u64 = 24 * 3600;

/// Request fields that an origin gets from us and not from the client: what varies with them varies
/// with who asks.
const WRITTEN_ANEW: [&str; 3] = ["x-forwarded-for", "forwarded", "via"];

/// Where a freshness lifetime comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
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
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SharedMaxAge => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "Expires",
            Self::Pattern => "a refresh pattern",
            Self::Heuristic => "a tenth of the time since Last-Modified",
            Self::Unknown => "nothing",
        })
    }
}

/// How long a response lives, and the age that it had when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds.
    pub lifetime: u64,
    /// What says so.
    pub source: Source,
    /// Corrected initial age in seconds (RFC 9111 §4.2.3).
    pub initial_age: u64,
    /// When it came, in steady seconds ([`crate::node::Steady`]).
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
    /// The age at `now`, in seconds.
    #[must_use]
    pub const fn age(&self, now: u64) -> u64 {
        self.initial_age.saturating_add(now.saturating_sub(self.received_at))
    }

    /// Seconds past its lifetime; 0 while fresh.
    #[must_use]
    pub const fn staleness(&self, now: u64) -> u64 {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// Computes the freshness of a response that has come. `patterns`: none for a request that is
    /// [personal](RequestFacts::personal).
    #[must_use]
    pub fn new(
        response: &ResponseFacts,
        url: &[u8],
        patterns: &[RefreshPattern],
        times: Times,
    ) -> Self {
        let Times { asked_at, received_at, wall } = times;
        let apparent = response.date.map_or(0, |date| wall.saturating_sub(date));
        let corrected = response.age.saturating_add(received_at.saturating_sub(asked_at));
        let (lifetime, source) = lifetime(response, url, patterns, wall);
        Self {
            lifetime,
            source,
            initial_age: apparent.max(corrected),
            received_at,
            directives: response.directives,
        }
    }
}

fn lifetime(
    response: &ResponseFacts,
    url: &[u8],
    patterns: &[RefreshPattern],
    wall: u64,
) -> (u64, Source) {
    let date = response.date.unwrap_or(wall);
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
    if let Some(pattern) = patterns.iter().find(|pattern| pattern.applies(url)) {
        let share =
            since_change.map_or(0, |age| age.saturating_mul(u64::from(pattern.percent)) / 100);
        return (share.min(pattern.max.as_secs()).max(pattern.min.as_secs()), Source::Pattern);
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

/// Statuses that RFC 9110 §15.1 calls heuristically cacheable, without 206.
const fn heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bypass {
    /// Neither GET nor HEAD.
    #[error("the method is neither GET nor HEAD")]
    Method,
    /// A GET with a body asks for something of its own.
    #[error("the request has a body")]
    Body,
    /// `no-store`.
    #[error("the request says no-store")]
    NoStore,
    /// If-Match and its like.
    #[error("the request has a precondition that only the origin can decide")]
    Precondition,
    /// The cache is switched off.
    #[error("the cache is switched off")]
    Off,
}

/// Whether the cache has a say in a request.
pub fn eligible(request: &RequestFacts) -> Result<(), Bypass> {
    if !request.get && !request.head {
        Err(Bypass::Method)
    } else if request.body {
        Err(Bypass::Body)
    } else if request.directives.no_store {
        Err(Bypass::NoStore)
    } else if request.precondition {
        Err(Bypass::Precondition)
    } else {
        Ok(())
    }
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Only answers to GET are stored.
    #[error("not an answer to a plain GET")]
    Method,
    /// 206, 304 and what this cache does not know.
    #[error("its status is not one that this cache stores")]
    Status,
    /// `no-store`.
    #[error("the response says no-store")]
    NoStore,
    /// `private`.
    #[error("the response says private")]
    Private,
    /// Authorization without leave (RFC 9111 §3.5).
    #[error("the request had Authorization and the response does not say that it may be shared")]
    Authorization,
    /// `Vary: *`.
    #[error("the response varies with everything")]
    VaryAnything,
    /// Nothing says that it lives, and there is nothing to validate it with.
    #[error("it would be stale at once and has no validator")]
    Useless,
    /// Sets a cookie and says nothing of caching.
    #[error("it sets a cookie and does not say how long it lives")]
    Cookie,
    /// Ends with the connection, so that a truncated one looks complete, and `store_until_close` is
    /// off.
    #[error("its length is unknown and its end cannot be told from a lost connection")]
    Unframed,
    /// Over `max_object_size`.
    #[error("larger than max_object_size")]
    TooLarge,
    /// The memory is full of fills in progress.
    #[error("no memory left beside the fills in progress")]
    NoRoom,
}

impl NotStored {
    /// Whether the next answer for the same URL is for one request only, as far as one can tell.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::NoRoom | Self::Method)
    }
}

/// Whether a response to this request may be stored, and how long it lives (RFC 9111 §3).
pub fn storable(
    request: &RequestFacts,
    response: &ResponseFacts,
    freshness: &Freshness,
) -> Result<(), NotStored> {
    let directives = &response.directives;
    if !request.get || request.range || request.directives.no_store {
        return Err(NotStored::Method);
    }
    if !(200..=599).contains(&response.status)
        || matches!(response.status, 206 | 304)
        || response.content_range
    {
        return Err(NotStored::Status);
    }
    if directives.no_store {
        return Err(NotStored::NoStore);
    }
    if directives.private {
        return Err(NotStored::Private);
    }
    if request.authorization
        && !(directives.public || directives.must_revalidate || directives.s_maxage.is_some())
    {
        return Err(NotStored::Authorization);
    }
    match &response.vary {
        Vary::Anything => return Err(NotStored::VaryAnything),
        Vary::Fields(names) if names.iter().any(|name| WRITTEN_ANEW.contains(&name.as_ref())) => {
            return Err(NotStored::VaryAnything);
        }
        Vary::Fields(_) | Vary::Nothing => {}
    }
    let explicit = directives.public
        || directives.s_maxage.is_some()
        || directives.max_age.is_some()
        || response.expires.is_some();
    if !explicit && !heuristically_cacheable(response.status) {
        return Err(NotStored::Status);
    }
    if !explicit && response.set_cookie {
        return Err(NotStored::Cookie);
    }
    let validator = response.etag.is_some() || response.last_modified.is_some();
    let lives = freshness.lifetime > freshness.initial_age && !directives.no_cache;
    if lives || (validator && response.status == 200) { Ok(()) } else { Err(NotStored::Useless) }
}

/// Why something stored is not served as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Past its lifetime.
    #[error("stale")]
    Stale,
    /// `no-cache` of the response.
    #[error("the response says no-cache: it is validated before every use")]
    NoCache,
    /// `no-cache` of the request.
    #[error("the request says no-cache")]
    Reload,
    /// Older than the request's `max-age`.
    #[error("older than the max-age of the request")]
    TooOld,
    /// Less freshness left than the request's `min-fresh`.
    #[error("not fresh for as long as the min-fresh of the request")]
    MinFresh,
}

/// Whether something stored may be served without asking the origin (RFC 9111 §4). Tells the age.
pub fn usable(stored: &Freshness, request: &RequestDirectives, now: u64) -> Result<u64, Unfit> {
    let age = stored.age(now);
    if stored.directives.no_cache {
        return Err(Unfit::NoCache);
    }
    if request.no_cache {
        return Err(Unfit::Reload);
    }
    if request.max_age.is_some_and(|most| age > most) {
        return Err(Unfit::TooOld);
    }
    if request.min_fresh.is_some_and(|left| age.saturating_add(left) > stored.lifetime) {
        return Err(Unfit::MinFresh);
    }
    if age < stored.lifetime {
        return Ok(age);
    }
    match request.max_stale {
        Some(most) if !stored.directives.forbids_stale() && stored.staleness(now) <= most => {
            Ok(age)
        }
        _ => Err(Unfit::Stale),
    }
}

/// What went wrong with the validation of something stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer could be had.
    Unreachable,
    /// The origin answered with 500, 502, 503 or 504.
    ServerError,
}

/// Whether something stale may stand in for an answer that could not be had (RFC 9111 §4.2.4, RFC
/// 5861 §4).
#[must_use]
pub fn may_stand_in(
    stored: &Freshness,
    request: &RequestDirectives,
    now: u64,
    trouble: Trouble,
) -> bool {
    if stored.directives.forbids_stale()
        || request.no_cache
        || request.max_age.is_some()
        || request.min_fresh.is_some()
    {
        return false;
    }
    let staleness = stored.staleness(now);
    match (stored.directives.stale_if_error.or(request.stale_if_error), trouble) {
        (Some(grace), _) => staleness <= grace,
        (None, Trouble::Unreachable) => staleness <= UNREACHABLE_GRACE,
        (None, Trouble::ServerError) => false,
    }
}

/// Whether an answer to an unsafe method makes what is stored for its URL doubtful (RFC 9111 §4.4).
#[must_use]
pub fn invalidates(method: &[u8], status: u16) -> bool {
    !matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE") && (200..400).contains(&status)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

//! `proxy.cache.refresh_patterns`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration;
use crate::schema::notation::{Duration, Glob, Regex};

/// Freshness and exceptions from RFC 9111, as Squid's refresh_pattern with its options by their
/// names. An answer is: stale when it is older than `max`; fresh for `percent` of the time between
/// Last-Modified and Date where both are there, and for `min` where they are not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RefreshPattern {
    /// For URLs in which it is found. Either this or `url_glob`.
    pub url_regex: Option<Regex>,
    /// For URLs that look like this as a whole.
    pub url_glob: Option<Glob>,
    /// Squid's `-i`.
    pub ignore_case: bool,
    /// Whether it is for URLs with a query, too. Without it only if it names the `?` (`\?`): what
    /// follows that is anything that a client likes.
    pub queries: Option<bool>,
    /// Fresh for so long, where there is no Last-Modified.
    pub min: Duration,
    /// Percent of the time since Last-Modified.
    #[schemars(range(min = 0, max = 10000))]
    pub percent: u32,
    /// Fresh for at most this long.
    pub max: Duration,
    /// `min` holds also where the answer says a shorter time, unless it says `no-cache`,
    /// `must-revalidate`, `proxy-revalidate` or `s-maxage`.
    pub override_expire: bool,
    /// `min` holds also where `percent` of the time since Last-Modified is shorter.
    pub override_lastmod: bool,
    /// Changes nothing: a reload validates what is stored in any case.
    pub reload_into_ims: bool,
    /// A client's `no-cache` and `max-age=0` do not count.
    pub ignore_reload: bool,
    /// `no-store` of an answer does not count.
    pub ignore_no_store: bool,
    /// `private` of an answer does not count; what says it is validated before every use.
    pub ignore_private: bool,
    /// Changes nothing, as in Squid: what says `no-cache` is stored and validated before every use.
    pub ignore_no_cache: bool,
    /// `must-revalidate` and `proxy-revalidate` do not count: what is stale may be served.
    pub ignore_must_revalidate: bool,
    /// Answers to requests with Authorization are stored and shared as if they had none.
    pub ignore_auth: bool,
    /// What is stale at once and has no validator is stored all the same, to stand in for answers
    /// that cannot be had.
    pub store_stale: bool,
    /// So long past its lifetime an answer stands in for one that cannot be had (no answer, or 500,
    /// 502, 503, 504), and no longer, whatever `stale_if_unreachable` says. An answer's own
    /// `stale-if-error` may make it shorter.
    pub max_stale: Option<Duration>,
    /// A client's If-None-Match and If-Modified-Since are judged by the origin, and not by what is
    /// stored.
    pub refresh_ims: bool,
}

impl Default for RefreshPattern {
    fn default() -> Self {
        Self {
            url_regex: None,
            url_glob: None,
            ignore_case: false,
            queries: None,
            min: duration("0s"),
            percent: 20,
            max: duration("3d"),
            override_expire: false,
            override_lastmod: false,
            reload_into_ims: false,
            ignore_reload: false,
            ignore_no_store: false,
            ignore_private: false,
            ignore_no_cache: false,
            ignore_must_revalidate: false,
            ignore_auth: false,
            store_stale: false,
            max_stale: None,
            refresh_ims: false,
        }
    }
}

//! What an operator has the cache of a proxy-node do beside what the RFCs have it do.

use crate::units;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Freshness and exceptions for URLs that match, as Squid's refresh_pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshPattern {
    /// In the syntax of the `regex` crate; it compiles. A glob has become one.
    pub url_regex: String,
    /// Whether it means URLs with a query too; none: if it names `?`.
    #[serde(default)]
    pub queries: Option<bool>,
    /// Fresh for at least this long, where nothing says when it changed.
    #[serde(with = "units::duration")]
    pub min: Duration,
    /// Percent of the time since Last-Modified; may exceed 100.
    pub percent: u32,
    /// Fresh for at most this long.
    #[serde(with = "units::duration")]
    pub max: Duration,
    /// What of the RFCs does not hold.
    #[serde(default)]
    pub overrides: Overrides,
}

/// The options of a refresh pattern, by their names in Squid. Those of them that change nothing are
/// not here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// `min` also where the answer says a shorter time.
    pub override_expire: bool,
    /// `min` also where a share of the time since Last-Modified is shorter.
    pub override_lastmod: bool,
    /// A client's `no-cache` and `max-age=0` do not count.
    pub ignore_reload: bool,
    /// `no-store` of an answer does not count.
    pub ignore_no_store: bool,
    /// `private` of an answer means `no-cache`.
    pub ignore_private: bool,
    /// `must-revalidate` and `proxy-revalidate` do not count.
    pub ignore_must_revalidate: bool,
    /// The request's Authorization does not count.
    pub ignore_auth: bool,
    /// What is stale at once and cannot be validated is stored all the same.
    pub store_stale: bool,
    /// So long past its lifetime an answer stands in for one that cannot be had, and no longer.
    #[serde(with = "units::optional_duration")]
    pub max_stale: Option<Duration>,
    /// A client's condition is for the origin to judge.
    pub refresh_ims: bool,
}

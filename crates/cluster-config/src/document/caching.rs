//! What an operator has the cache of a proxy-node do beside what the RFCs have it do.

use super::{DomainPattern, Term};
use crate::units;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

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

/// What the cache does by the operator's word alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Where answers are kept, by request; first match wins, and without one everywhere.
    pub rules: Vec<StoreRule>,
    /// How long answers live of which nothing else says it; first match wins.
    pub default_ttls: Vec<DefaultTtl>,
    /// Which answers to requests with Authorization are shared.
    pub authorization: Authorization,
    /// What several URLs share; first match wins.
    pub keys: Vec<KeyRule>,
}

/// Where answers to some requests are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRule {
    /// Where.
    pub store: Where,
    /// All of them hold; they are ACLs of `access`.
    pub terms: Vec<Term>,
}

impl fmt::Display for StoreRule {
    /// `never: [intranet, !images]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = match self.store {
            Where::Never => "never",
            Where::Memory => "memory",
            Where::Disk => "disk",
            Where::Anywhere => "anywhere",
        };
        let terms: Vec<String> = self.terms.iter().map(ToString::to_string).collect();
        write!(f, "{store}: [{}]", terms.join(", "))
    }
}

/// Where something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Where {
    /// Nowhere, and nothing that is kept is served.
    Never,
    /// In memory alone.
    Memory,
    /// On the disk alone, once it is whole.
    Disk,
    /// Both.
    #[default]
    Anywhere,
}

/// How long answers with some statuses live that do not say it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultTtl {
    /// Lowest status.
    pub first: u16,
    /// Highest status.
    pub last: u16,
    /// For so long; zero: not.
    #[serde(with = "units::duration")]
    pub ttl: Duration,
}

/// Which answers to requests with Authorization are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// Those that say `public`, `must-revalidate` or `s-maxage` (RFC 9111 §3.5).
    #[default]
    Rfc9111,
    /// Those that say `public`.
    Public,
    /// None.
    Never,
}

/// What several URLs share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyRule {
    /// In the syntax of the `regex` crate; it compiles. A glob has become one.
    pub url_regex: String,
    /// Query parameters that are taken away; a `*` at the end stands for any end.
    pub drop_query: Vec<String>,
    /// All but these are taken away.
    pub keep_query: Option<Vec<String>>,
    /// Query parameters come in the order of their names.
    pub sort_query: bool,
    /// What takes the place of the match, with `$1` or `${name}` for its groups.
    pub to: Option<String>,
    /// Hosts that `to` may put together.
    pub merge_hosts: Vec<DomainPattern>,
    /// A group named `sha256` or `sha512` is the digest of what the URL names, in hex.
    pub immutable: bool,
}

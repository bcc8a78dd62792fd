//! `proxy.cache`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    caching::{Authorization, DefaultTtl, KeyRule, StoreRule},
    duration,
    purge::Purge,
    refresh::RefreshPattern,
    size,
};
use crate::schema::notation::{Duration, FieldName, Size};

/// The cache.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Memory for cached objects; `0B`: nothing is cached.
    pub memory: Size,
    /// Disk for cached objects, at least `4MiB`: what memory cannot hold, and what is there again
    /// after a restart. Absent or `0B`: memory alone. The directory is the node's `--cache-dir`.
    pub disk: Option<Size>,
    /// Larger bodies are not kept.
    pub max_object_size: Size,
    /// Concurrent misses of one key share one fetch.
    pub collapsed_forwarding: bool,
    /// Every object belongs to one node by the hash of its URL, the one that balancers with
    /// `uri_hash` pick by: a node that has it not asks that node, at its relay listener, before the
    /// origin, and keeps a copy only of what is asked for often. The nodes of one datacenter divide
    /// what there is; one that is silent, gone or full is passed over. Requests with credentials go
    /// to the origin. Off by default: it changes which node origins hear from.
    pub owners: bool,
    /// How long a request waits for a fetch of another that makes no progress before it fetches for
    /// itself.
    pub follow_timeout: Duration,
    /// A request for a part that begins before this place fetches and keeps the whole, if that is
    /// no larger than `max_object_size`, as Squid's range_offset_limit; `0B`: parts are fetched
    /// alone and not kept.
    pub range_offset_limit: Size,
    /// When a fetch ends that fills the cache and whose clients have all left, by Squid's rules of
    /// that name. Absent: it goes on. In any case for 30 s at most.
    pub quick_abort: Option<QuickAbort>,
    /// Keep responses whose end is the end of the connection, although one that was cut cannot be
    /// told from a whole one.
    pub store_until_close: bool,
    /// How long past its lifetime a response stands in for an origin that is out of reach, where
    /// neither it nor the request forbids that; `0s`: never.
    pub stale_if_unreachable: Duration,
    /// Fields for caches of one kind, like `CDN-Cache-Control` (RFC 9213), the first one first:
    /// where a response has a valid one, its Cache-Control and Expires do not count here.
    pub targeted_fields: Vec<FieldName>,
    /// Request fields whose order, case and spelling of `q` mean nothing where Vary names them.
    pub vary_normalized: Vec<Negotiated>,
    /// How long answers live that do not say so, and what of RFC 9111 does not hold, by URL. First
    /// match wins. Their times are never for a request with Cookie or Authorization, nor for
    /// answers with 204 or 4xx and 5xx but 410.
    pub refresh_patterns: Vec<RefreshPattern>,
    /// Where answers are kept, by request. First match wins; without a match everywhere.
    pub rules: Vec<StoreRule>,
    /// How long answers live of which neither they nor a refresh pattern nor Last-Modified says it:
    /// negative answers above all. First match wins. None is for a request with Cookie or
    /// Authorization, nor for a successful one with a query.
    pub default_ttls: Vec<DefaultTtl>,
    /// Which answers to requests with Authorization are stored and shared.
    pub authorization: Authorization,
    /// What several URLs share. First match wins.
    pub keys: Vec<KeyRule>,
    /// Purges.
    pub purge: Purge,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory: size("256MiB"),
            disk: None,
            max_object_size: size("50MiB"),
            collapsed_forwarding: true,
            owners: false,
            follow_timeout: duration("2s"),
            range_offset_limit: size("1MiB"),
            quick_abort: None,
            store_until_close: false,
            stale_if_unreachable: duration("1d"),
            targeted_fields: Vec::new(),
            vary_normalized: vec![Negotiated::AcceptEncoding],
            refresh_patterns: Vec::new(),
            rules: Vec::new(),
            default_ttls: Vec::new(),
            authorization: Authorization::default(),
            keys: Vec::new(),
            purge: Purge::default(),
        }
    }
}

/// What is worth fetching to its end although nobody waits for it. A body of unknown length is not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QuickAbort {
    /// With less than this to come, it goes on.
    pub min: Size,
    /// With more than this to come, it ends.
    pub max: Size,
    /// In between it goes on when more than this much of it has come.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}

impl Default for QuickAbort {
    fn default() -> Self {
        Self { min: size("16KiB"), max: size("16KiB"), percent: 95 }
    }
}

/// A request field by which content is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Negotiated {
    /// Media types.
    Accept,
    /// Content codings.
    AcceptEncoding,
    /// Languages.
    AcceptLanguage,
}

//! `proxy.cache.rules`, `default_ttls`, `authorization` and `keys`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OneOrMany;
use crate::{
    document::caching as document,
    schema::notation::{Domain, Duration, Glob, Regex, Status},
};

/// Where answers to some requests are kept: exactly one of the keys, with names of ACLs of
/// `access.acls`. All that are named must match, `!name` matches when `name` does not. ACLs of kind
/// `dst` and `dst_list` have no place here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreRule {
    /// Nowhere: what is kept is not served, and nothing is kept.
    pub never: Option<Vec<String>>,
    /// In memory alone.
    pub memory: Option<Vec<String>>,
    /// On the disk alone, once it is whole.
    pub disk: Option<Vec<String>>,
    /// In both: what later rules say is not for these.
    pub anywhere: Option<Vec<String>>,
}

/// How long answers live that do not say it, by status.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DefaultTtl {
    /// Statuses.
    pub status: OneOrMany<Status>,
    /// For so long; `0s`: they are not kept.
    pub ttl: Duration,
}

/// Which answers to requests with Authorization are shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// Those that say `public`, `must-revalidate` or `s-maxage` (RFC 9111 §3.5).
    #[default]
    Rfc9111,
    /// Those alone that say `public`.
    Public,
    /// None, whatever they say.
    Never,
}

/// What several URLs share. The first rule that is for a URL makes its key: query parameters are
/// taken away, then sorted, then `to` is put for the match. Parameters that are taken away do not
/// reach the origin either, so that no answer depends on what its key has not.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRule {
    /// For URLs in which it is found. Either this or `url_glob`.
    pub url_regex: Option<Regex>,
    /// For URLs that look like this as a whole.
    pub url_glob: Option<Glob>,
    /// Query parameters that are taken away; `utm_*` is all that begin so.
    pub drop_query: Vec<String>,
    /// All query parameters but these are taken away.
    pub keep_query: Option<Vec<String>>,
    /// The order of query parameters means nothing.
    pub sort_query: bool,
    /// What takes the place of what `url_regex` finds, with `$1` or `${name}` for its groups, as
    /// Squid's store_id. A result of another scheme, host or port counts only if `merge_hosts`
    /// names both hosts; else the URL keeps its own key.
    pub to: Option<String>,
    /// Hosts, and with a dot domains, that `to` may put together, because each of them answers for
    /// all. Schemes and ports with them.
    pub merge_hosts: Vec<Domain>,
    /// What the URL names never changes: the group `(?<sha256>…)` or `(?<sha512>…)` of `url_regex`
    /// is its digest in hex. A 200 lives for ever then, and is kept only if its body has that
    /// digest.
    pub immutable: bool,
}

impl From<Authorization> for document::Authorization {
    fn from(written: Authorization) -> Self {
        match written {
            Authorization::Rfc9111 => Self::Rfc9111,
            Authorization::Public => Self::Public,
            Authorization::Never => Self::Never,
        }
    }
}

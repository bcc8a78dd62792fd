//! `proxy.cache.purge`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::duration;
use crate::schema::notation::Duration;

/// Purges.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// So long what is stored is used without that the registry has confirmed that it was not
    /// purged; after that it is validated first. A node that cannot reach the registry goes on
    /// serving, and a purge that it does not hear of takes effect after this time. `0s`: what is
    /// stored is used for as long as it lives.
    pub confirm_within: Duration,
    /// Who may take a URL out of the cache with the method PURGE: lists of names of ACLs of
    /// `access.acls`, as in `[[editors], [build_hosts, internal_sites]]`. All names of one list
    /// must match, `!name` matches when `name` does not. Others get 403; PURGE is never sent on.
    /// ACLs of kind `dst` and `dst_list` have no place here.
    pub allow: Vec<Vec<String>>,
    /// A PURGE is for all nodes, through the registry, and not only for the one that gets it.
    pub everywhere: bool,
}

impl Default for Purge {
    fn default() -> Self {
        Self { confirm_within: duration("10m"), allow: Vec::new(), everywhere: false }
    }
}

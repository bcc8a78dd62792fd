//! `limits` of a door for clients.

use super::notation::Size;
use crate::document;
use schemars::JsonSchema;
use serde::Deserialize;

/// Less than one head would refuse everybody.
const LEAST_UNFINISHED: u64 = 64 << 10;

/// What one client may have: an IPv4 address or an IPv6 /64. Its oldest idle connections are closed for its newer ones. Balancers on the relay
/// door and `trusted_downstreams` are no clients.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at a time, 16384 without it; and never more than twice as many as the process has descriptors left for clients, where 256 (or an
    /// eighth of all, if that is less) may always be had.
    #[schemars(range(min = 1))]
    pub connections_per_client: Option<u32>,
    /// Memory for requests that have not come as a whole; `4MiB` without it, and never less than `64KiB`.
    pub unfinished_per_client: Option<Size>,
}

impl From<Limits> for document::Limits {
    fn from(limits: Limits) -> Self {
        let unfinished = limits.unfinished_per_client.map_or(Self::default().unfinished_per_client, |size| size.value);
        Self { connections_per_client: limits.connections_per_client, unfinished_per_client: unfinished.max(LEAST_UNFINISHED) }
    }
}

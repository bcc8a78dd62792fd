//! How long answers live of which nothing says it, by their status: Squid's `negative_ttl`, but
//! for statuses that the configuration names.

use super::freshness::{Freshness, Source};
use crate::cache::facts::{RequestFacts, ResponseFacts};

/// How long answers with some statuses live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultTtl {
    /// Lowest status.
    pub first: u16,
    /// Highest status.
    pub last: u16,
    /// In seconds; 0: they are not kept by this.
    pub ttl: u64,
}

/// Gives an answer its default lifetime, where nothing else says how long it lives. The first entry
/// for its status counts. Nobody guesses for who says who he is, nor what a query is good for that
/// succeeded.
pub(super) fn apply(
    ttls: &[DefaultTtl],
    request: &RequestFacts,
    response: &ResponseFacts,
    url: &[u8],
    freshness: &mut Freshness,
) {
    let silent = freshness.source == Source::Unknown && !request.personal();
    if !silent || (response.status < 400 && url.contains(&b'?')) {
        return;
    }
    let found = ttls.iter().find(|ttl| (ttl.first..=ttl.last).contains(&response.status));
    if let Some(DefaultTtl { ttl, .. }) = found.filter(|found| found.ttl > 0) {
        (freshness.lifetime, freshness.source) = (*ttl, Source::Default);
    }
}

//! To the next hop, past the cache.

use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use super::{plan::Why, resource::Fetch};
use crate::{
    cache::policy::Unfit, record::Outcome, relay as forward, respond::Error,
    transaction::Transaction,
};

/// What a request that is not answered from memory counts for while it is under way: its future,
/// buffers of two connections, a piece of a body.
pub(super) const TRANSACTION: u64 = 32 * 1024;

/// Past the cache. What becomes a tunnel is no work of the cache's account: it may last for days.
pub(super) async fn pass(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
) -> ConnectionEnd {
    note(transaction, why);
    if why == Why::Upgrade {
        return forward(transaction, stream, fetch, why).await;
    }
    let store = transaction.local.node.store.clone();
    if !store.has_room_for_work() {
        return transaction.refuse(stream, fetch.request, Error::Limit, None).await;
    }
    let _working = store.budget().work(TRANSACTION);
    forward(transaction, stream, fetch, why).await
}

/// Counts why the cache does not answer by itself, and notes it for the log.
pub(super) fn note(transaction: &mut Transaction, why: Why) {
    match why {
        Why::Upgrade | Why::Bypass(_) | Why::Contended => return,
        Why::Policy | Why::Partial => {}
        Why::Unfit(Unfit::Reload) => transaction.record.outcome = Outcome::ClientRefresh,
        Why::Missing | Why::Halted | Why::Unfit(_) => transaction.record.outcome = Outcome::Miss,
    }
    transaction.count(|metrics| &metrics.misses);
}

/// To the next hop and back.
pub(super) async fn forward(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
) -> ConnectionEnd {
    let status = cache_status(transaction, why.cache_status());
    let addresses = fetch.addresses.clone();
    let Fetch { request, destination, key, .. } = fetch;
    forward::run(transaction, stream, request, destination, key, addresses, &status).await
}

/// A value of Cache-Status (RFC 9211).
pub(super) fn cache_status(transaction: &Transaction, detail: &str) -> String {
    format!("{}; {detail}", transaction.local.node.cache_name)
}

/// What is stored, or being fetched, is not for this client: it goes as far as it may go itself.
pub(super) async fn for_itself(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
) -> ConnectionEnd {
    if fetch.facts.directives.only_if_cached {
        return transaction.refuse(stream, fetch.request, Error::OnlyIfCached, None).await;
    }
    pass(transaction, stream, fetch, Why::Policy).await
}

//! To the next hop, past the cache.

use std::sync::Arc;

use dataplane::connection::ConnectionEnd;
use relay::{exchange::Upload, framing::BodyFraming, stream::Stream};

use super::{
    changes::Changes,
    deliver::{Delivery, deliver},
    fill::{self, Lead},
    order::Order,
    plan::Why,
    resource::Fetch,
};
use crate::{
    cache::{
        object::Object,
        policy::{Bypass, Unfit},
    },
    record::Outcome,
    relay::{self as forward, Asked, Received},
    respond::Error,
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

/// A HEAD for what is `stored` and not fit goes there too, and its answer may renew that.
pub(super) async fn head(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
    stored: Arc<Object>,
) -> ConnectionEnd {
    note(transaction, why);
    let store = transaction.local.node.store.clone();
    if !store.has_room_for_work() {
        return transaction.refuse(stream, fetch.request, Error::Limit, None).await;
    }
    let _working = store.budget().work(TRANSACTION);
    asking_of(transaction, stream, fetch, why, Some(stored)).await
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
    asking_of(transaction, stream, fetch, why, None).await
}

/// The same; the answer to a HEAD may say something of what is `stored`.
async fn asking_of(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
    stored: Option<Arc<Object>>,
) -> ConnectionEnd {
    let status = cache_status(transaction, why.cache_status());
    let Fetch { request, destination, .. } = *fetch;
    let addresses = fetch.addresses.as_ref();
    let asked = Asked { request, destination, addresses, cache_status: &status };
    let changes = Changes::new(transaction, fetch, why, stored);
    let answered =
        |transaction: &Transaction, answer: &Received| changes.answered(transaction, fetch, answer);
    match forward::run(transaction, stream, asked, answered).await {
        Ok(end) => end,
        Err(answer) => {
            Box::pin(posted(transaction, stream, fetch, *answer, changes.asked_at())).await
        }
    }
}

/// The answer to a POST that may answer a GET as well is kept, and sent from there.
async fn posted(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    answer: Received,
    asked_at: u64,
) -> ConnectionEnd {
    let ticket = transaction.local.node.store.lead(&fetch.key);
    let order = Order::posted(transaction, fetch);
    let leader = fill::take(order, ticket, answer, asked_at);
    let Some(led) = forward::unless_it_leaves(stream, leader).await else {
        return transaction.left();
    };
    let reason = Why::Bypass(Bypass::Method).cache_status();
    match led {
        Ok(Lead::Object { object, reader, hierarchy, took, cookies, .. }) => {
            transaction.record.hierarchy = hierarchy;
            let age = object.freshness.age(transaction.seconds());
            let status = Some(format!("{reason}; stored"));
            let mut delivery = Delivery { object, reader, status, took, age, leads: true, cookies };
            deliver(transaction, stream, fetch, &mut delivery).await
        }
        Ok(Lead::Response(answer, _)) => {
            let status = cache_status(transaction, reason);
            let mut upload = Upload::new(BodyFraming::Empty, false);
            forward::finish(transaction, stream, fetch.request, *answer, &mut upload, &status).await
        }
        Ok(Lead::Failed(failure)) => transaction.refuse(stream, fetch.request, failure, None).await,
        Err(_) => transaction.refuse(stream, fetch.request, Error::Internal, None).await,
    }
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

//! One look into the cache, and what is done then.

use std::time::Duration;

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use super::{
    Fetch, TRANSACTION,
    deliver::{Delivery, deliver},
    follow::follow,
    lead::lead,
    note, pass,
    plan::{self, Found, Plan},
    range,
};
use crate::{
    cache::{object::Object, store::Join},
    record::Outcome,
    respond::Failure,
    transaction::Transaction,
};

/// What came of one look into the cache.
pub(super) enum Looked {
    Answered(ConnectionEnd),
    Again,
}

/// Looks, and answers by what is found.
pub(super) async fn look(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
) -> Looked {
    match plan(transaction, fetch) {
        Plan::Serve { object, age } => {
            let Some(reader) = object.content.reader() else { return Looked::Again };
            transaction.count(|metrics| &metrics.hits);
            transaction.record.outcome = Outcome::MemHit;
            let mut delivery = Delivery {
                object,
                reader,
                status: None,
                took: Duration::ZERO,
                age,
                leads: false,
                cookies: Bytes::new(),
            };
            Looked::Answered(deliver(transaction, stream, fetch, &mut delivery).await)
        }
        // On the heap, so that a hit costs no room for them.
        Plan::Refuse => Looked::Answered(
            Box::pin(transaction.refuse(stream, fetch.request, Failure::OnlyIfCached, None)).await,
        ),
        Plan::Pass(why) => Looked::Answered(Box::pin(pass(transaction, stream, fetch, why)).await),
        Plan::Fill(plan) => Box::pin(fill(transaction, stream, fetch, plan)).await,
    }
}

/// The plan for what is stored now.
fn plan(transaction: &Transaction, fetch: &Fetch<'_>) -> Plan {
    let node = &transaction.local.node;
    let found = match node.store.find(&fetch.key, fetch.fields()) {
        Some(object) if may_have(transaction, fetch, &object) => Found::Object(object),
        Some(_) => Found::Forbidden,
        None => Found::Nothing,
    };
    plan::plan(
        &fetch.planned(),
        found,
        &transaction.generation.document.cache,
        node.steady.millis(),
        || node.store.is_unshared(&fetch.key, transaction.seconds()),
    )
}

/// Whether this client may have what is stored.
pub(super) fn may_have(transaction: &Transaction, fetch: &Fetch<'_>, object: &Object) -> bool {
    fetch.subject(transaction).may_have(object, fetch.addresses.is_some())
}

/// What is stored, or being fetched, is not for this client: it goes as far as it may go itself.
pub(super) async fn for_itself(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
) -> ConnectionEnd {
    if fetch.facts.directives.only_if_cached {
        return transaction.refuse(stream, fetch.request, Failure::OnlyIfCached, None).await;
    }
    pass(transaction, stream, fetch, plan::Why::Policy).await
}

/// Has the answer fetched for the cache, by this request or by another that does so already.
async fn fill(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    plan: plan::Fill,
) -> Looked {
    let store = transaction.local.node.store.clone();
    note(transaction, plan.why);
    if !store.has_room_for_work() {
        return Looked::Answered(
            transaction.refuse(stream, fetch.request, Failure::Limit, None).await,
        );
    }
    let _working = store.budget().work(TRANSACTION);
    let join = if plan.shared {
        store.join(&fetch.key, fetch.fields(), plan.found.as_ref(), transaction.seconds())
    } else {
        Join::Lead(store.lead(&fetch.key))
    };
    Looked::Answered(match join {
        Join::Changed(_) => return Looked::Again,
        Join::Follow(follower) if plan.part => {
            range::follow(transaction, stream, fetch, follower, plan.why).await
        }
        Join::Lead(ticket) if plan.part => {
            range::lead(transaction, stream, fetch, ticket, plan).await
        }
        Join::Follow(follower) => follow(transaction, stream, fetch, follower, plan).await,
        Join::Lead(ticket) => lead(transaction, stream, fetch, ticket, plan).await,
    })
}

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
    turn::Turn,
};

/// What came of one look into the cache.
pub(super) enum Looked {
    Answered(ConnectionEnd),
    Again,
}

/// Looks, and answers by what is found.
pub(super) async fn look(turn: &mut Turn, stream: &mut Stream, fetch: &Fetch<'_>) -> Looked {
    match plan(turn, fetch) {
        Plan::Serve { object, age } => {
            let Some(reader) = object.content.reader() else { return Looked::Again };
            turn.count(|metrics| &metrics.hits);
            turn.record.outcome = Outcome::MemHit;
            let delivery = Delivery {
                object,
                reader,
                status: None,
                took: Duration::ZERO,
                age,
                leads: false,
                cookies: Bytes::new(),
            };
            Looked::Answered(deliver(turn, stream, fetch, delivery).await)
        }
        // On the heap, so that a hit costs no room for them.
        Plan::Refuse => Looked::Answered(
            Box::pin(turn.refuse(stream, fetch.asked, Failure::OnlyIfCached, None)).await,
        ),
        Plan::Pass(why) => Looked::Answered(Box::pin(pass(turn, stream, fetch, why)).await),
        Plan::Fill(plan) => Box::pin(fill(turn, stream, fetch, plan)).await,
    }
}

/// The plan for what is stored now.
fn plan(turn: &Turn, fetch: &Fetch<'_>) -> Plan {
    let node = &turn.local.node;
    let found = match node.store.find(&fetch.key, fetch.fields()) {
        Some(object) if may_have(turn, fetch, &object) => Found::Object(object),
        Some(_) => Found::Forbidden,
        None => Found::Nothing,
    };
    plan::plan(
        &fetch.planned(),
        found,
        &turn.generation.document.cache,
        node.steady.millis(),
        || node.store.is_unshared(&fetch.key, turn.seconds()),
    )
}

/// Whether this client may have what is stored.
pub(super) fn may_have(turn: &Turn, fetch: &Fetch<'_>, object: &Object) -> bool {
    fetch.subject(turn).may_have(object, fetch.addresses.is_some())
}

/// What is stored, or being fetched, is not for this client: it goes as far as it may go itself.
pub(super) async fn for_itself(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
) -> ConnectionEnd {
    if fetch.facts.directives.only_if_cached {
        return turn.refuse(stream, fetch.asked, Failure::OnlyIfCached, None).await;
    }
    pass(turn, stream, fetch, plan::Why::Policy).await
}

/// Has the answer fetched for the cache, by this request or by another that does so already.
async fn fill(turn: &mut Turn, stream: &mut Stream, fetch: &Fetch<'_>, plan: plan::Fill) -> Looked {
    let store = turn.local.node.store.clone();
    note(turn, plan.why);
    if !store.has_room_for_work() {
        return Looked::Answered(turn.refuse(stream, fetch.asked, Failure::Limit, None).await);
    }
    let _working = store.budget().work(TRANSACTION);
    let join = if plan.shared {
        store.join(&fetch.key, fetch.fields(), plan.found.as_ref(), turn.seconds())
    } else {
        Join::Lead(store.lead(&fetch.key))
    };
    Looked::Answered(match join {
        Join::Changed(_) => return Looked::Again,
        Join::Follow(follower) if plan.part => {
            range::follow(turn, stream, fetch, follower, plan.why).await
        }
        Join::Lead(ticket) if plan.part => range::lead(turn, stream, fetch, ticket, plan).await,
        Join::Follow(follower) => follow(turn, stream, fetch, follower, plan).await,
        Join::Lead(ticket) => lead(turn, stream, fetch, ticket, plan).await,
    })
}

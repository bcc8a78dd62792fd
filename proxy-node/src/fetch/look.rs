//! One look into the cache, and what is done then.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use super::{
    deliver::{Delivery, deliver},
    fill,
    follow::follow,
    lead::lead,
    order::Order,
    past::{self, TRANSACTION, note, pass},
    plan::{self, Fetches, Found, Plan, Why},
    range,
    resource::Fetch,
    tier,
};
use crate::{
    cache::{
        content::Reader,
        disk::{Disk, Reading},
        object::Object,
        store::Join,
    },
    record::Outcome,
    respond::Error,
    transaction::Transaction,
};

/// Looks, and answers by what is found, unless that has changed meanwhile.
pub(super) async fn look(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
) -> ControlFlow<ConnectionEnd> {
    let (stored, from_disk) = match find(transaction, fetch) {
        Stored::Here(object) => (Some(object), None),
        Stored::Nowhere => (part(transaction, fetch), None),
        Stored::OnDisk(disk, reading) => {
            match Box::pin(tier::load(transaction, fetch, &disk, reading)).await {
                Some((object, reader)) => (Some(object), Some(reader)),
                None => (part(transaction, fetch), None),
            }
        }
    };
    let reader = |object: &Object, from_disk: Option<Reader>| match from_disk {
        Some(reader) => Some((reader, Outcome::Hit)),
        None => object.content.reader().map(|reader| (reader, Outcome::MemHit)),
    };
    let known = if fetch.facts.head { stored.clone() } else { None };
    match plan(transaction, fetch, stored) {
        Plan::Serve { object, age, behind } => {
            let Some((reader, outcome)) = reader(&object, from_disk) else {
                return ControlFlow::Continue(());
            };
            transaction.count(|metrics| &metrics.hits);
            transaction.record.outcome = outcome;
            if let Some(plan) = behind {
                validate_behind(transaction, fetch, &plan);
            }
            let mut delivery = Delivery {
                object,
                reader,
                status: None,
                took: Duration::ZERO,
                age,
                leads: false,
                cookies: Bytes::new(),
            };
            ControlFlow::Break(deliver(transaction, stream, fetch, &mut delivery).await)
        }
        // On the heap, so that a hit costs no room for them.
        Plan::Refuse => ControlFlow::Break(
            Box::pin(transaction.refuse(stream, fetch.request, Error::OnlyIfCached, None)).await,
        ),
        Plan::Pass(why @ Why::Unfit(_)) if let Some(known) = known => {
            ControlFlow::Break(Box::pin(past::head(transaction, stream, fetch, why, known)).await)
        }
        Plan::Pass(why) => {
            ControlFlow::Break(Box::pin(pass(transaction, stream, fetch, why)).await)
        }
        Plan::Fill(plan) => Box::pin(fetched(transaction, stream, fetch, plan)).await,
    }
}

/// Where what a request selects is.
enum Stored {
    Here(Arc<Object>),
    /// On its way from there.
    OnDisk(Arc<Disk>, Reading),
    Nowhere,
}

/// Looks in memory, and then in the index of what is on the disk.
fn find(transaction: &Transaction, fetch: &Fetch<'_>) -> Stored {
    let store = &transaction.local.node.store;
    if let Some(object) = store.find(&fetch.key, fetch.fields()) {
        return Stored::Here(object);
    }
    let Some(disk) = store.disk() else { return Stored::Nowhere };
    match disk.find(&fetch.key, fetch.fields()) {
        Some(reading) => Stored::OnDisk(disk, reading),
        None => Stored::Nowhere,
    }
}

/// What there is of something that nobody has whole, where that is what is asked for.
fn part(transaction: &Transaction, fetch: &Fetch<'_>) -> Option<Arc<Object>> {
    if !fetch.facts.range {
        return None;
    }
    let (planned, now) = (fetch.planned(), transaction.seconds());
    let fit = |part: &Object| planned.is_answered_by(part, now);
    transaction.local.node.store.part(&fetch.key, fetch.fields(), fit)
}

/// The plan for what is stored.
fn plan(transaction: &Transaction, fetch: &Fetch<'_>, stored: Option<Arc<Object>>) -> Plan {
    let node = &transaction.local.node;
    let found = match stored {
        Some(object) if !fetch.may_have(transaction, object.from) => Found::Forbidden,
        Some(object) if node.doubts(&transaction.generation, &object, node.steady.millis()) => {
            Found::Doubtful(object)
        }
        Some(object) => Found::Object(object),
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

/// Has something validated that is served already, unless somebody does so: of all requests for it
/// on all workers one leads (RFC 5861 §3).
fn validate_behind(transaction: &mut Transaction, fetch: &Fetch<'_>, plan: &plan::Fill) {
    transaction.count(|metrics| &metrics.stale);
    transaction.record.outcome = Outcome::StaleHit;
    let store = &transaction.local.node.store;
    let Some(found) = &plan.found else { return };
    if !store.has_room_for_work() || store.pause(&fetch.key, transaction.seconds()) > 0 {
        return;
    }
    let Some(order) = Order::new(transaction, fetch, plan).behind() else { return };
    if let Some(ticket) = store.lead_for(&fetch.key, fetch.fields(), found) {
        // Nobody waits for it.
        drop(fill::start(order, ticket));
    }
}

/// Has the answer fetched for the cache, by this request or by another that does so already.
async fn fetched(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    plan: plan::Fill,
) -> ControlFlow<ConnectionEnd> {
    let store = transaction.local.node.store.clone();
    note(transaction, plan.why);
    if !store.has_room_for_work() {
        return ControlFlow::Break(
            transaction.refuse(stream, fetch.request, Error::Limit, None).await,
        );
    }
    let _working = store.budget().work(TRANSACTION);
    let join = if plan.shared {
        store.join(&fetch.key, fetch.fields(), plan.found.as_ref(), transaction.seconds())
    } else {
        Join::Lead(store.lead(&fetch.key))
    };
    ControlFlow::Break(match join {
        Join::Changed(_) => return ControlFlow::Continue(()),
        Join::Follow(follower) if plan.fetches == Fetches::WholeForPart => {
            range::follow(transaction, stream, fetch, follower, plan.why).await
        }
        Join::Lead(ticket) if plan.fetches == Fetches::WholeForPart => {
            range::lead(transaction, stream, fetch, ticket, plan).await
        }
        Join::Follow(follower) => follow(transaction, stream, fetch, follower, plan).await,
        Join::Lead(ticket) => lead(transaction, stream, fetch, ticket, plan).await,
    })
}

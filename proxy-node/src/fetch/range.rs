//! Requests for a part of what is not stored: the whole is fetched and kept, and the part is sent
//! from it as it comes. [`super::plan`] says which; others are asked for alone.

use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use super::{
    deliver::{Delivery, deliver},
    fill::{self, Lead},
    follow::{awaited, collapsed, fits},
    lead::{filled, hinted},
    order::Order,
    past::forward,
    plan::{self, Fetches, Why},
    resource::Fetch,
    ticket::{Filled, Follower, Ticket},
};
use crate::{respond::Error, transaction::Transaction};

/// Waits for the fill of another. Where that does not reach the part, the part alone is asked for.
pub(super) async fn follow(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    mut follower: Follower,
    why: Why,
) -> ConnectionEnd {
    if let Filled::Stored(object) = awaited(transaction, &mut follower.outcome).await
        && fetch.may_have(transaction, object.from)
        && fits(transaction, fetch, &object, false)
        && plan::is_near(&fetch.planned(), &object, &transaction.generation.document.cache)
        && let Some(reader) = object.content.reader()
    {
        let mut delivery = collapsed(transaction, object, reader, why);
        return deliver(transaction, stream, fetch, &mut delivery).await;
    }
    forward(transaction, stream, fetch, why).await
}

/// Fetches the part alone.
async fn alone(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    plan: plan::Fill,
) -> ConnectionEnd {
    if !fetch.planned().wants_a_part_to_keep() {
        return forward(transaction, stream, fetch, plan.why).await;
    }
    let plan = plan::Fill { validates: false, shared: false, fetches: Fetches::Part, ..plan };
    let ticket = transaction.local.node.store.lead(&fetch.key);
    super::lead::lead(transaction, stream, fetch, ticket, plan).await
}

/// Fetches the whole; what cannot be kept is given up, and the part alone is asked for.
pub(super) async fn lead(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    ticket: Ticket,
    plan: plan::Fill,
) -> ConnectionEnd {
    let Some(order) = Order::new(transaction, fetch, &plan).whole() else {
        return forward(transaction, stream, fetch, plan.why).await;
    };
    let hints = ticket.hints();
    let Some(led) = hinted(transaction, stream, fill::start(order, ticket), hints, |_| true).await
    else {
        return transaction.left();
    };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies })
            if object.length().is_some() || object.status != 200 =>
        {
            let status = Some(filled(transaction, how, &plan, object.status));
            transaction.record.hierarchy = hierarchy;
            let age = object.freshness.age(transaction.seconds());
            let mut delivery = Delivery { object, reader, status, took, age, leads: true, cookies };
            deliver(transaction, stream, fetch, &mut delivery).await
        }
        Ok(Lead::Failed(failure)) => transaction.refuse(stream, fetch.request, failure, None).await,
        // Of unknown length, or not kept: the part alone is asked for.
        Ok(Lead::Object { .. } | Lead::Response(..)) => {
            Box::pin(alone(transaction, stream, fetch, plan)).await
        }
        Err(_) => transaction.refuse(stream, fetch.request, Error::Internal, None).await,
    }
}

//! Requests for a part of what is not stored: the whole is fetched and kept, and the part is sent
//! from it as it comes. [`super::plan`] says which; all others go to the origin as they are.

use dataplane::connection::ConnectionEnd;
use relay::{
    head::{Limits, Progress, RequestHead, Version},
    stream::Stream,
};

use super::{
    Fetch, Filled, Follower, Ticket,
    deliver::{Delivery, deliver},
    fill::{self, Lead, Order},
    follow::{awaited, collapsed, fits},
    forward,
    lead::{filled, hinted, order},
    look::may_have,
    plan::{self, Why},
};
use crate::{
    respond::Failure,
    transaction::{Request, Transaction},
};

/// Waits for the fill of another. Where that does not reach the part, the part alone is asked for.
pub(super) async fn follow(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    mut follower: Follower,
    why: Why,
) -> ConnectionEnd {
    if let Filled::Stored(object) = awaited(transaction, &mut follower.outcome).await
        && may_have(transaction, fetch, &object)
        && fits(transaction, fetch, &object, false)
        && plan::is_near(&fetch.planned(), &object, &transaction.generation.document.cache)
        && let Some(reader) = object.content.reader()
    {
        let mut delivery = collapsed(transaction, object, reader, why);
        return deliver(transaction, stream, fetch, &mut delivery).await;
    }
    forward(transaction, stream, fetch, why).await
}

/// Fetches the whole; what cannot be kept is given up, and the part alone is asked for.
pub(super) async fn lead(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    ticket: Ticket,
    plan: plan::Fill,
) -> ConnectionEnd {
    let Some(order) = whole_order(order(transaction, fetch, plan.stale())) else {
        return forward(transaction, stream, fetch, plan.why).await;
    };
    let hints = ticket.hints();
    let Some(led) = hinted(transaction, stream, fill::start(order, ticket), Some(hints)).await
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
            forward(transaction, stream, fetch, plan.why).await
        }
        Err(_) => transaction.refuse(stream, fetch.request, Failure::Internal, None).await,
    }
}

/// The order for the whole of what an order asks a part of.
pub(super) fn whole_order(order: Order) -> Option<Order> {
    if !order.facts.range {
        return Some(order);
    }
    let mut facts = order.facts.clone();
    facts.range = false;
    Some(Order { request: without_range(&order.request)?, facts, ..order })
}

fn without_range(request: &Request) -> Option<Request> {
    let view = request.view();
    let version = if view.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text =
        format!("{} {} {version}\r\n", view.method_text(), view.target_text()).into_bytes();
    for line in view.fields().filter(|line| !line.name.eq_ignore_ascii_case(b"range")) {
        for part in [line.name, b": ", line.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut head = Box::new(RequestHead::new());
    let parsed = matches!(head.parse(&text, &Limits::most()), Ok(Progress::Complete(_)));
    parsed.then(|| Request { head, bytes: text.into(), ..request.clone() })
}

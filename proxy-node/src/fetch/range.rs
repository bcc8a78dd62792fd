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
    turn::{Asked, Turn},
};

/// Waits for the fill of another. Where that does not reach the part, the part alone is asked for.
pub(super) async fn follow(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    mut follower: Follower,
    why: Why,
) -> ConnectionEnd {
    if let Filled::Stored(object) = awaited(turn, &mut follower.outcome).await
        && may_have(turn, fetch, &object)
        && fits(turn, fetch, &object, false)
        && plan::is_near(&fetch.planned(), &object, &turn.generation.document.cache)
        && let Some(reader) = object.content.reader()
    {
        let delivery = collapsed(turn, object, reader, why);
        return deliver(turn, stream, fetch, delivery).await;
    }
    forward(turn, stream, fetch, why).await
}

/// Fetches the whole; what cannot be kept is given up, and the part alone is asked for.
pub(super) async fn lead(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    ticket: Ticket,
    plan: plan::Fill,
) -> ConnectionEnd {
    let Some(order) = whole_order(order(turn, fetch, plan.stale())) else {
        return forward(turn, stream, fetch, plan.why).await;
    };
    let hints = ticket.hints();
    let Some(led) = hinted(turn, stream, fill::start(order, ticket), Some(hints)).await else {
        return turn.left();
    };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies })
            if object.length().is_some() || object.status != 200 =>
        {
            let status = Some(filled(turn, how, &plan, object.status));
            turn.record.hierarchy = hierarchy;
            let age = object.freshness.age(turn.seconds());
            let delivery = Delivery { object, reader, status, took, age, leads: true, cookies };
            deliver(turn, stream, fetch, delivery).await
        }
        Ok(Lead::Failed(failure)) => turn.refuse(stream, fetch.asked, failure, None).await,
        // Of unknown length, or not kept: the part alone is asked for.
        Ok(Lead::Object { .. } | Lead::Response(..)) => {
            forward(turn, stream, fetch, plan.why).await
        }
        Err(_) => turn.refuse(stream, fetch.asked, Failure::Internal, None).await,
    }
}

/// The order for the whole of what an order asks a part of.
pub(super) fn whole_order(order: Order) -> Option<Order> {
    if !order.facts.range {
        return Some(order);
    }
    let mut facts = order.facts.clone();
    facts.range = false;
    Some(Order { asked: without_range(&order.asked)?, facts, ..order })
}

fn without_range(asked: &Asked) -> Option<Asked> {
    let request = asked.view();
    let version = if request.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text =
        format!("{} {} {version}\r\n", request.method_text(), request.target_text()).into_bytes();
    for line in request.fields().filter(|line| !line.name.eq_ignore_ascii_case(b"range")) {
        for part in [line.name, b": ", line.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut head = Box::new(RequestHead::new());
    let parsed = matches!(head.parse(&text, &Limits::most()), Ok(Progress::Complete(_)));
    parsed.then(|| Asked { head, bytes: text.into(), ..asked.clone() })
}

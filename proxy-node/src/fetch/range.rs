//! Requests for a part of what is not stored: the whole is fetched and kept, and the part is sent
//! from it as it comes, as long as the part begins near enough to the beginning that nobody waits
//! for long or fetches much in vain. All others go to the origin as they are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    field::Field,
    head::{Limits, Progress, RequestHead, Version},
    stream::Stream,
};

use super::{
    Looked, Source, Way, awaited, deliver, filled, fits, hinted, may_have, order, past, why,
};
use crate::{
    cache::{
        body::Reader,
        fill::{self, Lead, Order},
        object::Object,
        policy::Unfit,
        serve,
        store::Join,
        ticket::{self, Ticket},
    },
    record::Outcome,
    respond::Failure,
    turn::{Asked, Turn},
};

/// Whether what is there of an object reaches the part that is asked for, or will soon.
pub(super) fn is_near(turn: &Turn, way: &Way<'_>, object: &Object) -> bool {
    if object.body.whole().is_some() || object.status != 200 {
        return true;
    }
    let limit = turn.generation.document.cache.range_offset_limit;
    object.length().is_some()
        && first(way)
            .is_some_and(|first| limit > 0 && first <= object.body.len().saturating_add(limit))
}

/// Where the part begins; `None`: at its end, or it is several.
fn first(way: &Way<'_>) -> Option<u64> {
    way.asked.view().value(Field::Range).and_then(serve::first_of)
}

/// Nothing fit is stored of which a part is asked for.
pub(super) async fn miss(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    found: Option<&Arc<Object>>,
    unfit: Option<Unfit>,
) -> Looked {
    let reason = why(unfit);
    let cache = &turn.generation.document.cache;
    let near = first(way).is_some_and(|first| first < cache.range_offset_limit);
    let facts = &way.facts;
    let own = facts.authorization
        || facts.directives.no_cache
        || facts.conditional()
        || !cache.collapsed_forwarding;
    let store = turn.local.node.store.clone();
    if !near || own || store.is_unshared(&way.key, turn.seconds()) {
        return Looked::Answered(past(turn, stream, way, reason).await);
    }
    let stale = found
        .filter(|object| {
            object.has_validator() && object.status == 200 && object.body.whole().is_some()
        })
        .cloned();
    match store.join(&way.key, way.fields(), found, turn.seconds()) {
        Join::Changed(_) => Looked::Again,
        Join::Lead(ticket) => lead(turn, stream, way, ticket, stale, reason).await,
        Join::Follow(mut follower) => {
            if let ticket::Outcome::Stored(object) = awaited(turn, &mut follower.outcome).await
                && may_have(turn, way, &object)
                && fits(way, &object, turn.seconds(), false)
                && is_near(turn, way, &object)
                && let Some(reader) = Reader::new(&object.body)
            {
                turn.count(|metrics| &metrics.collapsed);
                turn.record.outcome = Outcome::Collapsed;
                let status = Some(format!("{reason}; collapsed"));
                let age = object.freshness.age(turn.seconds());
                let source = Source {
                    object,
                    reader,
                    status,
                    took: Duration::ZERO,
                    age,
                    leads: false,
                    cookies: Bytes::new(),
                };
                return Looked::Answered(deliver(turn, stream, way, source).await);
            }
            Looked::Answered(past(turn, stream, way, reason).await)
        }
    }
}

/// Fetches the whole; what cannot be kept is given up, and the part alone is asked for.
async fn lead(
    turn: &mut Turn,
    stream: &mut Stream,
    way: &Way<'_>,
    ticket: Ticket,
    stale: Option<Arc<Object>>,
    reason: &'static str,
) -> Looked {
    let validates = stale.is_some();
    let Some(order) = whole_order(order(turn, way, stale)) else {
        return Looked::Answered(past(turn, stream, way, reason).await);
    };
    let hints = ticket.hints();
    let Some(led) = hinted(turn, stream, fill::start(order, ticket), Some(hints)).await else {
        turn.record.aborted = true;
        return Looked::Answered(ConnectionEnd::Abort);
    };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies })
            if object.length().is_some() || object.status != 200 =>
        {
            let status = filled(turn, how, validates, reason, object.status);
            turn.record.hierarchy = hierarchy;
            let age = object.freshness.age(turn.seconds());
            let source =
                Source { object, reader, status: Some(status), took, age, leads: true, cookies };
            Looked::Answered(deliver(turn, stream, way, source).await)
        }
        Ok(Lead::Failed(failure)) => {
            Looked::Answered(turn.refuse(stream, way.asked, failure, None).await)
        }
        // Of unknown length, or not kept: the part alone is asked for.
        Ok(Lead::Object { .. } | Lead::Response(..)) => {
            Looked::Answered(past(turn, stream, way, reason).await)
        }
        Err(_) => Looked::Answered(turn.refuse(stream, way.asked, Failure::Internal, None).await),
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

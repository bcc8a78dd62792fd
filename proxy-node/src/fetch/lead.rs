//! A fill of one's own, and the answer from it.

use std::{pin::pin, sync::Arc};

use dataplane::connection::ConnectionEnd;
use relay::{
    exchange::Upload,
    framing::BodyFraming,
    head::Version,
    stream::{Ahead, Stream},
};

use super::{
    Fetch, Hints, Ticket, cache_status,
    deliver::{Delivery, deliver},
    fill::{self, How, Lead, Order},
    plan,
};
use crate::{
    cache::object::Object, record::Outcome, relay as forward, respond::Failure, turn::Turn,
};

/// Fills, and is answered by the fill.
pub(super) async fn lead(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    ticket: Ticket,
    plan: plan::Fill,
) -> ConnectionEnd {
    let (validates, reason) = (plan.validates, plan.why.cache_status());
    let hints = ticket.hints();
    let answer = fill::start(order(turn, fetch, plan.stale()), ticket);
    let Some(led) = hinted(turn, stream, answer, Some(hints)).await else { return turn.left() };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies }) => {
            let status = filled(turn, how, &plan, object.status);
            turn.record.hierarchy = hierarchy;
            let age = object.freshness.age(turn.seconds());
            deliver(
                turn,
                stream,
                fetch,
                Delivery { object, reader, status: Some(status), took, age, leads: true, cookies },
            )
            .await
        }
        Ok(Lead::Response(received, not_stored)) => {
            tracing::trace!(request_id = %turn.id, reason = %not_stored, "not stored");
            if validates {
                turn.record.outcome = Outcome::RefreshModified;
            }
            let status = cache_status(turn, reason);
            let mut upload = Upload::new(BodyFraming::Empty, false);
            forward::finish(turn, stream, fetch.asked, *received, &mut upload, &status).await
        }
        Ok(Lead::Failed(failure)) => turn.refuse(stream, fetch.asked, failure, None).await,
        // The fill panicked, or its worker is being cut.
        Err(_) => turn.refuse(stream, fetch.asked, Failure::Internal, None).await,
    }
}

/// Waits for a fill to answer. The client gets interim responses as they come. `None`: it takes
/// nothing any more.
pub(super) async fn hinted<T>(
    turn: &Turn,
    stream: &mut Stream,
    answer: impl Future<Output = T>,
    hints: Option<Hints>,
) -> Option<T> {
    // RFC 9110 §15.2: no interim response to a client that knows none.
    let Some(mut hints) = hints.filter(|_| turn.version == Version::Http11) else {
        return forward::unless_it_leaves(stream, answer).await;
    };
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            biased;
            hint = hints.next() => stream.write_all(&[&hint], turn.generation.document.timeouts.write).await.ok()?,
            answered = &mut answer => return Some(answered),
            _ = stream.left(Ahead::OfAnswer) => return None,
        }
    }
}

/// What a fill has to know to ask for this request.
pub(super) fn order(turn: &Turn, fetch: &Fetch<'_>, stale: Option<Arc<Object>>) -> Order {
    Order {
        local: turn.local.clone(),
        generation: turn.generation.clone(),
        asked: fetch.asked.clone(),
        facts: fetch.facts.clone(),
        destination: fetch.destination.clone(),
        addresses: fetch.addresses.clone(),
        client: turn.client.address,
        forwarded: turn.client.forwarded,
        stale,
    }
}

/// Notes how a fill answered its leader; answers what Cache-Status says of it.
pub(super) fn filled(turn: &mut Turn, how: How, plan: &plan::Fill, status: u16) -> String {
    let reason = plan.why.cache_status();
    match how {
        How::Stored if plan.validates => {
            turn.record.outcome = Outcome::RefreshModified;
            format!("{reason}; fwd-status={status}; stored")
        }
        How::Stored => format!("{reason}; stored"),
        How::Unmodified => {
            turn.count(|metrics| &metrics.revalidated);
            turn.record.outcome = Outcome::RefreshUnmodified;
            format!("{reason}; fwd-status=304; stored")
        }
        How::StaleOnError => {
            turn.count(|metrics| &metrics.stale);
            turn.record.outcome = Outcome::RefreshFailOld;
            format!("{reason}; detail=stale-on-error")
        }
    }
}

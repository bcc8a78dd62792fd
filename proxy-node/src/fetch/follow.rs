//! The answer from the fill of another.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    stream::Stream,
    wheel::{Kind, Timer},
};
use tokio::sync::watch;

use super::{
    Fetch, Filled, Follower,
    deliver::{Delivery, deliver},
    lead::{hinted, lead},
    look::{for_itself, may_have},
    plan::{self, Why},
};
use crate::{
    cache::{content::Reader, object::Object},
    record::Outcome,
    turn::Turn,
};

/// Waits for the fill of another. A stalled one does not hold anybody for long; one whose answer is
/// not for this request sends it on its own.
pub(super) async fn follow(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    follower: Follower,
    plan: plan::Fill,
) -> ConnectionEnd {
    let began = relay::clock::now();
    let differs = turn.generation.egress_by_client || fetch.addresses.is_some();
    let Follower { mut outcome, hints } = follower;
    // Hints of where this client may not look are none of its business, and where that is shows
    // with the answer.
    let hints = (!differs).then_some(hints);
    let Some(filled) = hinted(turn, stream, awaited(turn, &mut outcome), hints).await else {
        return turn.left();
    };
    let fit = match filled {
        Filled::Stored(object) | Filled::StandIn(object) if !may_have(turn, fetch, &object) => {
            return for_itself(turn, stream, fetch).await;
        }
        // What another client could not reach says something of where this one may not look.
        Filled::Failed(_) if differs => return for_itself(turn, stream, fetch).await,
        Filled::Failed(failure) => {
            return turn.refuse(stream, fetch.asked, failure, None).await;
        }
        Filled::Waiting | Filled::OnYourOwn => None,
        Filled::Stored(object) => fits(turn, fetch, &object, false).then_some(object),
        Filled::StandIn(object) => fits(turn, fetch, &object, true).then_some(object),
    };
    if let Some(object) = fit
        && let Some(reader) = object.content.reader()
    {
        let mut delivery = collapsed(turn, object, reader, plan.why);
        delivery.took = relay::clock::since(began);
        return deliver(turn, stream, fetch, delivery).await;
    }
    let ticket = turn.local.node.store.lead(&fetch.key);
    lead(turn, stream, fetch, ticket, plan).await
}

/// Counts and describes an answer from the fill of another.
pub(super) fn collapsed(
    turn: &mut Turn,
    object: Arc<Object>,
    reader: Reader,
    why: Why,
) -> Delivery {
    turn.count(|metrics| &metrics.collapsed);
    turn.record.outcome = Outcome::Collapsed;
    Delivery {
        age: object.freshness.age(turn.seconds()),
        object,
        reader,
        status: Some(format!("{}; collapsed", why.cache_status())),
        took: Duration::ZERO,
        leads: false,
        cookies: Bytes::new(),
    }
}

/// Whether what somebody else fetched answers this request too.
pub(super) fn fits(turn: &Turn, fetch: &Fetch<'_>, object: &Object, stands_in: bool) -> bool {
    plan::fits(&fetch.facts, fetch.fields(), object, turn.seconds(), stands_in)
}

/// What becomes of a fill that is waited for, but not for long. One that has not even begun may be
/// as slow for everybody.
pub(super) async fn awaited(turn: &Turn, outcome: &mut watch::Receiver<Filled>) -> Filled {
    let timer = Timer::new(turn.local.worker.wheel());
    let known = timer
        .within(
            Kind::Other,
            turn.generation.document.cache.follow_timeout,
            outcome.wait_for(|outcome| !matches!(outcome, Filled::Waiting)),
        )
        .await;
    match known {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => Filled::OnYourOwn,
    }
}

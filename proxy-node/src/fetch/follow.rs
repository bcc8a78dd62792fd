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
    deliver::{Delivery, deliver},
    lead::{hinted, lead},
    past::for_itself,
    plan::{self, Why},
    resource::Fetch,
    ticket::{Filled, Follower},
};
use crate::{
    cache::{content::Reader, hints::Hint, object::Object},
    record::Outcome,
    transaction::Transaction,
};

/// Waits for the fill of another. A stalled one does not hold anybody for long; one whose answer is
/// not for this request sends it on its own.
pub(super) async fn follow(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    follower: Follower,
    plan: plan::Fill,
) -> ConnectionEnd {
    let began = relay::clock::now();
    let differs = transaction.generation.egress_by_client || fetch.addresses.is_some();
    let Follower { mut outcome, hints } = follower;
    // Hints of where this client may not look are none of its business.
    let may_have = |hint: &Hint| fetch.may_have(transaction, hint.from);
    let awaited = awaited(transaction, &mut outcome);
    let Some(filled) = hinted(transaction, stream, awaited, hints, may_have).await else {
        return transaction.left();
    };
    let fit = match filled {
        Filled::Stored(object) | Filled::StandIn(object)
            if !fetch.may_have(transaction, object.from) =>
        {
            return for_itself(transaction, stream, fetch).await;
        }
        // What another client could not reach says something of where this one may not look.
        Filled::Failed(_) if differs => return for_itself(transaction, stream, fetch).await,
        Filled::Failed(failure) => {
            return transaction.refuse(stream, fetch.request, failure, None).await;
        }
        Filled::Waiting | Filled::OnYourOwn => None,
        Filled::Stored(object) => fits(transaction, fetch, &object, false).then_some(object),
        Filled::StandIn(object) => fits(transaction, fetch, &object, true).then_some(object),
    };
    if let Some(object) = fit
        && let Some(reader) = object.content.reader()
    {
        let mut delivery = collapsed(transaction, object, reader, plan.why);
        delivery.took = relay::clock::since(began);
        return deliver(transaction, stream, fetch, &mut delivery).await;
    }
    let ticket = transaction.local.node.store.lead(&fetch.key);
    lead(transaction, stream, fetch, ticket, plan).await
}

/// Counts and describes an answer from the fill of another.
pub(super) fn collapsed(
    transaction: &mut Transaction,
    object: Arc<Object>,
    reader: Reader,
    why: Why,
) -> Delivery {
    transaction.count(|metrics| &metrics.collapsed);
    transaction.record.outcome = Outcome::Collapsed;
    Delivery {
        age: object.freshness.age(transaction.seconds()),
        object,
        reader,
        status: Some(format!("{}; collapsed", why.cache_status())),
        took: Duration::ZERO,
        leads: false,
        cookies: Bytes::new(),
    }
}

/// Whether what somebody else fetched answers this request too.
pub(super) fn fits(
    transaction: &Transaction,
    fetch: &Fetch<'_>,
    object: &Object,
    stands_in: bool,
) -> bool {
    let grace = transaction.generation.document.cache.stale_if_unreachable;
    let stands_in = stands_in.then_some(grace);
    plan::fits(&fetch.facts, fetch.fields(), object, transaction.seconds(), stands_in)
}

/// What becomes of a fill that is waited for, but not for long. One that has not even begun may be
/// as slow for everybody.
pub(super) async fn awaited(
    transaction: &Transaction,
    outcome: &mut watch::Receiver<Filled>,
) -> Filled {
    let timer = Timer::new(transaction.local.worker.wheel());
    let known = timer
        .within(
            Kind::Other,
            transaction.generation.document.cache.follow_timeout,
            outcome.wait_for(|outcome| !matches!(outcome, Filled::Waiting)),
        )
        .await;
    match known {
        Ok(Ok(outcome)) => outcome.clone(),
        Ok(Err(_)) | Err(_) => Filled::OnYourOwn,
    }
}

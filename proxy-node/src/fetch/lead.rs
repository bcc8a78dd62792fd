//! A fill of one's own, and the answer from it.

use std::pin::pin;

use dataplane::connection::ConnectionEnd;
use relay::{
    exchange::Upload,
    framing::BodyFraming,
    head::Version,
    stream::{Ahead, Stream},
};

use super::{
    deliver::{Delivery, deliver},
    fill::{self, How, Lead},
    order::Order,
    past::cache_status,
    plan,
    resource::Fetch,
    ticket::{Hints, Ticket},
};
use crate::{
    cache::hints::Hint, record::Outcome, relay as forward, respond::Error, transaction::Transaction,
};

/// Fills, and is answered by the fill.
pub(super) async fn lead(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    ticket: Ticket,
    plan: plan::Fill,
) -> ConnectionEnd {
    let (validates, reason) = (plan.validates, plan.why.cache_status());
    let hints = ticket.hints();
    let answer = fill::start(Order::new(transaction, fetch, &plan), ticket);
    let Some(led) = hinted(transaction, stream, answer, hints, |_| true).await else {
        return transaction.left();
    };
    match led {
        Ok(Lead::Object { object, reader, how, hierarchy, took, cookies }) => {
            let status = filled(transaction, how, &plan, object.status);
            transaction.record.hierarchy = hierarchy;
            let age = object.freshness.age(transaction.seconds());
            let mut delivery =
                Delivery { object, reader, status: Some(status), took, age, leads: true, cookies };
            deliver(transaction, stream, fetch, &mut delivery).await
        }
        Ok(Lead::Response(received, not_stored)) => {
            tracing::trace!(request_id = %transaction.id, reason = %not_stored, "not stored");
            if validates {
                transaction.record.outcome = Outcome::RefreshModified;
            }
            let status = cache_status(transaction, reason);
            let mut upload = Upload::new(BodyFraming::Empty, false);
            forward::finish(transaction, stream, fetch.request, *received, &mut upload, &status)
                .await
        }
        Ok(Lead::Failed(failure)) => transaction.refuse(stream, fetch.request, failure, None).await,
        // The fill panicked, or its worker is being cut.
        Err(_) => transaction.refuse(stream, fetch.request, Error::Internal, None).await,
    }
}

/// Waits for a fill to answer. The client gets interim responses as they come, those that it may
/// have. `None`: it takes nothing any more.
pub(super) async fn hinted<T>(
    transaction: &Transaction,
    stream: &mut Stream,
    answer: impl Future<Output = T>,
    mut hints: Hints,
    may_have: impl Fn(&Hint) -> bool,
) -> Option<T> {
    // RFC 9110 §15.2: no interim response to a client that knows none.
    if transaction.version != Version::Http11 {
        return forward::unless_it_leaves(stream, answer).await;
    }
    let mut answer = pin!(answer);
    loop {
        tokio::select! {
            biased;
            hint = hints.next() => {
                if !may_have(&hint) {
                    continue;
                }
                let deadline = transaction.generation.document.timeouts.write;
                stream.write_all(&[&hint.head], deadline).await.ok()?;
            }
            answered = &mut answer => return Some(answered),
            _ = stream.left(Ahead::OfAnswer) => return None,
        }
    }
}

/// Notes how a fill answered its leader; answers what Cache-Status says of it.
pub(super) fn filled(
    transaction: &mut Transaction,
    how: How,
    plan: &plan::Fill,
    status: u16,
) -> String {
    let reason = plan.why.cache_status();
    match how {
        How::Stored if plan.validates => {
            transaction.record.outcome = Outcome::RefreshModified;
            format!("{reason}; fwd-status={status}; stored")
        }
        How::Stored => format!("{reason}; stored"),
        How::Owned => format!("{reason}; detail=elsewhere"),
        How::Unmodified => {
            transaction.count(|metrics| &metrics.revalidated);
            transaction.record.outcome = Outcome::RefreshUnmodified;
            format!("{reason}; fwd-status=304; stored")
        }
        How::StaleOnError => {
            transaction.count(|metrics| &metrics.stale);
            transaction.record.outcome = Outcome::RefreshFailOld;
            format!("{reason}; detail=stale-on-error")
        }
    }
}

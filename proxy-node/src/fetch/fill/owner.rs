//! Asking the node that owns what is to be had, before the origin.

use bytes::Bytes;
use relay::{
    fault::Fault, head::ResponseHead, interims::Interims, method::Method, proxy_status, wheel::Kind,
};

use super::exchange::{conditions, final_head};
use crate::{
    cache::hints::Hint,
    fetch::{order::Order, ticket::Ticket},
    node::structured,
    owner::{Had, Peer, Verdict, judge},
    relay::{Outgoing, Received, write_request_to_node},
    respond::Error,
    upstream::{self, From},
};

/// Why an owner has not answered.
enum Unanswered {
    /// It cannot be reached, or broke off.
    Gone(Error),
    /// It does not answer when it is asked whether it lives; that was noted.
    Silent,
    /// It lives, and the origin has not answered it in time.
    OriginLate(Error),
}

/// The owner's answer. `None`: there is no other owner, or it does not do what it should, and the
/// origin is asked.
///
/// # Errors
/// The owner has waited for the origin for so long that nobody need do it again.
pub(super) async fn ask(order: &Order, ticket: &Ticket) -> Result<Option<Received>, Error> {
    let Some((peer, _)) = &order.owner else { return Ok(None) };
    let (local, node) = (&order.local, &order.local.node);
    local.owners.note();
    let answered = tokio::select! {
        biased;
        answered = exchange(order, ticket, peer) => answered,
        () = upstream::owner::silent(local, &order.generation, peer) => Err(Unanswered::Silent),
    };
    let now = node.steady.millis();
    let mut received = match answered {
        Ok(received) => received,
        Err(Unanswered::OriginLate(failure)) => return Err(failure),
        Err(unanswered) => {
            if let Unanswered::Gone(failure) = unanswered {
                peer.failed(now, &failure.to_string());
            }
            node.metrics.owner_failures.add(1);
            return Ok(None);
        }
    };
    let said = judge(received.head.view(&received.bytes), &peer.name, &structured(&peer.name));
    let had = match said {
        Verdict::Good(had) => Some(had),
        Verdict::Unreached if !local.owners.may_ask_the_origin() => Some(Had::Miss),
        _ => None,
    };
    if said == Verdict::Failing {
        peer.failed(now, "it is full, or fails by itself");
    } else {
        peer.answered(now);
    }
    let metrics = &node.metrics;
    match had {
        Some(Had::Hit) => metrics.owner_hits.add(1),
        Some(Had::Miss | Had::Sibling) => metrics.owner_misses.add(1),
        None => metrics.owner_failures.add(1),
    }
    let told = proxy_status::next_hop_of(received.head.view(&received.bytes).lines(), &peer.name);
    received.hop.had = had.map(|had| (had, told));
    Ok(had.is_some().then_some(received))
}

async fn exchange(order: &Order, ticket: &Ticket, peer: &Peer) -> Result<Received, Unanswered> {
    let (deadlines, began) = (order.generation.deadlines(), relay::clock::now());
    let pseudonym = order.local.node.pseudonym.load_full();
    let outgoing =
        Outgoing { request: &order.request, forwarded: order.forwarded, pseudonym: &pseudonym };
    let mut out = Vec::with_capacity(1024);
    // It may not have heard yet of what was purged here.
    let node = &order.local.node;
    let max_age = node.store.since_purge(ticket.key(), node.steady.seconds());
    let whose = (order.id, order.client);
    write_request_to_node(&mut out, &outgoing, whose, conditions(order), max_age);
    let mut from = From::pool_for(Method::Get);
    loop {
        let mut hop = upstream::owner::connect(&order.local, &order.generation, peer, from)
            .await
            .map_err(Unanswered::Gone)?;
        let mut head = Box::new(ResponseHead::new());
        let mut interims = Interims::new(deadlines.first_byte);
        let answer = async {
            hop.stream.write_all(&[&out], deadlines.write).await?;
            // Nobody says where hints come from: they are for nobody where that makes a difference.
            let differs = order.generation.egress_by_client || order.addresses.is_some();
            let hint = |head: Bytes| {
                if !differs {
                    ticket.hint(Hint { head, from: None });
                }
            };
            final_head(order, &mut hop.stream, &mut head, &mut interims, hint).await
        };
        match answer.await {
            Ok(bytes) => {
                return Ok(Received { hop, head, bytes, took: relay::clock::since(began) });
            }
            Err(Fault::Closed | Fault::Reset) if hop.reused && !interims.any() => {
                from = From::New;
            }
            Err(fault @ Fault::Timeout(Kind::FirstByte)) => {
                return Err(Unanswered::OriginLate(Error::exchanging(&fault)));
            }
            Err(fault) => return Err(Unanswered::Gone(Error::exchanging(&fault))),
        }
    }
}

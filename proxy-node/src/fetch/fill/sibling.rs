//! Asking a cache on the same level, before the origin.

use bytes::Bytes;
use relay::{fault::Fault, head::ResponseHead, interims::Interims, method::Method};

use super::exchange::{conditions, final_head};
use crate::{
    fetch::order::Order,
    icp::sibling::Sibling,
    owner::Had,
    relay::{Outgoing, Received, write_request_to_sibling},
    respond::Error,
    upstream::{self, From},
};

/// The answer of one that had it. `None`: nobody says so, or who said so had it not.
pub(super) async fn ask(order: &Order) -> Option<Received> {
    if order.past_siblings.is_some() {
        return None;
    }
    let (local, node) = (&order.local, &order.local.node);
    let sibling = upstream::sibling::find(
        local,
        &order.generation,
        order.request.view().target_text().as_bytes(),
    )
    .await?;
    let received = exchange(order, &sibling).await;
    let had = received.as_ref().is_ok_and(|it| is_had(it.head.status()));
    if !had {
        tracing::debug!(sibling = %sibling.http.authority(), "it has not what it said");
        sibling.was_not(node.steady.millis());
        node.metrics.sibling_lies.add(1);
        return None;
    }
    sibling.was_true();
    node.metrics.sibling_hits.add(1);
    let mut received = received.ok()?;
    received.hop.had = Some((Had::Sibling, None));
    Some(received)
}

/// Whether an answer is what was asked for. 504 is that of one that has it not (RFC 9111
/// §5.2.1.7), and other failures are its own.
const fn is_had(status: u16) -> bool {
    status < 500 && !matches!(status, 403 | 407)
}

async fn exchange(order: &Order, sibling: &Sibling) -> Result<Received, Error> {
    let (deadlines, began) = (order.generation.deadlines(), relay::clock::now());
    let pseudonym = order.local.node.pseudonym.load_full();
    let outgoing =
        Outgoing { request: &order.request, forwarded: order.forwarded, pseudonym: &pseudonym };
    let mut out = Vec::with_capacity(1024);
    write_request_to_sibling(&mut out, &outgoing, conditions(order));
    let mut from = From::pool_for(Method::Get);
    loop {
        let mut hop =
            upstream::sibling::connect(&order.local, &order.generation, sibling, from).await?;
        let mut head = Box::new(ResponseHead::new());
        let mut interims = Interims::new(deadlines.first_byte);
        let answer = async {
            hop.stream.write_all(&[&out], deadlines.write).await?;
            // One that has it has no hints to give.
            let hint = |_: Bytes| {};
            final_head(order, &mut hop.stream, &mut head, &mut interims, hint).await
        };
        match answer.await {
            Ok(bytes) => {
                return Ok(Received { hop, head, bytes, took: relay::clock::since(began) });
            }
            Err(Fault::Closed | Fault::Reset) if hop.reused => from = From::New,
            Err(fault) => return Err(Error::exchanging(&fault)),
        }
    }
}

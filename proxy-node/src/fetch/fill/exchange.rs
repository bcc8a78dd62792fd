//! Asking the next hop for what is to be stored.

use bytes::Bytes;
use relay::{
    fault::Fault,
    head::{Response, ResponseHead},
    interims::Interims,
    method::Method,
    retry::Phase,
    rewrite::BodyFields,
    stream::Stream,
};

use super::{owner, sibling};
use crate::{
    admission::Subject,
    cache::hints::Hint,
    clock::unix_millis,
    fetch::{order::Order, ticket::Ticket},
    parent::{self, Tried},
    relay::{Conditions, Outgoing, Received, begin_response, write_request},
    respond::Error,
    upstream::{self, From},
};

/// Sends the request and reads the head of the answer; once more when a pooled connection turns out
/// to be closed.
pub(super) async fn run(order: &Order, ticket: &Ticket) -> Result<Received, Error> {
    if let Some(received) = owner::ask(order, ticket).await? {
        return Ok(received);
    }
    if let Some(received) = sibling::ask(order).await {
        return Ok(received);
    }
    let deadlines = order.generation.deadlines();
    let subject = Subject {
        node: &order.local.node,
        generation: &order.generation,
        client: order.client,
        request: order.request.view(),
        destination: &order.destination,
        now: unix_millis(),
    };
    let direct = subject.direct_by().is_some();
    let route = order.local.node.route(&order.generation, &order.destination, direct);
    let mut from = From::pool_for(Method::Get);
    let pseudonym = order.local.node.pseudonym.load_full();
    let outgoing =
        Outgoing { request: &order.request, forwarded: order.forwarded, pseudonym: &pseudonym };
    let conditions = conditions(order);
    let mut out = Vec::with_capacity(1024);
    let (began, parents) = (relay::clock::now(), &order.generation.parents);
    let mut tried =
        order.local.parents.begin(parents, order.request.view().target_text(), order.client);
    // What a parent answered in vain, while another one is asked.
    let mut held: Option<Received> = None;
    loop {
        let connecting = upstream::connect(
            &order.local,
            &order.generation,
            order.client,
            route,
            from,
            order.addresses.clone(),
            &mut tried,
        );
        let mut hop = match connecting.await {
            Ok(hop) => hop,
            Err(failure) => return held.ok_or(failure),
        };
        write_request(&mut out, &outgoing, hop.parent(), conditions);
        let origin = hop.origin();
        let mut head = Box::new(ResponseHead::new());
        let mut interims = Interims::new(deadlines.first_byte);
        let answer = async {
            hop.stream.write_all(&[&out], deadlines.write).await?;
            let hint = |head| ticket.hint(Hint { head, from: origin });
            final_head(order, &mut hop.stream, &mut head, &mut interims, hint).await
        };
        from = match answer.await {
            Ok(bytes) => {
                let answer = Received { hop, head, bytes, took: relay::clock::since(began) };
                if !asks_another(order, &answer, interims.any(), &mut tried) {
                    return Ok(answer);
                }
                held = Some(answer);
                From::pool_for(Method::Get)
            }
            Err(Fault::Closed | Fault::Reset) if hop.reused && !interims.any() => {
                if let Some(chosen) = &hop.parent {
                    tried.forget(chosen.index);
                }
                From::New
            }
            Err(fault) => {
                let failure = Error::exchanging(&fault);
                let Some(parent) = hop.parent() else { return Err(failure) };
                parent.failed(failure);
                let another = !interims.any() && parent::may_ask_another_for(Method::Get, fault);
                if !another || !tried.leaves_any(parents) {
                    return held.ok_or(failure.of_parent());
                }
                From::pool_for(Method::Get)
            }
        };
    }
}

/// What takes the place of the client's own conditions.
pub(super) fn conditions(order: &Order) -> Option<Conditions<'_>> {
    match order.validated() {
        Some(stale) => Some(Conditions {
            etag: stale.etag.as_deref(),
            last_modified: stale.last_modified_text.as_deref(),
        }),
        None => {
            let tags = order.variants.tags()?;
            Some(Conditions { etag: Some(tags), last_modified: None })
        }
    }
}

/// Whether a parent answered in vain and another one is to be asked.
fn asks_another(order: &Order, answer: &Received, interims: bool, tried: &mut Tried) -> bool {
    let phase = if interims { Phase::ResponseRelayed } else { Phase::Written };
    let (local, generation) = (&order.local, &order.generation);
    answer.is_in_vain(local, generation, &order.destination, tried)
        && tried.leaves_any(&generation.parents)
        && parent::may_ask_another_after_answer(Method::Get, true, phase, &local.parents)
}

/// Interim responses before it are for whoever waits.
pub(super) async fn final_head(
    order: &Order,
    stream: &mut Stream,
    head: &mut ResponseHead,
    interims: &mut Interims,
    hint: impl Fn(Bytes),
) -> Result<Bytes, Fault> {
    let deadlines = order.generation.deadlines();
    let hint = |interim: Response<'_>| {
        let mut head = Vec::with_capacity(1024);
        let pseudonym = order.local.node.pseudonym.load();
        begin_response(&mut head, interim, BodyFields::AsReceived, &pseudonym).finish();
        hint(head.into());
    };
    let silence = (deadlines.first_byte, deadlines.head);
    stream
        .read_final_response(head, &order.generation.reply_limits(), silence, interims, hint)
        .await
}

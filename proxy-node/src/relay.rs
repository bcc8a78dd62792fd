//! From the client to the next hop and back, past the cache: requests with bodies, what is not for
//! sharing, and answers that a fill handed over.
//!
//! Reading order: [`request`] (the head that goes out), [`attempts`] (which connection it goes
//! over, and when over another one), [`response`] (the answer), [`failure`].

mod attempts;
mod broken;
mod request;
mod response;

use std::{future, net::IpAddr, sync::Arc};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    exchange::{self, Exchange},
    head::{ResponseHead, Version},
    interims::Interims,
    rewrite::BodyFields,
    stream::{Ahead, Stream},
};

use crate::{
    config::Generation,
    request::Destination,
    transaction::{Request, Transaction},
    upstream,
};
use attempts::{Attempts, nothing_to_send};
use broken::{Progress, failed};
pub use request::{
    Conditions, Outgoing, bound_to_client, write_request, write_request_to_node,
    write_request_to_sibling,
};
pub use response::{Received, begin_response, finish};

/// What is relayed.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub request: &'a Request,
    pub destination: &'a Destination,
    /// Addresses of the destination, where a rule wanted them.
    pub addresses: Option<&'a Arc<[IpAddr]>>,
    /// Why the cache has no part in it.
    pub cache_status: &'a str,
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes to the client.
    Send,
    /// Whoever had it relayed takes it, if the request has been sent to its end.
    Take,
}

/// Relays a request and its answer, of which `answered` hears before the client does. `Err`: it is
/// taken.
pub async fn run(
    transaction: &mut Transaction,
    stream: &mut Stream,
    asked: Asked<'_>,
    answered: impl FnOnce(&Transaction, &Received) -> Then,
) -> Result<ConnectionEnd, Box<Received>> {
    let Asked { request, destination, addresses, cache_status } = asked;
    let deadlines = transaction.generation.deadlines();
    let generation = transaction.generation.clone();
    let mut attempts = Attempts::new(transaction, request);
    loop {
        let began = relay::clock::now();
        let direct = transaction.subject(request, destination).direct_by().is_some();
        let route = transaction.local.node.route(&generation, destination, direct);
        let connecting = upstream::connect(
            &transaction.local,
            &generation,
            transaction.client.address,
            route,
            attempts.from,
            addresses.cloned(),
            &mut attempts.tried,
        );
        let mut hop = match unless_it_leaves(stream, connecting).await {
            Some(Ok(hop)) => hop,
            Some(Err(failure)) => {
                let Some(answer) = attempts.held else {
                    return Ok(transaction.refuse(stream, request, failure, None).await);
                };
                let upload = &mut nothing_to_send();
                return Ok(finish(transaction, stream, request, answer, upload, cache_status).await);
            }
            None => return Ok(transaction.left()),
        };
        transaction.record.hierarchy = hop.hierarchy();
        let pseudonym = transaction.local.node.pseudonym.load_full();
        let forwarded = transaction.client.forwarded;
        let outgoing = Outgoing { request, forwarded, pseudonym: &pseudonym };
        write_request(&mut transaction.out, &outgoing, hop.parent(), None);
        let mut head = Box::new(ResponseHead::new());
        head.set_may_switch(request.head.upgrades());
        let mut exchange = Exchange::new(stream, &mut hop.stream, &mut attempts.upload, &deadlines);
        let (out, version) = (&transaction.out, transaction.version);
        let head_of_it =
            head_of_answer(&mut exchange, out, &mut head, &generation, version, &pseudonym).await;
        let phase = exchange.phase();
        let failure = match head_of_it {
            Ok(bytes) => {
                let answer = Received { hop, head, bytes, took: relay::clock::since(began) };
                if answer.head.status() == 101 {
                    return Ok(response::switch(transaction, stream, request, answer).await);
                }
                let Some(answer) = attempts.answered(transaction, destination, answer, phase)
                else {
                    continue;
                };
                let upload = &mut attempts.upload;
                if answered(transaction, &answer) == Then::Take && upload.is_done() {
                    return Err(Box::new(answer));
                }
                return Ok(finish(transaction, stream, request, answer, upload, cache_status).await);
            }
            Err(failure) => failure,
        };
        if attempts.goes_on(transaction, &hop, &failure) {
            continue;
        }
        if let Some(answer) = attempts.held {
            let upload = &mut nothing_to_send();
            return Ok(finish(transaction, stream, request, answer, upload, cache_status).await);
        }
        let progress = Progress { answered: None, parent: hop.parent().is_some() };
        return Ok(failed(transaction, stream, request, failure, progress).await);
    }
}

/// What is done for a client, unless it leaves before that is done.
pub async fn unless_it_leaves<T>(client: &mut Stream, done: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = done => Some(done),
        _ = client.left(Ahead::OfAnswer) => None,
    }
}

async fn head_of_answer(
    exchange: &mut Exchange<'_>,
    request: &[u8],
    head: &mut ResponseHead,
    generation: &Generation,
    client: Version,
    pseudonym: &str,
) -> Result<Bytes, exchange::Error> {
    exchange.send(request).await?;
    exchange
        .final_response(
            head,
            &generation.reply_limits(),
            Interims::new(generation.document.timeouts.read),
            client,
            future::pending::<()>,
            |out, interim| {
                begin_response(out, interim, BodyFields::AsReceived, pseudonym).finish();
            },
        )
        .await
}

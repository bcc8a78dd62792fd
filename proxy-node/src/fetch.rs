//! How a request that may go on gets its answer: from what is stored, behind somebody else's fill,
//! with a fill of its own, or past the cache.
//!
//! Reading order: [`plan`] (what is done, pure), [`owner`] and [`sibling`] (who else is asked),
//! [`look`] (the plan for what is stored, carried out, with what [`tier`] brings from the disk),
//! [`lead`] and [`follow`] (a fill of one's own, or of another), [`range`] (the same where a part
//! is asked for), [`fill`] (how an answer gets into the cache), [`variants`] and [`renew`] (how
//! what is stored lives on), [`deliver`] (how it gets to the client), [`past`] (past the cache, to
//! [`crate::relay`]) and [`changes`] (what that means for what is stored).

pub mod fill;
pub mod owner;
pub mod plan;
pub mod sibling;

mod changes;
mod deliver;
mod follow;
mod lead;
mod look;
mod order;
mod past;
mod range;
mod renew;
mod resource;
mod ticket;
mod tier;
mod variants;

use std::{net::IpAddr, ops::ControlFlow, sync::Arc};

use cluster_config::document::caching::Where;
use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use crate::{
    cache::{facts::RequestFacts, key::Key, keying, object::Placement, policy::Bypass},
    request::Destination,
    transaction::{Request, Transaction},
};
use past::pass;
use plan::Why;
use resource::{Fetch, Ruling};

/// How often a request looks again when what it waited for has changed meanwhile.
const MOST_LOOKS: usize = 4;

/// What the cache calls a place.
pub(crate) const fn placement(place: Where) -> Option<Placement> {
    match place {
        Where::Never => None,
        Where::Memory => Some(Placement::Memory),
        Where::Disk => Some(Placement::Disk),
        Where::Anywhere => Some(Placement::Anywhere),
    }
}

/// Answers a fetch.
pub async fn run(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
    key: Key,
    addresses: Option<Arc<[IpAddr]>>,
) -> ConnectionEnd {
    let caching = transaction.generation.caching.clone();
    let keyed = keying::apply(&caching.keys, key);
    let narrowed = keyed.asked.as_ref().and_then(|url| request.asking(url));
    let request = narrowed.as_ref().unwrap_or(request);
    let view = request.view();
    let mut facts = RequestFacts::new(
        view.method_text().as_bytes(),
        !view.framing().is_empty(),
        request.fields(),
    );
    transaction.generation.overrule(keyed.key.as_bytes(), &mut facts);
    let kept = transaction.subject(request, destination).kept();
    let ruling =
        Ruling { digest: keyed.digest, placement: kept.and_then(placement).unwrap_or_default() };
    let fetch = Fetch { request, destination, key: keyed.key, addresses, facts, ruling };
    if kept == Some(Where::Never) {
        let why = Why::Bypass(Bypass::Rule);
        return Box::pin(pass(transaction, stream, &fetch, why)).await;
    }
    if let Err(why) = plan::eligible(&fetch.planned(), transaction.local.node.store.capacity()) {
        return Box::pin(pass(transaction, stream, &fetch, why)).await;
    }
    for _ in 0..MOST_LOOKS {
        if let ControlFlow::Break(end) = look::look(transaction, stream, &fetch).await {
            return end;
        }
    }
    Box::pin(pass(transaction, stream, &fetch, Why::Contended)).await
}

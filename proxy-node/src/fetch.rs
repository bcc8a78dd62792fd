//! How a request that may go on gets its answer: from memory, behind somebody else's fill, with a
//! fill of its own, or past the cache.
//!
//! Reading order: [`plan`] (what is done, pure), [`look`] (the plan for what is stored, carried
//! out), [`lead`] and [`follow`] (a fill of one's own, or of another), [`range`] (the same where a
//! part is asked for), [`fill`] (how an answer gets into the cache), [`deliver`] (how it gets to
//! the client). What goes past the cache is [`crate::relay`]'s.

pub mod fill;
pub mod plan;

mod deliver;
mod follow;
mod lead;
mod look;
mod range;

use std::{net::IpAddr, sync::Arc};

use dataplane::connection::ConnectionEnd;
use relay::stream::Stream;

use crate::{
    admission::Subject,
    cache::{self, facts::RequestFacts, key::Key, policy::Unfit},
    record::Outcome,
    relay as forward,
    request::{self, Destination},
    respond::Failure,
    transaction::{Request, Transaction},
};
use look::Looked;
use plan::Why;

/// The right and the duty to fill a key of the store.
pub type Ticket = cache::ticket::Ticket<Failure>;
type Follower = cache::ticket::Follower<Failure>;
/// What followers hear of a fill.
type Filled = cache::ticket::Outcome<Failure>;
type Hints = cache::hints::Listener<Failure>;

/// What a request that is not answered from memory counts for while it is under way: its future,
/// buffers of two connections, a piece of a body.
const TRANSACTION: u64 = 32 * 1024;
/// How often a request looks again when what it waited for has changed meanwhile.
const MOST_LOOKS: usize = 4;

/// What is fetched, and for which request.
struct Fetch<'a> {
    request: &'a Request,
    destination: &'a Destination,
    key: Key,
    /// The addresses of the destination where a rule wanted them: those that it may go to.
    addresses: Option<Arc<[IpAddr]>>,
    facts: RequestFacts,
}

impl<'a> Fetch<'a> {
    /// Name and value of every field that goes on to the origin, for Vary. What Connection
    /// nominates does not: an answer stored as if the origin had seen it would be another
    /// request's.
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        request::sent_fields(self.request.view())
    }

    /// The request, as far as the plan depends on it.
    fn planned(&self) -> plan::Request<'_> {
        plan::Request::new(self.request.view(), &self.facts)
    }

    /// The request, as far as it matters what its client may have.
    fn subject<'b>(&'b self, transaction: &'b Transaction) -> Subject<'b> {
        transaction.subject(self.request, self.destination)
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
    let view = request.view();
    let facts = RequestFacts::new(
        view.method_text().as_bytes(),
        !view.framing().is_empty(),
        request.fields(),
    );
    let fetch = Fetch { request, destination, key, addresses, facts };
    if let Err(why) = plan::eligible(&fetch.planned(), transaction.local.node.store.capacity()) {
        return Box::pin(pass(transaction, stream, &fetch, why)).await;
    }
    for _ in 0..MOST_LOOKS {
        match look::look(transaction, stream, &fetch).await {
            Looked::Answered(after) => return after,
            Looked::Again => {}
        }
    }
    Box::pin(pass(transaction, stream, &fetch, Why::Contended)).await
}

/// Past the cache. What becomes a tunnel is no work of the cache's account: it may last for days.
async fn pass(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
) -> ConnectionEnd {
    note(transaction, why);
    if why == Why::Upgrade {
        return forward(transaction, stream, fetch, why).await;
    }
    let store = transaction.local.node.store.clone();
    if !store.has_room_for_work() {
        return transaction.refuse(stream, fetch.request, Failure::Limit, None).await;
    }
    let _working = store.budget().work(TRANSACTION);
    forward(transaction, stream, fetch, why).await
}

/// Counts why the cache does not answer by itself, and notes it for the log.
fn note(transaction: &mut Transaction, why: Why) {
    match why {
        Why::Upgrade | Why::Bypass(_) | Why::Contended => return,
        Why::Policy | Why::Partial => {}
        Why::Unfit(Unfit::Reload) => transaction.record.outcome = Outcome::ClientRefresh,
        Why::Missing | Why::Halted | Why::Unfit(_) => transaction.record.outcome = Outcome::Miss,
    }
    transaction.count(|metrics| &metrics.misses);
}

/// To the next hop and back.
async fn forward(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
) -> ConnectionEnd {
    let status = cache_status(transaction, why.cache_status());
    let addresses = fetch.addresses.clone();
    let Fetch { request, destination, key, .. } = fetch;
    forward::run(transaction, stream, request, destination, key, addresses, &status).await
}

/// A value of Cache-Status (RFC 9211).
fn cache_status(transaction: &Transaction, detail: &str) -> String {
    format!("{}; {detail}", transaction.local.node.cache_name)
}

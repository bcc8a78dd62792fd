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
    turn::{Asked, Turn},
};
use look::Looked;
use plan::Why;

/// The store of this process: followers of a fill that came to nothing hear why.
pub type Store = cache::store::Store<Failure>;
/// The right and the duty to fill a key of it.
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
    asked: &'a Asked,
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
        request::sent_fields(self.asked.view())
    }

    /// The request, as far as the plan depends on it.
    fn planned(&self) -> plan::Request<'_> {
        plan::Request::new(self.asked.view(), &self.facts)
    }

    /// The request, as far as it matters what its client may have.
    fn subject<'b>(&'b self, turn: &'b Turn) -> Subject<'b> {
        turn.subject(self.asked, self.destination)
    }
}

/// Answers a fetch.
pub async fn run(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    destination: &Destination,
    key: Key,
    addresses: Option<Arc<[IpAddr]>>,
) -> ConnectionEnd {
    let request = asked.view();
    let facts = RequestFacts::new(
        request.method_text().as_bytes(),
        !request.framing().is_empty(),
        asked.fields(),
    );
    let fetch = Fetch { asked, destination, key, addresses, facts };
    if let Err(why) = plan::eligible(&fetch.planned(), turn.local.node.store.capacity()) {
        return Box::pin(pass(turn, stream, &fetch, why)).await;
    }
    for _ in 0..MOST_LOOKS {
        match look::look(turn, stream, &fetch).await {
            Looked::Answered(after) => return after,
            Looked::Again => {}
        }
    }
    Box::pin(pass(turn, stream, &fetch, Why::Contended)).await
}

/// Past the cache. What becomes a tunnel is no work of the cache's account: it may last for days.
async fn pass(turn: &mut Turn, stream: &mut Stream, fetch: &Fetch<'_>, why: Why) -> ConnectionEnd {
    note(turn, why);
    if why == Why::Upgrade {
        return forward(turn, stream, fetch, why).await;
    }
    let store = turn.local.node.store.clone();
    if !store.has_room_for_work() {
        return turn.refuse(stream, fetch.asked, Failure::Limit, None).await;
    }
    let _working = store.budget().work(TRANSACTION);
    forward(turn, stream, fetch, why).await
}

/// Counts why the cache does not answer by itself, and notes it for the log.
fn note(turn: &mut Turn, why: Why) {
    match why {
        Why::Upgrade | Why::Bypass(_) | Why::Contended => return,
        Why::Policy | Why::Partial => {}
        Why::Unfit(Unfit::Reload) => turn.record.outcome = Outcome::ClientRefresh,
        Why::Missing | Why::Halted | Why::Unfit(_) => turn.record.outcome = Outcome::Miss,
    }
    turn.count(|metrics| &metrics.misses);
}

/// To the next hop and back.
async fn forward(
    turn: &mut Turn,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    why: Why,
) -> ConnectionEnd {
    let status = cache_status(turn, why.cache_status());
    let addresses = fetch.addresses.clone();
    let Fetch { asked, destination, key, .. } = fetch;
    forward::run(turn, stream, asked, destination, key, addresses, &status).await
}

/// A value of Cache-Status (RFC 9211).
fn cache_status(turn: &Turn, detail: &str) -> String {
    format!("{}; {detail}", turn.local.node.cache_name)
}

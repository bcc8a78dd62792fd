//! How a response gets into the cache: a task of its own, on the worker of the request that caused
//! it, and independent of that request's client.
//!
//! It asks the next hop, decides whether the answer may be kept, tells the leader and those who
//! wait ([`crate::cache::ticket`]), and then fills the body, which readers on any worker
//! follow. What may not be kept it hands over to the leader with the connection.
//!
//! Reading order: [`owner`] (the node that owns it is asked), [`sibling`] (one that has it),
//! [`exchange`] (or the next hop is), [`keep`] (what becomes of its answer), with [`head`] (what is
//! stored of its head), [`body`] (how the rest follows).

mod answer;
mod body;
mod exchange;
pub(super) mod head;
mod keep;
mod owner;
mod sibling;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use relay::method::Method;
use tokio::sync::oneshot;

use super::{order::Order, ticket::Ticket};
use crate::{
    cache::{
        object::Object,
        policy::{self, Trouble},
    },
    record::Hierarchy,
    relay::Received,
    respond::Error,
    steps::Steps,
};
pub use answer::{How, Lead};
pub(super) use body::room;

/// What a fill counts for while it is under way: its future, the request, the buffer that it reads
/// with.
const FILL: u64 = 40 * 1024;
/// How often it is looked whether those who follow a fill without a leader are still there.
const LOOK: Duration = Duration::from_millis(200);
/// How long a small answer is waited for as a whole.
const HOLD: Duration = Duration::from_millis(50);

/// Starts the fill. The leader is answered through the receiver.
pub fn start(order: Order, ticket: Ticket) -> oneshot::Receiver<Lead> {
    let (answer, leader) = oneshot::channel();
    let worker = order.local.worker.clone();
    let working = order.local.node.store.budget().work(FILL);
    let steps = Steps::current();
    // On its way into the runtime a task is copied several times: a pointer is, and not kilobytes
    // of room.
    let fill = Box::pin(run(order, ticket, answer));
    worker.spawn(async move {
        let _working = working;
        match steps {
            None => fill.await,
            Some(steps) => steps.during(fill).await,
        }
    });
    leader
}

/// Keeps an answer that is here already, to a request whose body has been sent. The leader is
/// answered through the receiver.
pub(super) fn take(
    order: Order,
    ticket: Ticket,
    answer: Received,
    asked_at: u64,
) -> oneshot::Receiver<Lead> {
    let (told, leader) = oneshot::channel();
    let worker = order.local.worker.clone();
    let working = order.local.node.store.budget().work(FILL);
    let fill = Box::pin(keep::keep(order, ticket, told, answer, asked_at));
    worker.spawn(async move {
        let _working = working;
        fill.await;
    });
    leader
}

async fn run(mut order: Order, ticket: Ticket, mut leader: oneshot::Sender<Lead>) {
    let began = relay::clock::now();
    let mut asked_at = order.local.node.steady.seconds();
    let (mut received, confirmed) = loop {
        let exchanged = tokio::select! {
            biased;
            exchanged = exchange::run(&order, &ticket) => exchanged,
            // Dropping the ticket sends on their own who came at this very moment.
            () = unwanted(&order, &ticket, &mut leader) => return,
        };
        let received = match exchanged {
            Ok(received) => received,
            Err(failure) => {
                return give_up(&order, &ticket, leader, failure, relay::clock::since(began));
            }
        };
        let confirmed = order.confirmed(&received);
        let is_answer = received.head.status() != 304 || confirmed.is_some();
        if is_answer || !order.ask_plainly() {
            break (received, confirmed);
        }
        // It has confirmed nothing that is stored (RFC 9111 §4.3.4).
        asked_at = order.local.node.steady.seconds();
    };
    // A small answer is not begun before it is whole: one that breaks off is a failure to tell of
    // then, and not half an answer that a balancer could take for the end of this node.
    if received.hop.stream.gather(received.head.framing(Method::Get), HOLD).await.is_err() {
        return give_up(
            &order,
            &ticket,
            leader,
            received.hop.blames(Error::Incomplete),
            relay::clock::since(began),
        );
    }
    let status = received.head.status();
    if let Some(stale) = confirmed {
        return keep::refresh(&order, &ticket, leader, &stale, received, asked_at);
    }
    if let Some(stale) = &order.stale {
        let trouble = matches!(status, 500 | 502 | 503 | 504);
        if trouble && may_stand_in(&order, stale, Trouble::ServerError) {
            order.note_if_behind();
            return stand_in(&ticket, leader, stale, received.hop.hierarchy(), received.took);
        }
    }
    keep::keep(order, ticket, leader, received, asked_at).await;
}

/// Returns once nobody waits for the answer any more: its leader has left, and so has everybody who
/// came after.
async fn unwanted(order: &Order, ticket: &Ticket, leader: &mut oneshot::Sender<Lead>) {
    if order.behind {
        // Its deadlines end it.
        return std::future::pending().await;
    }
    leader.closed().await;
    while ticket.is_awaited() {
        order.local.worker.wheel().sleep(LOOK).await;
    }
}

/// No answer: what is stale may do, and if not, everybody who waits gets the failure.
fn give_up(
    order: &Order,
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    failure: Error,
    took: Duration,
) {
    order.note_if_behind();
    if let Some(stale) = &order.stale
        && !matches!(failure, Error::Egress(_))
        && may_stand_in(order, stale, Trouble::Unreachable)
    {
        return stand_in(ticket, leader, stale, Hierarchy::None, took);
    }
    // What one client may not reach another may: those who wait find out for themselves.
    if !matches!(failure, Error::Egress(_)) {
        ticket.fail(failure);
    }
    drop(leader.send(Lead::Failed(failure)));
}

/// Whether what is stale may stand in for the answer to this order.
fn may_stand_in(order: &Order, stale: &Object, trouble: Trouble) -> bool {
    if stale.is_purged() {
        return false;
    }
    let now = order.local.node.steady.seconds();
    let grace = order.generation.document.cache.stale_if_unreachable.as_secs();
    policy::may_stand_in(&stale.freshness, &order.facts.directives, now, trouble, grace)
}

fn stand_in(
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    stale: &Arc<Object>,
    hierarchy: Hierarchy,
    took: Duration,
) {
    ticket.stand_in(stale);
    if let Some(reader) = stale.content.reader() {
        drop(leader.send(Lead::Object {
            object: stale.clone(),
            reader,
            how: How::StaleOnError,
            hierarchy,
            took,
            cookies: Bytes::new(),
        }));
    }
}

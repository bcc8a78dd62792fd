//! What becomes of an answer: it is stored, it validates what is stored, or it is handed over.

use std::sync::Arc;

use relay::{framing::BodyFraming, method::Method};
use tokio::sync::oneshot;

use super::{
    answer::{How, Lead},
    body::{self, Filling},
    head::{cookies, lines, stored_head},
};
use crate::{
    cache::{
        content::{Content, memory::Body},
        facts::{ResponseFacts, Vary},
        key::Key,
        object::{self, Object, Parts},
        policy::{self, Judgement, NotStored},
        vary::{self, Selection},
    },
    clock::unix_millis,
    fetch::{order::Order, ticket::Ticket},
    relay::{Received, bound_to_client},
};

/// Keeps the answer if it may be kept, or hands it over.
pub(super) async fn keep(
    order: Order,
    ticket: Ticket,
    leader: oneshot::Sender<Lead>,
    received: Received,
    asked_at: u64,
) {
    let (object, body) = match storable(&order, &ticket, &received, asked_at) {
        Ok(storable) => storable,
        Err(reason) => {
            if reason.lasts() {
                order
                    .local
                    .node
                    .store
                    .note_unshared(ticket.key(), order.local.node.steady.seconds());
            }
            // Those who wait go on their own, all of them now.
            drop(ticket);
            return drop(leader.send(Lead::Response(Box::new(received), reason)));
        }
    };
    let Some(reader) = object.content.reader() else { return };
    let filling = Filling::new(&order.local, &object, body);
    if !ticket.store(&object) {
        return drop(leader.send(Lead::Response(Box::new(received), NotStored::NoRoom)));
    }
    drop(ticket);
    let hierarchy = received.hop.hierarchy();
    let cookies = cookies(&received.head, &received.bytes);
    let how = if body::is_kept(&order, &received.hop) { How::Stored } else { How::Owned };
    let answered =
        leader.send(Lead::Object { object, reader, how, hierarchy, took: received.took, cookies });
    // The leader may be gone; the fill goes on for those who come.
    drop(answered);
    body::fill(order, filling, received).await;
}

/// 304: the stored response is good for another while, with the fields of the answer (RFC 9111
/// §4.3.4).
pub(super) fn refresh(
    order: &Order,
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    stale: &Arc<Object>,
    received: Received,
    asked_at: u64,
) {
    let Received { hop, head, bytes, took } = received;
    let hierarchy = hop.hierarchy();
    let answer = stored_head(&head, &bytes, &order.local.node.pseudonym.load());
    let merged = object::refreshed(&stale.head, &answer);
    let targets = &order.generation.document.cache.targeted_fields;
    let mut facts = ResponseFacts::targeted(stale.status, object::fields(&merged), targets);
    // Age is not kept with the fields.
    facts.age = ResponseFacts::new(304, lines(&head, &bytes)).age;
    let Judgement { freshness, storable } = judge(order, &mut facts, &stale.key, asked_at);
    let cookies = cookies(&head, &bytes);
    let parts = Parts {
        key: stale.key.clone(),
        head: merged.into(),
        selection: stale.selection.clone(),
        from: stale.from,
        freshness,
        declared: stale.declared,
        content: stale.content.clone(),
    };
    let new = Arc::new(Object::new(&facts, parts));
    if matches!(storable, Err(NotStored::Private | NotStored::NoStore)) {
        // It may be kept no longer. Those who wait go on their own.
        order.local.node.store.invalidate(ticket.key());
    } else if !ticket.store(&new) {
        ticket.stand_in(&new);
    }
    if head.persistent(Method::Get) && !bound_to_client(&order.request) {
        hop.keep(&order.local);
    }
    if let Some(reader) = new.content.reader() {
        drop(leader.send(Lead::Object {
            object: new,
            reader,
            how: How::Unmodified,
            hierarchy,
            took,
            cookies,
        }));
    }
}

/// The object that the answer becomes, and the body that it grows by, if it may be stored.
fn storable(
    order: &Order,
    ticket: &Ticket,
    received: &Received,
    asked_at: u64,
) -> Result<(Arc<Object>, Arc<Body>), NotStored> {
    let (head, bytes) = (&received.head, &received.bytes);
    let targets = &order.generation.document.cache.targeted_fields;
    let mut facts = ResponseFacts::targeted(head.status(), lines(head, bytes), targets);
    let Judgement { freshness, storable } = judge(order, &mut facts, ticket.key(), asked_at);
    storable?;
    let declared = declared(order, received)?;
    let store = &order.local.node.store;
    if !store.has_room_in_flight(0, declared.unwrap_or(0)) {
        return Err(NotStored::NoRoom);
    }
    let selection = match &facts.vary {
        Vary::Fields(names) => {
            let names = vary::compared(names, &order.generation.document.cache.vary_normalized);
            let all: Vec<(&[u8], &[u8])> = order.request.fields().collect();
            vary::select(&names, all.iter().copied())
        }
        Vary::Nothing | Vary::Anything => Selection::default(),
    };
    let stored = stored_head(head, bytes, &order.local.node.pseudonym.load());
    let body = Body::new(store.budget());
    body.note_progress(order.local.node.steady.millis());
    let parts = Parts {
        key: ticket.key().clone(),
        head: stored.into(),
        selection,
        from: received.hop.origin(),
        freshness,
        declared,
        content: Content::Memory(body.clone()),
    };
    Ok((Arc::new(Object::new(&facts, parts)), body))
}

/// When a response that has just come was asked for and came.
fn times(order: &Order, asked_at: u64) -> policy::Times {
    policy::Times {
        asked_at,
        received_at: order.local.node.steady.seconds(),
        wall: unix_millis() / 1000,
    }
}

/// What there is to say of an answer.
fn judge(order: &Order, facts: &mut ResponseFacts, key: &Key, asked_at: u64) -> Judgement {
    let patterns = &order.generation.refresh_patterns;
    policy::judge(&order.facts, facts, key.as_bytes(), patterns, times(order, asked_at))
}

/// The length of the body, where the origin says so in advance.
fn declared(order: &Order, received: &Received) -> Result<Option<u64>, NotStored> {
    let cache = &order.generation.document.cache;
    match received.head.framing(Method::Get) {
        BodyFraming::Empty => Ok(Some(0)),
        BodyFraming::Length(length) if length > cache.max_object_size => Err(NotStored::TooLarge),
        BodyFraming::Length(length) => Ok(Some(length)),
        BodyFraming::Chunked => Ok(None),
        // RFC 9112 §9.8: where TLS says that it ends, the answer is whole; where it does not, the
        // fill fails.
        BodyFraming::UntilClose if received.hop.stream.announces_its_end() => Ok(None),
        BodyFraming::UntilClose if cache.store_until_close => Ok(None),
        BodyFraming::UntilClose => Err(NotStored::Unframed),
    }
}

//! What becomes of an answer: it is stored, it validates what is stored, or it is handed over.

use std::sync::Arc;

use relay::{field::Field, framing::BodyFraming, method::Method};
use tokio::sync::oneshot;

use super::{
    answer::{How, Lead},
    body::{self, Filling},
    head::{cookies, lines, stored_head},
};
use crate::{
    cache::{
        content::{Content, memory::Body},
        facts::{Part, ResponseFacts, Vary},
        object::{Object, Parts},
        policy::{Judgement, NotStored},
        serve,
        vary::{self, Selection},
    },
    fetch::{
        order::Order,
        renew::{Renewal, judge, times},
        ticket::Ticket,
    },
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
            // What a part is not says nothing of the whole.
            if reason.lasts() && received.head.status() != 206 {
                order
                    .local
                    .node
                    .store
                    .note_unshared(ticket.key(), order.local.node.steady.seconds());
            }
            order.note_if_behind();
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
/// §4.3.4). What they say may be that it is not to be kept.
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
    let cookies = cookies(&head, &bytes);
    let renewal = Renewal {
        node: &order.local.node,
        generation: &order.generation,
        ruling: &order.ruling,
        request: &order.facts,
        head: &head,
        bytes: &bytes,
        asked_at,
    };
    renewal.alike(stale, ticket);
    let fields: Vec<(&[u8], &[u8])> = order.request.fields().collect();
    let renewed = if vary::selects(&stale.selection, fields.iter().copied()) {
        renewal.of(stale)
    } else {
        // Another variant: it is good for those whom it was for, and for this one too.
        if let (same, Ok(())) = renewal.of(stale) {
            ticket.renew(&same);
        }
        let names = stale.selection.names().map_or(&[][..], |names| names);
        renewal.also(stale, vary::select(names, fields.iter().copied()))
    };
    let new = match renewed {
        (new, Ok(())) => {
            if !ticket.store(&new) {
                ticket.stand_in(&new);
            }
            new
        }
        // It is for this request alone.
        (new, Err(NotStored::Authorization | NotStored::Method)) => new,
        (new, Err(_)) => {
            order.local.node.store.outdate(stale);
            new
        }
    };
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
    let times = times(&order.local.node, asked_at);
    let Judgement { freshness, storable } =
        judge(&order.generation, &order.ruling, &order.facts, &mut facts, ticket.key(), times);
    storable?;
    let declared = declared(order, received)?;
    if let Some(part) = facts.part() {
        // Put together of parts, it would have been hashed by nobody.
        if order.ruling.digest.is_some() {
            return Err(NotStored::Part);
        }
        fits_in(order, part, declared)?;
        outdates(order, &facts)?;
    }
    let store = &order.local.node.store;
    let fits = store.has_room_in_flight(0, declared.unwrap_or(0));
    if !fits && !declared.is_some_and(|length| store.may_spool(length)) {
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
    if !fits {
        // The disk keeps it; in memory is what its readers have not read yet.
        body.stop_retaining();
    }
    let parts = Parts {
        key: ticket.key().clone(),
        head: stored.into(),
        selection,
        from: received.hop.origin(),
        freshness,
        declared,
        content: Content::Memory(body.clone()),
    };
    Ok((Arc::new(Object::new(&facts, parts).placed(order.ruling.placement)), body))
}

/// Whether a part may be kept: it is the one that was asked for, as long as it says, and of
/// something that could be kept whole.
fn fits_in(order: &Order, part: &Part, declared: Option<u64>) -> Result<(), NotStored> {
    let asked = order.request.view().value(Field::Range).and_then(serve::only_one);
    if part.of > order.generation.document.cache.max_object_size {
        return Err(NotStored::TooLarge);
    }
    // Of a whole that comes of parts nobody has compared the digest that its URL has.
    let fits = order.ruling.digest.is_none()
        && asked.is_some_and(|asked| serve::is_asked_for(part, &asked))
        && declared == Some(part.len());
    if fits { Ok(()) } else { Err(NotStored::Part) }
}

/// A part of something else puts an end to the whole that was found; one of the same is not needed.
fn outdates(order: &Order, facts: &ResponseFacts) -> Result<(), NotStored> {
    let Some(found) = &order.stale else { return Ok(()) };
    if found.etag == facts.etag {
        return Err(NotStored::Part);
    }
    order.local.node.store.outdate(found);
    Ok(())
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

//! An object in the coding that a client wants: found beside its body, or made of it as it comes.
//!
//! What is small and whole is compressed here and now. All else goes piece by piece to the threads
//! of [`crate::compress::pool`], by a task that follows the body as any reader does and appends to
//! another body, which clients follow in turn: the first of them gets the first bytes as soon as
//! nothing more is at hand, and those who come later begin at the beginning.

use std::{future::poll_fn, ops::ControlFlow, rc::Rc, sync::Arc, task::Poll};

use bytes::Bytes;
use relay::wheel::Timer;

use super::delivery::Delivery;
use crate::{
    cache::{
        content::{Content, Next, Reader, memory::Body},
        facts::ResponseFacts,
        object::{Object, Parts},
        serve::{self, Serving},
        vary::Selection,
    },
    compress::{Coding, Settings, accept, eligible, encoder::Encoder, pool::Permit},
    fetch::{fill, resource::Fetch},
    local::Local,
    request::Sender,
    transaction::Transaction,
};

/// Bodies up to here are compressed by the worker itself, in less time than it takes to have
/// another thread do it.
const INLINE: u64 = 8 * 1024;
/// So much is compressed at a time.
const PIECE: usize = 64 * 1024;

/// Puts the object in the coding that the client wants in the place of what is delivered. Answers
/// whether what is delivered depends on Accept-Encoding.
pub(super) fn apply(transaction: &Transaction, fetch: &Fetch<'_>, delivery: &mut Delivery) -> bool {
    let caching = &transaction.generation.caching;
    let Some(settings) = &caching.compression else { return false };
    // Another node does it itself, and keeps what its clients want.
    if transaction.sender == Sender::Node || !eligible::is_negotiable(settings, &delivery.object) {
        return false;
    }
    if let Some(coding) = accept::wanted(settings, fetch.fields(), fetch.facts.range)
        && let Some((object, reader)) = encoded(transaction, fetch, &delivery.object, coding)
    {
        (delivery.object, delivery.reader) = (object, reader);
        // It ends when the body ends that it is made of.
        delivery.leads = true;
        return false; // its head says so itself
    }
    true
}

/// The object in a coding, and a place at its beginning. `None`: it is sent as it is.
fn encoded(
    transaction: &Transaction,
    fetch: &Fetch<'_>,
    object: &Arc<Object>,
    coding: Coding,
) -> Option<(Arc<Object>, Reader)> {
    let local = &transaction.local;
    let settings = transaction.generation.caching.compression.as_ref()?;
    let Content::Memory(body) = &object.content else { return None };
    let made = body.form(coding.number());
    let form = made.clone().unwrap_or_else(|| Body::new(body.budget()));
    let mut variant = variant(object, coding, form.clone());
    if made.is_none() {
        let small = object.content.at_hand().filter(|_| object.content.len() <= INLINE);
        let sends =
            fetch.facts.get && serve::choose(&variant, &fetch.facts, None) == Serving::Whole;
        match small {
            Some(whole) => at_once(local, object, whole, &form, coding, settings)?,
            // Its head alone is asked for.
            None if !sends => {}
            None => {
                let busy = || local.node.metrics.compression_skipped.add(1);
                if body.budget().is_pressed() {
                    busy();
                    return None;
                }
                let permit = local.node.compressor.permit().or_else(|| {
                    busy();
                    None
                })?;
                let encoder = Encoder::new(coding, settings).ok()?;
                let reader = object.content.reader()?;
                if let Some(other) = body.add_form(coding.number(), &form) {
                    // Somebody else has just begun.
                    variant = self::variant(object, coding, other);
                } else {
                    let most = *settings.sizes.end();
                    let making = Making::new(local, object, body, &form);
                    let encoding = encode(making, reader, encoder, coding, permit, most);
                    local.worker.spawn(Box::pin(encoding));
                }
            }
        }
    }
    let reader = variant.content.reader()?;
    Some((Arc::new(variant), reader))
}

/// What is delivered: the same response in another coding.
fn variant(object: &Object, coding: Coding, form: Arc<Body>) -> Object {
    let facts = ResponseFacts {
        status: object.status,
        etag: object.etag.as_ref().map(eligible::weak),
        last_modified: object.last_modified,
        last_modified_text: object.last_modified_text.clone(),
        ..ResponseFacts::default()
    };
    let parts = Parts {
        key: object.key.clone(),
        head: eligible::head(object, coding).into(),
        selection: Selection::default(),
        from: object.from,
        freshness: object.freshness,
        declared: None,
        content: Content::Memory(form),
    };
    Object::new(&facts, parts).beside(object)
}

/// Compresses something small.
fn at_once(
    local: &Local,
    object: &Arc<Object>,
    whole: &[Bytes],
    form: &Arc<Body>,
    coding: Coding,
    settings: &Settings,
) -> Option<()> {
    let Content::Memory(body) = &object.content else { return None };
    let mut encoder = Encoder::new(coding, settings).ok()?;
    let mut out = Vec::new();
    for piece in whole {
        out.extend(encoder.feed(piece, false).ok()?);
    }
    out.extend(encoder.finish().ok()?);
    count(local, whole.iter().map(Bytes::len).sum(), out.len());
    let store = &local.node.store;
    form.append(&out, Some(0), |more| {
        store.admit(object, 0, more).or_else(|| Some(store.budget().work(more)))
    });
    form.complete();
    if object.is_kept() && body.add_form(coding.number(), form).is_none() {
        store.recount(object);
    }
    Some(())
}

fn count(local: &Local, before: usize, after: usize) {
    local.node.metrics.compression_in.add(before as u64);
    local.node.metrics.compression_out.add(after as u64);
}

/// The duty to end a form one way or the other.
struct Making {
    local: Rc<Local>,
    object: Arc<Object>,
    body: Arc<Body>,
    form: Arc<Body>,
    settled: bool,
}

impl Making {
    fn new(local: &Rc<Local>, object: &Arc<Object>, body: &Arc<Body>, form: &Arc<Body>) -> Self {
        let (local, object) = (local.clone(), object.clone());
        Self { local, object, body: body.clone(), form: form.clone(), settled: false }
    }

    /// Appends what has come out of the encoder. Breaks: nobody wants it any more.
    async fn append(&self, out: &[u8], most: u64) -> ControlFlow<()> {
        let (store, form) = (&self.local.node.store, &self.form);
        if form.len() + out.len() as u64 > most {
            form.stop_retaining();
        }
        let timer = Timer::new(self.local.worker.wheel());
        if !fill::room(&timer, form).await {
            return ControlFlow::Break(());
        }
        form.append(out, None, |more| store.admit(&self.object, form.charged(), more));
        if !form.retains() {
            self.body.drop_form(form);
        }
        ControlFlow::Continue(())
    }

    /// It is whole.
    fn settle(mut self) {
        self.settled = true;
        self.form.complete();
        self.local.node.store.recount(&self.object);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.settled {
            self.form.fail();
            self.body.drop_form(&self.form);
        }
    }
}

/// Compresses a body as it comes. What there is goes on as soon as nothing more is at hand.
async fn encode(
    making: Making,
    mut reader: Reader,
    mut encoder: Encoder,
    coding: Coding,
    permit: Permit,
    most: u64,
) {
    let local = making.local.clone();
    let _working = local.node.store.budget().work(Encoder::memory(coding));
    let mut next = reader.next().await;
    loop {
        let mut segment = match next {
            Next::Segment(segment) => segment,
            Next::End => break,
            // Dropping it says so.
            Next::Failed => return,
        };
        let ahead = at_hand(&mut reader).await;
        while !segment.is_empty() {
            let piece = segment.split_to(segment.len().min(PIECE));
            let (before, flush) = (piece.len(), ahead.is_none() && segment.is_empty());
            let fed = local.node.compressor.feed(encoder, piece, flush).await;
            let Ok((fed, out)) = fed else { return };
            encoder = fed;
            count(&local, before, out.len());
            if making.append(&out, most).await.is_break() {
                return;
            }
        }
        next = match ahead {
            Some(next) => next,
            None => reader.next().await,
        };
    }
    // What is left is a few bytes: a flush, or less than a block.
    let Ok(rest) = encoder.finish() else { return };
    count(&local, 0, rest.len());
    if making.append(&rest, most).await.is_continue() {
        making.settle();
    }
    drop(permit);
}

/// What comes next, if it is there.
async fn at_hand(reader: &mut Reader) -> Option<Next> {
    poll_fn(|context| {
        Poll::Ready(match reader.poll_next(context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
    })
    .await
}

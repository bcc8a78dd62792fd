//! What the disk has for a request, brought to where it is served from: small bodies into memory,
//! large ones as they are read.

use std::sync::Arc;

use bytes::Bytes;
use relay::wheel::{Kind, Timer};

use super::resource::Fetch;
use crate::{
    cache::{
        content::{Content, Reader, memory::Body},
        disk::{Disk, Found, PATIENCE, Reading},
        object::{Object, Parts},
        vary::{self, Selection},
    },
    node::Store,
    transaction::Transaction,
};

/// What the disk has, and a place at its beginning. `None`: the origin is asked, as for everything
/// else that is not there.
pub(super) async fn load(
    transaction: &Transaction,
    fetch: &Fetch<'_>,
    disk: &Arc<Disk>,
    mut reading: Reading,
) -> Option<(Arc<Object>, Reader)> {
    let store = &transaction.local.node.store;
    // So that a purge which comes while it is read reaches it.
    let ticket = store.lead(&fetch.key);
    let timer = Timer::new(transaction.local.worker.wheel());
    let read = match timer.within(Kind::Other, PATIENCE, &mut reading.answer).await {
        Ok(Ok(read)) => Some(read),
        // The tier is being stopped.
        Ok(Err(_)) => return None,
        Err(_) => None,
    };
    let found = disk.take(&reading, &fetch.key, read)?;
    if ticket.is_void() {
        return None;
    }
    let (object, body, bytes) = object(store, fetch, found);
    let reader = object.content.reader()?;
    let Some(body) = body else { return Some((object, reader)) };
    if let Some(newer) = ticket.promote(&object) {
        let reader = newer.content.reader()?;
        return Some((newer, reader));
    }
    body.append(&bytes, Some(0), |more| store.admit(&object, body.charged(), more));
    if object.is_kept() && !body.retains() {
        store.remove(&object);
    }
    body.complete();
    store.settle_promoted(&object);
    Some((object, reader))
}

/// The object that it is, and the body that is still to be filled with these bytes, if any.
fn object(
    store: &Store,
    fetch: &Fetch<'_>,
    found: Found,
) -> (Arc<Object>, Option<Arc<Body>>, Bytes) {
    let Found { stored, facts, freshness, content, body: bytes } = found;
    let selection = match &stored.varied {
        None => Selection::default(),
        // What the request has is what it has been selected by.
        Some(varied) => {
            let fields: Vec<(&[u8], &[u8])> = fetch.fields().collect();
            vary::select(&varied.names, fields.iter().copied())
        }
    };
    let body = content.is_none().then(|| Body::new(store.budget()));
    let content = match (&body, content) {
        (Some(body), _) => Content::Memory(body.clone()),
        (None, Some(content)) => content,
        (None, None) => Content::Memory(Body::new(store.budget())),
    };
    let length = if content.is_on_disk() { content.len() } else { bytes.len() as u64 };
    let parts = Parts {
        key: fetch.key.clone(),
        head: stored.head,
        selection,
        from: stored.from,
        freshness,
        declared: stored.declared.or(Some(length)),
        content,
    };
    (Arc::new(Object::new(&facts, parts)), body, bytes)
}

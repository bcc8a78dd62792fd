//! What the disk has for a request, brought to where it is served from: small bodies into memory,
//! large ones as they are read.

use std::sync::Arc;

use relay::wheel::{Kind, Timer};

use super::resource::Fetch;
use crate::{
    cache::{
        content::Reader,
        disk::{Disk, PATIENCE, Reading},
        object::{Object, Placement},
    },
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
    let (object, body, bytes) = found.object(store.budget(), &fetch.key, fetch.fields());
    let reader = object.content.reader()?;
    let Some(body) = body else { return Some((object, reader)) };
    if fetch.ruling.placement == Placement::Disk {
        body.append(&bytes, Some(0), |more| Some(store.budget().work(more)));
        body.complete();
        return Some((object, reader));
    }
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

//! The disk tier comes and goes with the configuration.

use std::{path::Path, sync::Arc};

use crate::{
    cache::disk::{Disk, Settings},
    node::Node,
};

/// Bytes of memory that what waits to be written may hold, at the most.
const QUEUE: u64 = 32 << 20;
const LEAST_QUEUE: u64 = 1 << 20;

/// Gives the disk tier what the configuration in force says. One that is not wanted any more is
/// emptied: what would be purged meanwhile must not come back with it.
pub fn apply(node: &Arc<Node>, path: &Path) {
    let cache = &node.current.load_full().document.cache;
    let capacity = if cache.memory == 0 { 0 } else { cache.disk };
    match node.store.disk() {
        Some(disk) if capacity > 0 => disk.set_capacity(capacity),
        Some(disk) => {
            node.store.set_disk(None);
            empty(&disk);
        }
        None if capacity > 0 => node.store.set_disk(start(node, path, capacity)),
        None if path.exists() => {
            if let Some(disk) = start(node, path, 0) {
                empty(&disk);
            }
        }
        None => {}
    }
}

fn start(node: &Arc<Node>, path: &Path, capacity: u64) -> Option<Arc<Disk>> {
    let queue = (node.store.capacity() / 4).clamp(LEAST_QUEUE, QUEUE);
    let steady = node.steady;
    let mut seed = [0; 8];
    match relay::proof::nonce() {
        Ok(nonce) => seed.iter_mut().zip(nonce).for_each(|(to, from)| *to = from),
        Err(error) => {
            tracing::error!(%error, "the disk cache is not started: the system gives no secret");
            return None;
        }
    }
    let clock = Box::new(move || steady.millis());
    let settings = Settings::new(path.to_owned(), capacity, queue, u64::from_le_bytes(seed), clock);
    Disk::start(settings, node.store.budget())
        .inspect_err(|error| tracing::error!(%error, "the disk cache cannot be started"))
        .ok()
}

fn empty(disk: &Arc<Disk>) {
    disk.set_capacity(0);
    let disk = disk.clone();
    let stopping = std::thread::Builder::new().name("disk-stop".into()).spawn(move || disk.stop());
    if let Err(error) = stopping {
        tracing::warn!(%error, "the disk cache could not be emptied");
    }
}

/// Writes what waits and lets the directory go, so that the next process finds everything.
pub async fn stop(node: &Arc<Node>) {
    let Some(disk) = node.store.disk() else { return };
    if tokio::task::spawn_blocking(move || disk.stop()).await.is_err() {
        tracing::error!("the disk cache could not be stopped");
    }
}

//! The thread that writes: it alone has the log.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Disk, Early, INLINE, Opener, Ready, Standing,
    inbox::{Offer, Order, What},
    load, lock,
    log::{Log, NotWritten, Record, Shared},
    purges::{self, Purge},
    reads::Reads,
    stored::{Digest, Extent, Place, Stored, Varied},
};
use crate::cache::{content::Content, object::Object, vary::Names};

/// How often a directory is tried again that cannot be used.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is written down what time it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Bytes that are taken from the queue at a time.
const BATCH: u64 = 4 << 20;

/// Loads the tier, and writes until it is stopped.
pub(super) fn run(disk: &Arc<Disk>, open: &Opener, readers: usize, seed: u64) {
    let end = End(disk);
    let Some(mut log) = loaded(disk, open, seed) else { return };
    let shared = log.shared().clone();
    let reads = Reads::new(shared.clone(), disk.budget.clone());
    for reader in 0..readers {
        let reads = reads.clone();
        let named = std::thread::Builder::new().name(format!("disk-read-{reader}"));
        if let Err(error) = named.spawn(move || reads.serve()) {
            tracing::error!(%error, "there are fewer threads to read the disk cache than wanted");
        }
    }
    let known = disk.ready.set(Ready { shared: shared.clone(), reads: reads.clone() });
    debug_assert!(known.is_ok(), "loaded once");
    take_over(disk, &shared);
    disk.stand(Standing::Ready);
    let mut noted = 0;
    loop {
        let mut work = disk.inbox.wait(HEARTBEAT, BATCH);
        if let Some(capacity) = work.capacity {
            report(disk, "resize", log.set_capacity(capacity).err().as_ref());
        }
        purge(&mut log, std::mem::take(&mut work.orders), work.oldest);
        for offer in work.offers {
            let bytes = offer.bytes;
            write(disk, &mut log, offer);
            disk.inbox.done(bytes);
        }
        report(disk, "write", log.flush().err().as_ref());
        let now = (disk.clock)() / 1000;
        if now >= noted + HEARTBEAT.as_secs() {
            noted = now;
            report(
                disk,
                "write",
                load::note_clock(&*shared.device, shared.secret, now).err().as_ref(),
            );
        }
        if work.stopped {
            report(disk, "close", log.seal().err().as_ref());
            reads.stop();
            shared.device.release();
            drop(end);
            return;
        }
    }
}

/// However it ends, nobody waits for it.
struct End<'a>(&'a Disk);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.inbox.stop();
        if let Some(ready) = self.0.ready.get() {
            ready.reads.stop();
        }
        self.0.stand(Standing::Down("it is stopped".into()));
        drop(self.0.inbox.refuse());
        if let Some(early) = &mut *lock(&self.0.early) {
            early.clear();
        }
    }
}

/// The log, as soon as the directory can be used. `None`: the tier is stopped.
fn loaded(disk: &Disk, open: &Opener, seed: u64) -> Option<Log> {
    loop {
        let began = (disk.clock)();
        let (capacity, counts) = (disk.capacity(), disk.counts.clone());
        let tried = open().map_err(|error| error.to_string()).and_then(|device| {
            load::open(device, capacity, began / 1000, seed, counts).map_err(|it| it.to_string())
        });
        match tried {
            Ok(log) => {
                let took = (disk.clock)().saturating_sub(began);
                disk.counts.load_millis.store(took, Ordering::Relaxed);
                let objects = log.shared().index.objects();
                tracing::info!(objects, bytes = log.shared().used(), "the disk cache is loaded");
                return Some(log);
            }
            Err(reason) => {
                let standing = Standing::Down(reason.clone());
                if *lock(&disk.standing) != standing {
                    tracing::error!(
                        "the disk cache cannot be used: {reason}. This node serves from memory \
                         alone, and tries again"
                    );
                    disk.stand(standing);
                }
                for early in lock(&disk.early).iter_mut().flatten() {
                    if let Some(answer) = early.answer.take() {
                        drop(answer.send(Err(reason.clone())));
                    }
                }
            }
        }
        if disk.inbox.wait(AGAIN, 0).stopped || disk.inbox.is_stopped() {
            return None;
        }
    }
}

/// What was purged before it was loaded.
fn take_over(disk: &Disk, shared: &Shared) {
    let mut early = lock(&disk.early);
    for Early { purge, answer } in early.take().unwrap_or_default() {
        disk.order(shared, purge, answer);
    }
}

/// Writes purges down and tells those who wait.
fn purge(log: &mut Log, orders: Vec<Order>, oldest: u64) {
    if orders.is_empty() {
        return;
    }
    let (mut seen, secret) = (HashSet::new(), log.shared().secret);
    let mut written: Vec<(Purge, u64)> =
        orders.iter().map(|order| (order.purge.clone(), order.sequence)).collect();
    // Of one key that changes all the time, the newest is enough.
    written.reverse();
    written.retain(|(purge, _)| {
        let mut said = Vec::new();
        purges::encode(&mut said, secret, purge, 0);
        seen.insert(said)
    });
    written.reverse();
    let outcome = log.write_purges(&written, oldest);
    if let Err(error) = &outcome {
        log.shared().counts.errors.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            %error,
            "a purge could not be written to the disk cache: what it took away may be back after a \
             restart"
        );
    }
    for Order { purge, sequence, removed, answer } in orders {
        let swept = match &purge {
            Purge::Other(purge) => log.sweep(purge, sequence),
            Purge::Key(..) => 0,
        };
        let Some(answer) = answer else { continue };
        let told = match &outcome {
            Ok(()) => Ok(removed + swept),
            Err(error) => Err(error.to_string()),
        };
        // Who asked may be gone.
        drop(answer.send(told));
    }
}

fn write(disk: &Disk, log: &mut Log, offer: Offer) {
    let Offer { sequence, what, .. } = offer;
    let written = match what {
        What::Object { object, varied } => write_object(log, sequence, &object, varied),
        What::Piece(piece) if piece.written.is_lost() => return,
        What::Piece(piece) => match log.append_extent(sequence, &piece.bytes) {
            Ok(extent) => return piece.written.add(extent),
            Err(error) => {
                piece.written.lose();
                Err(error)
            }
        },
        What::Spooled { written, object, varied, length } => {
            disk.inbox.end(sequence);
            let Some(extents) = written.whole(length) else { return };
            let varied = varied.map(|(names, digest)| Varied { names: names.to_vec(), digest });
            let stored = Stored::of(&object, varied, Place::Extents(extents));
            log.append(Record { sequence, stored: &stored, body: &[] }).map(drop)
        }
    };
    match written {
        Ok(()) | Err(NotWritten::TooLarge) => {}
        Err(NotWritten::Io(error)) => {
            disk.counts.lost.fetch_add(1, Ordering::Relaxed);
            report(disk, "write", Some(&error));
        }
    }
}

fn write_object(
    log: &mut Log,
    sequence: u64,
    object: &Object,
    varied: Option<(Names, Digest)>,
) -> Result<(), NotWritten> {
    let varied = varied.map(|(names, digest)| Varied { names: names.to_vec(), digest });
    match &object.content {
        Content::Memory(body) => {
            // One that nobody may keep after all.
            let Some(whole) = body.whole() else { return Ok(()) };
            if body.len() <= INLINE {
                let stored = Stored::of(object, varied, Place::Inline);
                log.append(Record { sequence, stored: &stored, body: whole })
            } else {
                let extents: Result<Vec<Extent>, NotWritten> =
                    whole.iter().map(|piece| log.append_extent(sequence, piece)).collect();
                extents.and_then(|extents| {
                    let stored = Stored::of(object, varied, Place::Extents(extents));
                    log.append(Record { sequence, stored: &stored, body: &[] })
                })
            }
        }
        Content::Disk(body) => {
            let stored = Stored::of(object, varied, Place::Extents(body.extents()));
            log.append(Record { sequence, stored: &stored, body: &[] })
        }
    }
    .map(drop)
}

fn report(disk: &Disk, what: &str, error: Option<&std::io::Error>) {
    if let Some(error) = error {
        disk.counts.errors.fetch_add(1, Ordering::Relaxed);
        disk.failed(&format!("does not {what}: {error}"));
    }
}

//! The body of an answer, on its way from the next hop into the content of an object.

mod alone;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{
    body::BodyReader,
    fault::Fault,
    method::Method,
    stream::Stream,
    wheel::{Kind, Timer},
};

use crate::{
    cache::{content::memory::Body, disk::spool::Spool, keying::Digest, object::Object},
    fetch::order::Order,
    local::Local,
    owner::Had,
    relay::{Received, bound_to_client},
    upstream::Hop,
};

/// How long a fill goes on that nobody reads any more.
const ALONE: Duration = Duration::from_secs(30);
/// Pieces of a body below this are gathered, up to so many bytes.
const SMALL: usize = 1024;
const GATHERED: usize = 8 * 1024;
/// How often it is looked whether a disk has caught up.
const PACE: Duration = Duration::from_millis(20);
/// How long readers of a body that is not kept make the others wait before they are cut.
const LAG: Duration = Duration::from_secs(1);

/// The duty to end a body one way or the other: a fill that is cut (a panic, a drain at its end)
/// must not look complete, nor hang its readers.
pub(super) struct Filling {
    local: Rc<Local>,
    object: Arc<Object>,
    /// The body of the object, which grows.
    body: Arc<Body>,
    /// Where it goes to the disk while it comes.
    spool: Option<Spool>,
    settled: bool,
}

impl Filling {
    /// Whoever has it must end the body of this object.
    pub(super) fn new(local: &Rc<Local>, object: &Arc<Object>, body: Arc<Body>) -> Self {
        let (local, object) = (local.clone(), object.clone());
        Self { local, object, body, spool: None, settled: false }
    }

    /// The body is complete. What is not kept goes with its last reader.
    fn settle(mut self, keeps: bool) {
        self.settled = true;
        self.body.complete();
        let store = &self.local.node.store;
        match self.spool.take().filter(Spool::is_whole) {
            _ if !keeps => store.remove(&self.object),
            Some(spool) => store.settle_spooled(&self.object, spool),
            None => store.settle(&self.object),
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.settled {
            self.body.fail();
            self.local.node.store.remove(&self.object);
        }
    }
}

/// Fills the body to its end. The connection is used again if both are whole.
pub(super) async fn fill(order: Order, mut filling: Filling, received: Received) {
    let Received { mut hop, head, bytes, .. } = received;
    if is_kept(&order, &hop) {
        filling.spool = order.local.node.store.spool(&filling.object);
    }
    let mut reader = BodyReader::new(head.framing(Method::Get), head.dialect());
    let before = hop.stream.received();
    let complete = pump(&order, &mut filling, &mut hop.stream, &mut reader).await;
    let metrics = &order.local.node.metrics;
    metrics
        .bytes_from_origins
        .add(hop.stream.received().saturating_sub(before) + bytes.len() as u64);
    if complete {
        filling.settle(is_kept(&order, &hop));
        if head.persistent(Method::Get) && !bound_to_client(&order.request) {
            hop.keep(&order.local);
        }
    }
}

/// Whether what comes over this connection is kept: what another node owns and keeps only where it
/// is asked for often, what a sibling has as the bundle says.
pub(super) fn is_kept(order: &Order, hop: &Hop) -> bool {
    match hop.had {
        None => true,
        Some((Had::Sibling, _)) => !order.local.node.icp.siblings.load().proxy_only,
        Some((Had::Hit | Had::Miss, _)) => order.owner.as_ref().is_some_and(|(_, hot)| *hot),
    }
}

/// Moves the body from the connection into the object. False: it broke off, or nobody wants it.
async fn pump(
    order: &Order,
    filling: &mut Filling,
    stream: &mut Stream,
    reader: &mut BodyReader,
) -> bool {
    let most = order.generation.document.cache.max_object_size;
    let deadline = order.generation.document.timeouts.read;
    let rules = order.generation.document.cache.quick_abort.as_ref();
    let store = &order.local.node.store;
    let Filling { object, body, spool, .. } = filling;
    let timer = Timer::new(order.local.worker.wheel());
    let mut gathered = Vec::new();
    let mut check =
        order.ruling.digest.as_ref().filter(|_| object.status == 200).map(Digest::check);
    let mut alone_since: Option<Instant> = None;
    loop {
        let piece = match reader.next(stream, deadline).await {
            Ok(Some(piece)) => piece,
            Ok(None) => {
                if check.is_some_and(|check| !check.holds()) {
                    order.local.node.metrics.wrong_digests.add(1);
                    tracing::warn!(url = %object.key, "not kept: it has not the digest of its URL");
                    body.stop_retaining();
                    *spool = None;
                    store.remove(object);
                }
                return true;
            }
            Err(fault) => {
                tracing::debug!(url = %object.key, %fault, "fill incomplete");
                return false;
            }
        };
        let broken = gather(reader, stream, &piece, &mut gathered).err();
        let bytes: &[u8] = if gathered.is_empty() { &piece } else { &gathered };
        let before = body.len();
        let length = before + bytes.len() as u64;
        if length > most {
            body.stop_retaining();
        }
        let spools = spool.as_ref().is_some_and(Spool::is_whole);
        if !room(&timer, body).await && !spools {
            return false;
        }
        if let Some(check) = &mut check {
            check.update(bytes);
        }
        if let Some(spool) = spool {
            keep_pace(&order.local, spool).await;
            spool.append(bytes);
        }
        let more = object.declared.map(|declared| declared.saturating_sub(length));
        body.append(bytes, more, |bytes| store.admit(object, body.charged(), bytes));
        body.note_progress(order.local.node.steady.millis());
        if object.is_kept() && !body.retains() {
            // Too large after all, or no memory left: those who read it get it, nobody else will.
            store.remove(object);
        }
        if let Some(fault) = broken {
            tracing::debug!(url = %object.key, %fault, "fill broken");
            return false;
        }
        if body.is_read() {
            alone_since = None;
            continue;
        }
        let alone = relay::clock::since(*alone_since.get_or_insert_with(relay::clock::now));
        if alone > ALONE || !rules.is_none_or(|it| alone::goes_on(it, object.declared, before)) {
            return false;
        }
    }
}

/// Waits for the disk, for a while.
async fn keep_pace(local: &Local, spool: &Spool) {
    let began = relay::clock::now();
    while spool.is_behind() && relay::clock::since(began) < LAG {
        local.worker.wheel().sleep(PACE).await;
    }
}

/// Waits until there is room for more. False: nobody wants it any more.
pub(in crate::fetch) async fn room(timer: &Timer, body: &Body) -> bool {
    loop {
        match timer.within(Kind::Other, LAG, body.room()).await {
            Ok(room) => return room.is_ok(),
            Err(_) => body.cut_laggards(),
        }
    }
}

/// Puts small pieces that are there already together, so that an origin which sends byte by byte
/// costs an append for each read and not for each byte. `gathered` stays empty where a piece is
/// worth an append of its own.
fn gather(
    reader: &mut BodyReader,
    stream: &mut Stream,
    piece: &[u8],
    gathered: &mut Vec<u8>,
) -> Result<(), Fault> {
    gathered.clear();
    if piece.len() >= SMALL {
        return Ok(());
    }
    gathered.extend_from_slice(piece);
    while gathered.len() < GATHERED
        && let Some(more) = reader.take(stream)?
    {
        gathered.extend_from_slice(&more);
    }
    Ok(())
}

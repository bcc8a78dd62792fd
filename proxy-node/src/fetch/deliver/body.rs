//! Sends the body of an object to a client, from memory, from the disk, or as it is being filled.
//!
//! Who follows the fill of another leaves it when it comes to a halt: it asks the origin itself and
//! goes on where it was, provided that the new answer begins with the very bytes that have been
//! sent already.

use std::{
    future::poll_fn,
    ops::Range,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use relay::{
    body::{BodyWriter, Rest},
    fault::Fault,
    stream::{Ahead, Stream},
    wheel::{Kind, Timer},
};

use super::delivery::Delivery;
use crate::{
    cache::{
        content::{Next, Reader, memory::COPIED},
        object::Object,
    },
    fetch::{
        fill::{self, Lead},
        order::Order,
        resource::Fetch,
    },
    local::Local,
    transaction::Transaction,
};

/// Segments that are sent with one write.
pub(super) const AT_ONCE: usize = 5;
/// A larger part may take more of the kernel's memory than it should, where its client does not
/// read.
const LARGE: u64 = 256 * 1024;
/// How long a piece of a body is waited for that is on the disk.
const PIECE: Duration = Duration::from_secs(10);
/// A reader that takes less than a segment in this time is let go if what it holds is needed and
/// not kept for others.
const SLOW: Duration = Duration::from_secs(15);

/// How far an object came to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// To its end.
    Whole,
    /// The fill broke off before anything was sent: the client can still be told.
    Nothing,
    /// The fill broke off; all that there was of it has been sent.
    Cut,
    /// The client takes no more.
    ClientGone,
}

impl From<Result<(), Fault>> for Sent {
    fn from(written: Result<(), Fault>) -> Self {
        if written.is_ok() { Self::Whole } else { Self::ClientGone }
    }
}

/// Sends a part of a body behind the head in the transaction's buffer.
pub(super) async fn send(
    transaction: &Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    writer: &mut BodyWriter,
    delivery: &mut Delivery,
    part: Range<u64>,
) -> Sent {
    let deadline = transaction.generation.document.timeouts.write;
    if part.end.saturating_sub(part.start) > LARGE {
        stream.bound_unsent();
    }
    let growing = !delivery.object.content.is_complete();
    let _copies = growing.then(|| transaction.local.node.store.budget().work(COPIED as u64));
    delivery.reader.go_to(part.start);
    let mut at = part.start;
    let mut head: &[u8] = &transaction.out;
    let mut batch: Vec<Bytes> = Vec::with_capacity(AT_ONCE);
    let mut most = AT_ONCE;
    loop {
        batch.clear();
        let ahead = if head.is_empty() { Ahead::Nothing } else { Ahead::OfAnswer };
        let mut next = tokio::select! {
            biased;
            next = waited(transaction, fetch, delivery, part.start, at) => next,
            _ = stream.left(ahead) => return Sent::ClientGone,
        };
        let rest = loop {
            match next {
                Next::Segment(mut segment) => {
                    segment.truncate(usize::try_from(part.end - at).unwrap_or(usize::MAX));
                    at += segment.len() as u64;
                    batch.push(segment);
                }
                Next::End => break Rest::None,
                Next::Failed if batch.is_empty() && head.is_empty() => return Sent::Cut,
                Next::Failed if batch.is_empty() => return Sent::Nothing,
                Next::Failed => break Rest::Follows,
            }
            if at >= part.end {
                break Rest::None;
            }
            if batch.len() >= most {
                break Rest::Follows;
            }
            match ready(&mut delivery.reader).await {
                Some(more) => next = more,
                None => break Rest::Follows,
            }
        };
        let sent_to = at;
        let write = pin!(writer.write(stream, head, &batch, rest, deadline));
        match patiently_noting(&transaction.local, &delivery.object, write).await {
            (Ok(()), false) => {}
            // From now on it is judged by each segment.
            (Ok(()), true) => most = 1,
            (Err(_), _) => return Sent::ClientGone,
        }
        head = &[];
        if rest == Rest::None {
            return if part.end != u64::MAX && sent_to < part.end {
                Sent::Cut
            } else {
                Sent::Whole
            };
        }
    }
}

/// What a reader gets without waiting.
async fn ready(reader: &mut Reader) -> Option<Next> {
    poll_fn(|context| {
        Poll::Ready(match reader.poll_next(context) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        })
    })
    .await
}

/// What comes next; from an answer of its own where the fill of another has come to a halt.
async fn waited(
    transaction: &Transaction,
    fetch: &Fetch<'_>,
    delivery: &mut Delivery,
    first: u64,
    at: u64,
) -> Next {
    if delivery.object.content.is_on_disk() {
        let timer = Timer::new(transaction.local.worker.wheel());
        let read = timer.within(Kind::Other, PIECE, delivery.reader.next()).await;
        return read.unwrap_or(Next::Failed);
    }
    if delivery.leads || delivery.object.content.is_complete() {
        return delivery.reader.next().await;
    }
    let timer = Timer::new(transaction.local.worker.wheel());
    let patience = transaction.generation.document.cache.follow_timeout;
    if let Ok(next) = timer.within(Kind::Other, patience, delivery.reader.next()).await {
        return next;
    }
    delivery.leads = true;
    match leave(transaction, fetch, &delivery.object, first..at).await {
        Some((object, reader, more)) => {
            (delivery.object, delivery.reader) = (object, reader);
            if more.is_empty() { delivery.reader.next().await } else { Next::Segment(more) }
        }
        // There is no other answer that would go with what has been sent.
        None => delivery.reader.next().await,
    }
}

/// Asks the origin again. The new answer is the same as far as it has been `sent`; the reader and
/// the bytes before it go on from there.
async fn leave(
    transaction: &Transaction,
    fetch: &Fetch<'_>,
    old: &Arc<Object>,
    sent: Range<u64>,
) -> Option<(Arc<Object>, Reader, Bytes)> {
    tracing::debug!(
        request_id = %transaction.id,
        url = %fetch.key,
        "left a fill that has come to a halt"
    );
    let order = Order::anew(transaction, fetch).whole()?;
    let ticket = transaction.local.node.store.lead(&fetch.key);
    let Ok(Lead::Object { object, mut reader, .. }) = fill::start(order, ticket).await else {
        return None;
    };
    let same = object.status == old.status
        && object.etag == old.etag
        && object.last_modified == old.last_modified;
    if !same || object.length() != old.length() {
        return None;
    }
    let mut at = sent.start;
    let mut more = Bytes::new();
    reader.go_to(at);
    while at < sent.end {
        let Next::Segment(mut piece) = reader.next().await else { return None };
        // What is behind is not gone back to: it may be dropped once it has been read.
        more =
            piece.split_off(piece.len().min(usize::try_from(sent.end - at).unwrap_or(usize::MAX)));
        if !old.content.matches(at, &piece) {
            return None;
        }
        at += piece.len() as u64;
    }
    Some((object, reader, more))
}

/// Awaits a write of an object's bytes. Nobody is waited for for ever who takes next to nothing and
/// holds memory that others need.
pub(super) async fn patiently(
    local: &Local,
    object: &Object,
    write: Pin<&mut impl Future<Output = Result<(), Fault>>>,
) -> Result<(), Fault> {
    patiently_noting(local, object, write).await.0
}

/// The same; tells too whether it took its time.
async fn patiently_noting(
    local: &Local,
    object: &Object,
    mut write: Pin<&mut impl Future<Output = Result<(), Fault>>>,
) -> (Result<(), Fault>, bool) {
    if let Poll::Ready(done) = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await {
        return (done, false);
    }
    let slowly = async {
        let timer = Timer::new(local.worker.wheel());
        loop {
            match timer.within(Kind::Other, SLOW, write.as_mut()).await {
                Ok(done) => return (done, true),
                Err(_) if is_needed(local, object) => {
                    return (Err(Fault::Timeout(Kind::Write)), true);
                }
                Err(_) => {}
            }
        }
    };
    Box::pin(slowly).await
}

/// Whether the memory of an object that a slow reader holds is needed.
fn is_needed(local: &Local, object: &Object) -> bool {
    object.content.take_wanted_back() || (!object.is_kept() && local.node.store.is_short())
}

//! PURGE: a client takes one URL out of the cache, as Squid and Varnish have it. Only who matches
//! `proxy.cache.purge.allow` may; the request is never sent on.
//!
//! 200: something was there, or all nodes were told; 404: nothing was; 403: not this client.

use std::time::{Duration, UNIX_EPOCH};

use dataplane::connection::ConnectionEnd;
use relay::{
    respond::Canned,
    rewrite::Persistence,
    stream::Stream,
    wheel::{Kind, Timer},
};

use crate::{
    cache::key::Key,
    record::Outcome,
    request::{Destination, Sender},
    respond::Error,
    transaction::{Request, Transaction},
};

pub const METHOD: &str = "PURGE";
/// How long a client waits for the disk and the registry.
const WITHIN: Duration = Duration::from_secs(10);

pub async fn answer(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
    path: &str,
) -> ConnectionEnd {
    transaction.count(|metrics| &metrics.requests);
    let of_a_node = transaction.sender == Sender::Node;
    if of_a_node || transaction.subject(request, destination).purged_by().is_none() {
        return transaction.refuse(stream, request, Error::Denied, None).await;
    }
    transaction.record.outcome = Outcome::None;
    let url = Key::new(destination.scheme(), &destination.host, destination.port, path.as_bytes());
    let everywhere = transaction.generation.document.cache.purge.everywhere;
    let (status, text) = done(transaction, url, everywhere).await;
    // The body is not read, and would be taken for the next request.
    let keep = transaction.keeps() && request.head.framing().is_empty();
    let canned = Canned {
        status,
        now: UNIX_EPOCH + Duration::from_millis(transaction.now),
        content_type: "text/plain",
        fields: &[("Cache-Control", "no-store")],
        body: text.as_bytes(),
        persistence: Persistence::of(keep, transaction.version),
    };
    transaction.out.clear();
    canned.write(&mut transaction.out);
    transaction.record.status = status;
    transaction.record.media_type = "text/plain".into();
    transaction.send(stream, keep).await
}

/// Has it done. The status, and what the client reads.
async fn done(transaction: &Transaction, url: Key, everywhere: bool) -> (u16, String) {
    let (client, petitions) = (transaction.client.address, &transaction.local.node.petitions);
    let Some(answered) = petitions.put(url, client, everywhere) else {
        return (503, "too many purges wait: try again\n".to_owned());
    };
    let timer = Timer::new(transaction.local.worker.wheel());
    match timer.within(Kind::Other, WITHIN, answered).await {
        Ok(Ok(Ok(found))) if everywhere => {
            (200, format!("{found} purged here, and all nodes are told\n"))
        }
        Ok(Ok(Ok(0))) => (404, "not stored here\n".to_owned()),
        Ok(Ok(Ok(found))) => (200, format!("{found} purged\n")),
        Ok(Ok(Err(problem))) => (503, format!("not purged for good: {problem}\n")),
        Ok(Err(_)) | Err(_) => (503, "not known to be purged: try again\n".to_owned()),
    }
}

//! Requests that the proxy answers for itself: whether it serves, and a sign of life.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, UNIX_EPOCH},
};

use dataplane::connection::ConnectionEnd;
use relay::{method::Method, respond::Canned, rewrite::Persistence, stream::Stream};

use crate::{
    request::Sender,
    transaction::{Request, Transaction},
};

/// What is understood here.
const ALLOW: (&str, &str) = ("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT");

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Whether this node serves.
    OfReadiness,
    /// Whether the data path lives: answered by it, and without anything that could wait.
    OfLife,
}

pub async fn answer(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    sign: Sign,
) -> ConnectionEnd {
    // The body is not read, and would be taken for the next request: on a pooled connection, for
    // another client's.
    transaction.persistent &= request.head.framing().is_empty();
    let serving = transaction.local.node.is_serving() && !transaction.local.worker.leaving();
    // How busy it is is nobody's business but its balancers'.
    let told = transaction.sender != Sender::Client;
    let load = transaction.local.node.load.load(Relaxed).to_string();
    let (status, body, fields): (u16, &[u8], &[(&str, &str)]) = match sign {
        Sign::OfReadiness if serving => (200, b"ready\n", &[("Cache-Control", "no-store"), ALLOW]),
        Sign::OfReadiness => (503, b"draining\n", &[("Cache-Control", "no-store"), ALLOW]),
        Sign::OfLife if told => (200, b"", &[ALLOW, ("Shoal-Load", &*load)]),
        Sign::OfLife => (200, b"", &[ALLOW]),
    };
    let keep = transaction.keeps();
    let canned = Canned {
        status,
        now: UNIX_EPOCH + Duration::from_millis(transaction.now),
        content_type: if body.is_empty() { "" } else { "text/plain" },
        fields,
        body,
        persistence: Persistence::of(keep, transaction.version),
    };
    transaction.out.clear();
    if transaction.method == Method::Head {
        canned.write_head(&mut transaction.out);
    } else {
        canned.write(&mut transaction.out);
    }
    transaction.send(stream, keep).await
}

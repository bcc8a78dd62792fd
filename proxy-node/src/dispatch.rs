//! The steps of one request: it is brought into its normal form and read, it is admitted or not, it
//! is fetched or becomes a tunnel, and it is written down.

use std::{net::IpAddr, sync::Arc};

use cluster_config::document::Limits;
use dataplane::{connection::ConnectionEnd, limits};
use relay::stream::Stream;

use crate::{
    admit::Decision,
    cache::key::Key,
    dns::share,
    fetch,
    health::{self, Sign},
    node::Asker,
    protocol::Protocol,
    purge,
    record::Outcome,
    request::{self, Ask, Destination, Sender},
    respond::Error,
    transaction::{Request, Transaction},
    tunnel, upstream,
};

/// Whether a request counts in metrics and is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accounted {
    /// As any request of a user.
    Yes,
    /// It asked the node how it is.
    No,
}

/// Answers a request, to the end.
pub async fn run(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    protocol: Protocol,
) -> (ConnectionEnd<Stream>, Accounted) {
    // One spelling from here on: what is judged is what is fetched and kept. The record has what
    // was sent.
    let target = request.view().target();
    let normal = match request.normal(&target) {
        Ok(normal) => normal,
        Err(malformed) => {
            transaction.count(|metrics| &metrics.requests);
            let failure = Error::Malformed(malformed);
            return (transaction.refuse(stream, request, failure, None).await, Accounted::Yes);
        }
    };
    let (request, target) =
        normal.as_ref().map_or((request, target), |normal| (normal, normal.view().target()));
    let health_path = health_path(transaction, protocol);
    let ask = request::ask_for(request.view(), target, transaction.sender, health_path);
    if matches!(ask, Ok(Ask::Fetch { .. } | Ask::Tunnel(_)))
        && let Some(failure) = over_a_limit(transaction, request, protocol)
    {
        transaction.count(|metrics| &metrics.requests);
        transaction.count(|metrics| &metrics.limited);
        return (transaction.refuse(stream, request, failure, None).await, Accounted::Yes);
    }
    let end = match ask {
        Ok(ask @ (Ask::Health | Ask::Probe)) => {
            let of = if ask == Ask::Health { Sign::OfReadiness } else { Sign::OfLife };
            return (health::answer(transaction, stream, request, of).await, Accounted::No);
        }
        Ok(Ask::Fetch { destination, path }) if request.view().method_text() == purge::METHOD => {
            Box::pin(purge::answer(transaction, stream, request, &destination, path)).await
        }
        Ok(Ask::Fetch { destination, path }) => {
            begin_fetch(transaction, stream, request, &destination, path).await
        }
        Ok(Ask::Tunnel(destination)) => {
            begin_tunnel(transaction, stream, request, &destination).await
        }
        Err(failure) => {
            transaction.count(|metrics| &metrics.requests);
            transaction.refuse(stream, request, failure, None).await
        }
    };
    (end, Accounted::Yes)
}

/// The path under which the listener of this connection says whether the node serves.
fn health_path(transaction: &Transaction, protocol: Protocol) -> Option<&str> {
    let Protocol::Proxy(bind) = protocol else { return None };
    let listen = &transaction.generation.document.listen;
    listen.iter().find(|listen| listen.bind == bind)?.health_path.as_deref()
}

/// What the listener of this connection lets its clients do.
fn limits_of(transaction: &Transaction, protocol: Protocol) -> Option<&Limits> {
    let Protocol::Proxy(bind) = protocol else { return None };
    let listen = &transaction.generation.document.listen;
    Some(&listen.iter().find(|listen| listen.bind == bind)?.limits)
}

/// Whether a client asks too fast, or for too much. Balancers are none, and look at theirs.
fn over_a_limit(
    transaction: &mut Transaction,
    request: &Request,
    protocol: Protocol,
) -> Option<Error> {
    let limits = limits_of(transaction, protocol)?;
    let body_most = limits.request_body_max_size;
    let (clients, client) = (transaction.local.worker.clients(), transaction.client.address);
    let refused = limits::admit(clients, limits, client, &request.head).err();
    transaction.body_most = body_most.unwrap_or(u64::MAX);
    refused.map(Into::into)
}

/// Counts the request, and finds out whether it is a health-checker's probe.
///
/// # Errors
/// It asks for a health-checker's target, and is somebody else's.
fn screen(
    transaction: &mut Transaction,
    request: &Request,
    destination: &Destination,
) -> Result<(), Error> {
    let screened = transaction.subject(request, destination).screen();
    transaction.probe = screened == Ok(Asker::Checker);
    if transaction.probe {
        transaction.local.node.metrics.probes.add(1);
    }
    transaction.count(|metrics| &metrics.requests);
    if transaction.sender == Sender::Node {
        transaction.local.node.metrics.owned.add(1);
    }
    screened.map(|_| ())
}

/// Answers a request for a resource.
async fn begin_fetch(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
    path: &str,
) -> ConnectionEnd {
    if let Err(failure) = screen(transaction, request, destination) {
        return transaction.refuse(stream, request, failure, None).await;
    }
    match transaction.steps() {
        None => admit_and_fetch(transaction, stream, request, destination, path).await,
        Some(steps) => {
            let fetched = admit_and_fetch(transaction, stream, request, destination, path);
            Box::pin(steps.during(fetched)).await
        }
    }
}

async fn admit_and_fetch(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
    path: &str,
) -> ConnectionEnd {
    let addresses = match admit(transaction, request, destination).await {
        Ok(addresses) => addresses,
        Err((failure, decision)) => {
            return transaction.refuse(stream, request, failure, decision).await;
        }
    };
    let key = Key::new(destination.scheme(), &destination.host, destination.port, path.as_bytes());
    fetch::run(transaction, stream, request, destination, key, addresses).await
}

/// Answers a CONNECT: with the other end of the tunnel, once the client knows that it is there.
async fn begin_tunnel(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
) -> ConnectionEnd {
    if let Err(failure) = screen(transaction, request, destination) {
        return transaction.refuse(stream, request, failure, None).await;
    }
    let steps = transaction.steps();
    let opening = Box::pin(admit_and_open(transaction, stream, request, destination));
    let opened = match steps {
        None => opening.await,
        Some(steps) => Box::pin(steps.during(opening)).await,
    };
    opened.map_or_else(|end| end, ConnectionEnd::Tunnel)
}

async fn admit_and_open(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
) -> Result<Stream, ConnectionEnd> {
    transaction.record.outcome = Outcome::Tunnel;
    match admit(transaction, request, destination).await {
        Ok(addresses) => tunnel::open(transaction, stream, request, destination, addresses).await,
        Err((failure, decision)) => {
            Err(transaction.refuse(stream, request, failure, decision).await)
        }
    }
}

/// Asks the rules. Answers the addresses of the destination where a rule wanted them: those that
/// the request may go to.
async fn admit(
    transaction: &Transaction,
    request: &Request,
    destination: &Destination,
) -> Result<Option<Arc<[IpAddr]>>, (Error, Option<Decision>)> {
    let subject = transaction.subject(request, destination);
    if subject.is_loop() {
        return Err((Error::Loop, None));
    }
    // A check tells of the node. What its users may do is for the rules, and must not make it
    // unwell.
    if transaction.probe {
        return Ok(None);
    }
    let resolve = || {
        upstream::resolve(
            &transaction.local,
            &destination.host,
            share::Asker::client(transaction.client.address),
            transaction.generation.document.timeouts.dns,
        )
    };
    let verdict = subject.walk(resolve, None).await.map_err(|failure| (failure, None))?;
    if verdict.decision.allowed {
        Ok(verdict.permitted())
    } else {
        Err((Error::Denied, Some(verdict.decision)))
    }
}

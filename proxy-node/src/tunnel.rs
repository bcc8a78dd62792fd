//! CONNECT: a connection to the destination, or through a parent proxy, and then bytes both ways;
//! and what becomes of a connection that switches to another protocol.
//!
//! A tunnel may last for days: what the request needed goes before it begins, and of the rest only
//! what its record will say is kept.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    field::Field,
    head::ResponseHead,
    method::Method,
    respond::reason,
    rewrite::{HeadWriter, Persistence},
    stream::Stream,
    tunnel::{End, FRAMED, Framed},
};

use crate::{
    local::Local,
    relay::{Outgoing, unless_it_leaves, write_request},
    request::{Destination, Sender},
    respond::Error,
    transaction::{Account, Request, Transaction},
    upstream::{self, From, Hop, tunnel},
};

/// A tunnel that a 2xx or a 101 has opened.
pub struct Open {
    upstream: Stream,
    /// Whether the client's connection outlives it.
    framed: Framed,
    /// It may be silent for so long.
    idle: Duration,
    account: Account,
    /// What the client had been sent on its connection before the request.
    sent_before: u64,
}

impl Open {
    /// What is left of a request that became a tunnel.
    #[must_use]
    pub fn new(
        transaction: Transaction,
        upstream: Stream,
        framed: Framed,
        sent_before: u64,
    ) -> Self {
        Self {
            upstream,
            framed,
            idle: transaction.generation.document.timeouts.tunnel_idle,
            account: transaction.account(),
            sent_before,
        }
    }
}

/// Connects, and tells the client that the tunnel is there. Answers the other end.
///
/// # Errors
/// The client has had its refusal, or is gone.
pub async fn open(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    destination: &Destination,
    addresses: Option<Arc<[IpAddr]>>,
) -> Result<Stream, ConnectionEnd> {
    let began = relay::clock::now();
    let generation = transaction.generation.clone();
    let direct = transaction.subject(request, destination).direct_by().is_some();
    let route = transaction.local.node.route(&generation, destination, direct);
    let mut tried = transaction.local.parents.begin(
        &generation.parents,
        request.view().target_text(),
        transaction.client.address,
    );
    let hop = loop {
        let connecting = upstream::connect(
            &transaction.local,
            &generation,
            transaction.client.address,
            route,
            From::New,
            addresses.clone(),
            &mut tried,
        );
        let hop = match unless_it_leaves(stream, connecting).await {
            Some(Ok(hop)) => hop,
            Some(Err(failure)) => {
                return Err(transaction.refuse(stream, request, failure, None).await);
            }
            None => return Err(transaction.left()),
        };
        let place = hop.parent.as_ref().map(|chosen| chosen.index);
        let Some(opened) = unless_it_leaves(stream, through(transaction, request, hop)).await
        else {
            return Err(transaction.left());
        };
        if let (
            Some(place),
            Err(tunnel::Error { failure: Error::ParentRefused(status), elsewhere: true, .. }),
        ) = (place, &opened)
        {
            tried.note_in_vain(&generation.parents, place, *status);
        }
        match opened {
            Ok(hop) => break hop,
            Err(tunnel::Error { elsewhere: true, .. }) if tried.leaves_any(&generation.parents) => {
            }
            Err(tunnel::Error { answer: Some(answer), .. }) => {
                return Err(challenge(transaction, stream, &answer).await);
            }
            Err(tunnel::Error { failure, .. }) => {
                return Err(transaction.refuse(stream, request, failure, None).await);
            }
        }
    };
    tried.settle(&generation.parents, destination, &transaction.local.parents);
    transaction.record.hierarchy = hop.hierarchy();
    transaction.record.status = 200;
    let mut out = std::mem::take(&mut transaction.out);
    out.clear();
    let mut head = HeadWriter::status(&mut out, 200, "Connection established");
    transaction.common_fields(&mut head, relay::clock::since(began));
    if framed(transaction.sender, request) == Framed::A {
        head.field(Field::ShoalTunnel.name(), FRAMED);
    }
    head.finish();
    transaction.out = out;
    if stream.write_all(&[&transaction.out], generation.document.timeouts.write).await.is_err() {
        transaction.record.aborted = true;
        return Err(ConnectionEnd::Abort);
    }
    transaction.count(|metrics| &metrics.tunnels);
    Ok(hop.stream)
}

/// Whether the connection is to outlive its tunnel, which a balancer asks for where many clients
/// share it.
#[must_use]
pub fn framed(sender: Sender, request: &Request) -> Framed {
    let asked = sender == Sender::BalancerPooled
        && request.view().method() == Method::Connect
        && request.view().value(Field::ShoalTunnel) == Some(FRAMED);
    if asked { Framed::A } else { Framed::Neither }
}

/// Runs it to its end, and writes it down. Returns the client's connection if another request may
/// come on it.
pub async fn run(local: &Local, client: Stream, open: Box<Open>) -> Option<Stream> {
    let metrics = &local.node.metrics;
    metrics.active_tunnels.add(1);
    let active = Active(local);
    let Open { upstream, framed, idle, mut account, sent_before } = *open;
    let head = client.sent().saturating_sub(sent_before);
    let ended = dataplane::tunnel::run(client, upstream, idle, framed).await;
    drop(active);
    metrics.bytes_from_origins.add(ended.report.b_to_a);
    account.record.aborted = matches!(ended.report.end, End::A(_));
    account.close(local, head + ended.report.b_to_a);
    ended.close().await
}

/// Counts a tunnel as open, even when its worker is cut.
struct Active<'a>(&'a Local);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.node.metrics.active_tunnels.subtract(1);
    }
}

/// Through a parent, a tunnel is asked for.
async fn through(
    transaction: &mut Transaction,
    request: &Request,
    mut hop: Hop,
) -> Result<Hop, tunnel::Error> {
    let Some(parent) = hop.parent.as_ref().map(|chosen| Arc::clone(&chosen.parent)) else {
        return Ok(hop);
    };
    let pseudonym = transaction.local.node.pseudonym.load_full();
    let outgoing =
        Outgoing { request, forwarded: transaction.client.forwarded, pseudonym: &pseudonym };
    write_request(&mut transaction.out, &outgoing, Some(&parent), None);
    tunnel::ask(&mut hop.stream, &parent, &transaction.generation, &transaction.out).await?;
    Ok(hop)
}

/// Passes a parent's challenge on to the client, which is to answer it. Its text is not: the
/// connection to the parent ends here.
async fn challenge(
    transaction: &mut Transaction,
    stream: &mut Stream,
    answer: &(ResponseHead, Bytes),
) -> ConnectionEnd {
    let (head, bytes) = answer;
    transaction.record.status = head.status();
    let mut out = std::mem::take(&mut transaction.out);
    out.clear();
    let mut writer = HeadWriter::status(&mut out, head.status(), reason(head.status()));
    for value in head.view(bytes).values(Field::ProxyAuthenticate) {
        writer.field("Proxy-Authenticate", value);
    }
    transaction.common_fields(&mut writer, Duration::ZERO);
    writer.number("Content-Length", 0);
    writer.connection(Persistence::Close);
    writer.finish();
    transaction.out = out;
    transaction.send(stream, false).await
}

//! CONNECT: a connection to the destination, or through a parent proxy, and then bytes both ways; and what becomes of a connection that
//! switches to another protocol.
//!
//! A tunnel may last for days: what the request needed goes before it begins, and of the rest only what its record will say is kept.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{
    framing::BodyFraming,
    head::ResponseHead,
    method::Method,
    respond::reason,
    rewrite::HeadWriter,
    stream::Stream,
    tunnel::{self, End},
};

use crate::{
    connection::{LINGER, LINGER_BYTES},
    node::Local,
    relay::{Outgoing, deadlines, reply_limits, write_request},
    request::Destination,
    respond::Failure,
    turn::{Account, After, Asked, Turn},
    upstream::{self, From, Hop},
};

/// A tunnel that a 2xx or a 101 has opened.
pub struct Open {
    upstream: Stream,
    /// It may be silent for so long.
    idle: Duration,
    account: Account,
    /// What the client had been sent on its connection before the request.
    sent_before: u64,
}

impl Open {
    /// What is left of a request that became a tunnel.
    #[must_use]
    pub fn new(turn: Turn, upstream: Stream, sent_before: u64) -> Self {
        Self { upstream, idle: turn.generation.document.timeouts.tunnel_idle, account: turn.account(), sent_before }
    }
}

/// Connects, and tells the client that the tunnel is there. Answers the other end.
///
/// # Errors
/// The client has had its refusal, or is gone.
pub async fn open(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    destination: &Destination,
    addresses: Option<Arc<[IpAddr]>>,
) -> Result<Stream, After> {
    let began = Instant::now();
    let generation = turn.generation.clone();
    let route = turn.local.node.route(&generation, destination);
    let opened = match upstream::connect(&turn.local, &generation, turn.client.address, route, From::New, addresses).await {
        Ok(hop) => through(turn, asked, hop).await,
        Err(failure) => Err(failure),
    };
    let hop = match opened {
        Ok(hop) => hop,
        Err(failure) => return Err(turn.refuse(stream, asked, failure, None).await),
    };
    turn.record.hierarchy = hop.hierarchy();
    turn.record.status = 200;
    let mut out = std::mem::take(&mut turn.out);
    out.clear();
    let mut head = HeadWriter::status(&mut out, 200, "Connection established");
    turn.common_fields(&mut head, began.elapsed());
    head.finish();
    turn.out = out;
    if stream.write_all(&[&turn.out], generation.document.timeouts.write).await.is_err() {
        turn.record.aborted = true;
        return Err(After::Abort);
    }
    turn.count(|metrics| &metrics.tunnels);
    Ok(hop.stream)
}

/// Runs it to its end, and writes it down.
pub async fn run(local: &Local, mut client: Stream, mut open: Box<Open>) {
    let metrics = &local.node.metrics;
    metrics.active_tunnels.add(1);
    let active = Active(local);
    let report = tunnel::run(&mut client, &mut open.upstream, &tunnel::Options { idle: open.idle }).await;
    drop(active);
    metrics.bytes_from_origins.add(report.b_to_a);
    let Open { upstream, mut account, sent_before, .. } = *open;
    account.record.aborted = matches!(report.end, End::A(_));
    account.close(local, client.sent().saturating_sub(sent_before));
    match report.end {
        End::Finished | End::Idle => Box::pin(client.close(LINGER_BYTES, LINGER)).await,
        // A reset goes on as a reset: neither side may take what it got for everything.
        End::A(_) => {
            upstream.abort();
            client.abort();
        }
        End::B(_) => client.abort(),
    }
}

/// Counts a tunnel as open, even when its worker is cut.
struct Active<'a>(&'a Local);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.node.metrics.active_tunnels.subtract(1);
    }
}

/// Through a parent, a tunnel is asked for.
async fn through(turn: &mut Turn, asked: &Asked, mut hop: Hop) -> Result<Hop, Failure> {
    if !hop.parent {
        return Ok(hop);
    }
    let pseudonym = turn.local.node.pseudonym.load_full();
    let outgoing = Outgoing { asked, forwarded: turn.client.forwarded, pseudonym: &pseudonym };
    write_request(&mut turn.out, &outgoing, true, None);
    let deadlines = deadlines(&turn.generation);
    hop.stream.write_all(&[&turn.out], deadlines.write).await.map_err(|fault| Failure::exchanging(&fault))?;
    let mut head = ResponseHead::new();
    for _ in 0..16 {
        let read = hop.stream.read_response(&mut head, &reply_limits(&turn.generation), deadlines.first_byte, deadlines.head).await;
        read.map_err(|fault| Failure::exchanging(&fault))?;
        if head.is_interim() {
            continue;
        }
        if matches!(head.status(), 200..=299) && head.framing(Method::Connect) == BodyFraming::Empty {
            return Ok(hop);
        }
        tracing::warn!(status = head.status(), phrase = reason(head.status()), parent = %hop.address, "the parent proxy refused a tunnel");
        return Err(Failure::ParentRefused(head.status()));
    }
    Err(Failure::Terminated)
}

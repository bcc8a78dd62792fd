//! CONNECT: a connection to the destination, or through a parent proxy, and then bytes both ways.

use std::{net::IpAddr, sync::Arc, time::Instant};

use relay::{
    framing::BodyFraming,
    head::{Limits, ResponseHead},
    method::Method,
    respond::reason,
    rewrite::HeadWriter,
    stream::Stream,
    tunnel::{self, End},
};

use crate::{
    node::Local,
    relay::{Outgoing, deadlines, write_request},
    request::Destination,
    respond::Failure,
    turn::{After, Asked, Turn},
    upstream::{self, From, Hop},
};

/// Opens the tunnel and runs it to its end.
pub async fn run(
    turn: &mut Turn,
    stream: &mut Stream,
    asked: &Asked,
    destination: &Destination,
    addresses: Option<Arc<[IpAddr]>>,
) -> After {
    let began = Instant::now();
    let generation = turn.generation.clone();
    let route = Turn::route(&generation, destination);
    let opened = match upstream::connect(&turn.local, &generation, turn.client.address, route, From::New, addresses).await {
        Ok(hop) => through(turn, asked, hop).await,
        Err(failure) => Err(failure),
    };
    let mut hop = match opened {
        Ok(hop) => hop,
        Err(failure) => return turn.refuse(stream, asked, failure, None).await,
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
        return After::Abort;
    }
    turn.out = Vec::new();
    let metrics = &turn.local.node.metrics;
    turn.count(|metrics| &metrics.tunnels);
    metrics.active_tunnels.add(1);
    let open = Open(&turn.local);
    let report = tunnel::run(stream, &mut hop.stream, &tunnel::Options { idle: generation.document.timeouts.tunnel_idle }).await;
    drop(open);
    metrics.bytes_from_origins.add(report.b_to_a);
    match report.end {
        End::Finished | End::Idle => After::Close,
        // A reset goes on as a reset: neither side may take what it got for everything.
        End::A(_) => {
            turn.record.aborted = true;
            hop.stream.abort();
            After::Abort
        }
        End::B(_) => After::Abort,
    }
}

/// Counts a tunnel as open, even when its worker is cut.
struct Open<'a>(&'a Local);

impl Drop for Open<'_> {
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
        let read = hop.stream.read_response(&mut head, &Limits::default(), deadlines.first_byte, deadlines.head).await;
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

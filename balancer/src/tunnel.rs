//! CONNECT after its 2xx, and a connection that has switched to another protocol: bytes both ways
//! until both ends have closed, nothing moves for too long, or one side fails.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use relay::{
    stream::Stream,
    tunnel::{End, Framed},
};

use dataplane::{connection, trace::Trace, tunnel};
use uuid::Uuid;

use crate::{
    listen::Frontend,
    local::{Local, Slot},
    queue::Permit,
    record::{Details, Error, Protocol, Record, Timers},
    snapshot::Pool,
    stats::Raised,
};

/// What becomes of a client's connection after a request.
pub type ConnectionEnd = connection::ConnectionEnd<Box<Open>>;

/// A tunnel that a 2xx or a 101 has opened, with what its record will say.
pub struct Open {
    /// The server's end.
    pub upstream: Box<Stream>,
    /// It outlives the tunnel, which it carries in frames.
    pub framed: bool,
    pub slot: Rc<Slot>,
    /// Its place at the server, where that has bounds.
    pub permit: Option<Permit>,
    /// It may be silent for so long.
    pub idle: Duration,
    /// The request's id.
    pub id: Uuid,
    /// When the request's head was complete.
    pub began: Instant,
    /// What was asked for.
    pub target: Box<str>,
    /// The 2xx, or 101; none where nobody reads requests.
    pub status: Option<u16>,
    /// How many servers were asked.
    pub attempts: u32,
    /// Its span, if it is sampled.
    pub trace: Option<Trace>,
    /// CONNECT, or what switched to another protocol.
    pub method: Box<str>,
    /// In which it was asked for.
    pub protocol: Protocol,
    /// Of its backend.
    pub pool: Arc<Pool>,
    /// How long it took to open.
    pub timers: Timers,
}

/// Runs it to its end. A server's death cannot be helped here: it is counted apart.
pub async fn run(
    local: &Local,
    frontend: &Frontend,
    client: Stream,
    peer: SocketAddr,
    open: Box<Open>,
) {
    let Open { upstream, framed, slot, idle, permit, .. } = *open;
    frontend.counts.of(local.worker().index()).tunnels.up();
    if let Some(status) = open.status {
        frontend.counts.of(local.worker().index()).answers.note(status, None);
    }
    let counts = slot.counts();
    let active = (Raised::new(&counts.active_tunnels), Raised::new(&slot.backend_counts().active));
    let cut = slot.until_cut(slot.cuts());
    let kept = if framed { Framed::B } else { Framed::Neither };
    let ended = tunnel::run_until(client, *upstream, idle, kept, cut).await;
    let report = ended.report;
    drop((active, permit));
    counts.bytes_out.add(report.a_to_b);
    counts.bytes_in.add(report.b_to_a);
    let frontend_counts = frontend.counts.of(local.worker().index());
    frontend_counts.bytes_in.add(report.a_to_b);
    frontend_counts.bytes_out.add(report.b_to_a);
    counts.end(open.timers.queue, open.timers.connect, relay::clock::since(open.began));
    let error = match report.end {
        End::Idle => Some(Error::TunnelIdle),
        End::Stopped => Some(Error::CutByOperator),
        End::A(_) => Some(Error::ClientAborted),
        // Frames say what is an end.
        End::Finished if framed => None,
        // The kernel closes a killed process's connections in order: only a new connection tells an
        // end from a death.
        End::Finished | End::B(_) if local.is_dead(&slot).await => {
            frontend.counts.of(local.worker().index()).cut_tunnels.up();
            Some(Error::TunnelCut)
        }
        End::Finished => None,
        End::B(_) => Some(Error::TunnelBroken),
    };
    let record = Record {
        id: open.id,
        client: &peer.ip().to_canonical().to_string(),
        frontend: &frontend.name,
        method: &open.method,
        target: &open.target,
        status: open.status.unwrap_or(0),
        bytes: report.a_to_b + report.b_to_a,
        took: relay::clock::since(open.began),
        server: &slot.server.name,
        attempts: open.attempts,
        error,
        details: Details {
            port: peer.port(),
            backend: &open.pool.settings.name,
            protocol: open.protocol,
            timers: open.timers,
            frontend: Some(frontend),
            server: Some(&slot.server),
        },
    };
    local.record(&record, open.trace.as_ref());
    if let Some(upstream) = ended.close().await
        && local.may_be_pooled(slot.server.key)
    {
        local.idle().put(slot.server.key, 0, upstream);
    }
}

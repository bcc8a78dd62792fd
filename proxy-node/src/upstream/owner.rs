//! A connection to the node that owns an object: a pooled one, or a new one on which both have
//! proved that they belong to the cluster.

use std::{rc::Rc, time::Duration};

use relay::{
    fault::Fault,
    head::{Limits, ResponseHead},
    interims::Interims,
    proof::Challenge,
    stream::Stream,
    wheel::{Kind, Timer},
};

use super::{
    addresses::candidates,
    hop::{From, Hop},
    open::pooled,
};
use crate::{
    config::Generation, dns::share::Asker, endpoint::Endpoint, local::Local, owner::Peer,
    respond::Error,
};

/// How long a node may take to take a connection and prove itself. It is near, and the origin is
/// asked instead.
const WITHIN: Duration = Duration::from_millis(500);
/// How long one that was silent may take to say that it lives, and how often it is asked.
const ALIVE_WITHIN: Duration = Duration::from_millis(250);
const TIMES: usize = 2;

/// Connects to an owner.
///
/// # Errors
/// It cannot be reached within half a second, or cannot prove that it is the one.
pub async fn connect(
    local: &Rc<Local>,
    generation: &Generation,
    peer: &Peer,
    from: From,
) -> Result<Hop, Error> {
    let opening = open(local, generation, peer, from);
    Timer::new(local.worker.wheel())
        .within(Kind::Connect, WITHIN, opening)
        .await
        .unwrap_or(Err(Error::ConnectTimeout))
}

async fn open(
    local: &Rc<Local>,
    generation: &Generation,
    peer: &Peer,
    from: From,
) -> Result<Hop, Error> {
    let found = candidates(local, generation, &peer.destination, Asker::Node, None).await?;
    let endpoint = |address| Endpoint::Node(address, peer.name.as_str().into());
    if let Some(hop) = pooled(local, &found, endpoint, from) {
        return Ok(hop);
    }
    let mut failure = Error::Unroutable;
    for address in found {
        match prove(local, address, peer).await {
            Ok(stream) => {
                local.node.metrics.upstream_connections.add(1);
                return Ok(Hop {
                    stream,
                    endpoint: endpoint(address),
                    reused: false,
                    parent: None,
                    had: None,
                });
            }
            Err(fault) => failure = Error::connecting(&fault),
        }
    }
    Err(failure)
}

async fn prove(
    local: &Rc<Local>,
    address: std::net::SocketAddr,
    peer: &Peer,
) -> Result<Stream, Fault> {
    let mut stream = Stream::connect(&local.worker, address, WITHIN).await?;
    let challenge = Challenge::of_node(&local.worker.nonce()?);
    stream.prove(&challenge, &local.node.cluster_key, &peer.name, WITHIN).await?;
    Ok(stream)
}

/// Returns once a node that owes an answer is found silent: nothing was heard of it for a while,
/// and its data path does not answer when it is asked, as balancers ask (`OPTIONS *`). Of all that
/// wait for it one asks.
pub async fn silent(local: &Rc<Local>, generation: &Generation, peer: &Peer) {
    let (node, wheel) = (&local.node, local.worker.wheel());
    let mut wait = Duration::from_millis(crate::owner::SILENCE);
    loop {
        wheel.sleep(wait).await;
        let now = node.steady.millis();
        if peer.is_passed_over(now) {
            return;
        }
        if peer.silent_for(now) < crate::owner::SILENCE || !peer.may_probe() {
            wait = ALIVE_WITHIN;
            continue;
        }
        let _asking = Asking(peer);
        let mut lives = false;
        for _ in 0..TIMES {
            lives |= !lives && is_alive(local, generation, peer).await;
        }
        if !lives {
            return peer.failed(node.steady.millis(), "it is silent");
        }
        peer.answered(node.steady.millis());
    }
}

/// Gives the right to ask back, also if nobody waits any more.
struct Asking<'a>(&'a Peer);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.probed();
    }
}

async fn is_alive(local: &Rc<Local>, generation: &Generation, peer: &Peer) -> bool {
    let asked = async {
        let mut hop = connect(local, generation, peer, From::New).await.ok()?;
        let request = format!(
            "OPTIONS * HTTP/1.1\r\nHost: {}\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n",
            peer.destination.authority()
        );
        hop.stream.write_all(&[request.as_bytes()], ALIVE_WITHIN).await.ok()?;
        let (mut head, mut interims) = (ResponseHead::new(), Interims::new(ALIVE_WITHIN));
        let silence = (ALIVE_WITHIN, ALIVE_WITHIN);
        hop.stream
            .read_final_response(&mut head, &Limits::default(), silence, &mut interims, |_| {})
            .await
            .ok()
    };
    let asked = Timer::new(local.worker.wheel()).within(Kind::Connect, ALIVE_WITHIN, asked).await;
    matches!(asked, Ok(Some(_)))
}

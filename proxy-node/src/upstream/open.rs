//! A connection to the first of several addresses that answers: from the pool, or a new one.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use relay::{
    fault::Fault,
    stream::Stream,
    wheel::{Kind, Timer},
};

use super::{
    hop::{From, Hop},
    secure,
};
use crate::{
    config::Generation, endpoint::Endpoint, local::Local, request::Destination, respond::Error,
    steps::Step,
};

/// RFC 8305 §5: how long one attempt is alone before the next address is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Opens a connection to `destination` at one of these addresses, with TLS where it is asked for
/// with it.
pub(super) async fn open(
    local: &Rc<Local>,
    generation: &Generation,
    candidates: &[SocketAddr],
    destination: &Destination,
    from: From,
) -> Result<Hop, Error> {
    let tls = destination.tls.then_some(&generation.origin_tls);
    let endpoint = |address| match tls {
        None => Endpoint::Plain(address),
        Some(tls) => Endpoint::Tls(address, destination.host.clone(), tls.mark()),
    };
    if let Some(hop) = pooled(local, candidates, endpoint, from) {
        return Ok(hop);
    }
    let until = relay::clock::now() + generation.document.timeouts.connect;
    let (stream, address) = new(local, generation, candidates).await?;
    let stream = match tls {
        None => stream,
        Some(tls) => secure::start(tls, stream, destination, until).await?,
    };
    Ok(Hop { stream, endpoint: endpoint(address), reused: false, parent: None, had: None })
}

/// An idle connection to one of these addresses.
pub(super) fn pooled(
    local: &Local,
    candidates: &[SocketAddr],
    endpoint: impl Fn(SocketAddr) -> Endpoint,
    from: From,
) -> Option<Hop> {
    let From::Pool(reuse) = from else { return None };
    candidates.iter().find_map(|address| {
        let endpoint = endpoint(*address);
        let stream = local.pool.take(&endpoint, 0, reuse)?;
        local.node.metrics.upstream_reused.add(1);
        Some(Hop { stream, endpoint, reused: true, parent: None, had: None })
    })
}

/// A new connection to the first of these addresses that takes one.
pub(super) async fn new(
    local: &Local,
    generation: &Generation,
    candidates: &[SocketAddr],
) -> Result<(Stream, SocketAddr), Error> {
    let connected = race(local, candidates, generation.document.timeouts.connect).await;
    let connected = connected.map_err(|fault| Error::connecting(&fault))?;
    local.node.metrics.upstream_connections.add(1);
    Ok(connected)
}

/// Happy eyeballs (RFC 8305): the next attempt begins when the one before fails or has taken too
/// long; the first connection wins.
async fn race(
    local: &Local,
    candidates: &[SocketAddr],
    deadline: Duration,
) -> Result<(Stream, SocketAddr), Fault> {
    let timer = Timer::new(local.worker.wheel());
    let all = async {
        let mut rest = candidates.iter().copied();
        let mut attempts = FuturesUnordered::new();
        let mut worst = Fault::Unreachable;
        loop {
            let more = rest.next().map(|address| {
                attempts.push(async move {
                    let step = Step::begin();
                    let made = Stream::connect(&local.worker, address, deadline).await;
                    if let Some(step) = step {
                        step.connected(address, &made);
                    }
                    made.map(|stream| (stream, address))
                });
            });
            tokio::select! {
                biased;
                attempt = attempts.next() => match attempt {
                    Some(Ok(connected)) => return Ok(connected),
                    Some(Err(fault)) => worst = graver(worst, fault),
                    None => return Err(worst),
                },
                () = local.worker.wheel().sleep(STAGGER), if more.is_some() => {}
            }
        }
    };
    timer.within(Kind::Connect, deadline, all).await.unwrap_or_else(|elapsed| Err(elapsed.into()))
}

/// Which of two failures says more: an answer says more than silence, and silence more than no way
/// there.
const fn graver(one: Fault, other: Fault) -> Fault {
    const fn rank(fault: &Fault) -> u8 {
        match fault {
            Fault::Unreachable => 0,
            Fault::Timeout(_) => 1,
            Fault::Exhausted => 3,
            _ => 2,
        }
    }
    if rank(&other) >= rank(&one) { other } else { one }
}

//! A connection to the next hop: from the pool, or a new one to the first address that answers;
//! with TLS where the request leaves that to us.
//!
//! Every address is checked against the egress policy before it is used, pooled or not: what one
//! client may reach another may not.

pub mod secure;
mod through;

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use relay::{
    fault::Fault,
    pool::Reuse,
    stream::Stream,
    wheel::{Kind, Timer},
};

use crate::{
    config::Generation,
    dns::{self, DnsProblem, Resolved, share::Asker},
    egress,
    node::Local,
    parent::{Parent, Tried},
    record::Hierarchy,
    request::Destination,
    respond::{Failure, Unreached},
    route::Route,
    steps::Step,
};

/// RFC 8305 §5: how long one attempt is alone before the next address is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Whether a pooled connection will do.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// A pooled one, or a new one.
    Pool(Reuse),
    /// A new one: the pooled one was dead, or a tunnel needs its own.
    New,
}

/// What an idle connection leads to. None of them is ever used for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Without TLS, to this address.
    Plain(SocketAddr),
    /// TLS to this address, with somebody who has shown to be the host of this name when those were
    /// trusted who belong to the mark.
    Tls(SocketAddr, Box<str>, u64),
    /// TLS with a host and port, as before, in a tunnel through the parent at this address.
    Tunnelled(SocketAddr, Box<str>, u16, u64),
}

impl Endpoint {
    const fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(address) | Self::Tls(address, ..) | Self::Tunnelled(address, ..) => {
                *address
            }
        }
    }
}

/// A connection to the next hop.
pub struct Hop {
    /// The connection.
    pub stream: Stream,
    /// Where it leads.
    pub endpoint: Endpoint,
    /// Whether it had been used before.
    pub reused: bool,
    /// The parent proxy that it leads to.
    pub parent: Option<Chosen>,
}

/// A parent that a request goes to.
pub struct Chosen {
    /// Its place among the parents.
    pub index: usize,
    /// It.
    pub parent: Arc<Parent>,
}

impl Hop {
    /// The origin's address; `None`: through a parent, which alone knows.
    #[must_use]
    pub fn origin(&self) -> Option<SocketAddr> {
        self.parent.is_none().then_some(self.endpoint.address())
    }

    /// For the log.
    #[must_use]
    pub const fn hierarchy(&self) -> Hierarchy {
        let address = self.endpoint.address().ip();
        if self.parent.is_some() { Hierarchy::Parent(address) } else { Hierarchy::Direct(address) }
    }

    /// The parent proxy that is spoken to. In a tunnel through it that is the destination.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.parent
            .as_ref()
            .filter(|_| !matches!(self.endpoint, Endpoint::Tunnelled(..)))
            .map(|chosen| &*chosen.parent)
    }

    /// A failure on this connection: a parent is not called the destination.
    #[must_use]
    pub fn blames(&self, failure: Failure) -> Failure {
        if self.parent().is_some() { failure.of_parent() } else { failure }
    }

    /// The exchange on it has ended in order: the next one may use it.
    pub fn keep(self, local: &Local) {
        local.pool.put(self.endpoint, 0, self.stream);
    }
}

/// Resolves a name for somebody, within the deadline for it. What has expired serves where there is
/// no new answer.
pub async fn resolve(local: &Local, host: &str, asker: Asker, deadline: Duration) -> Resolved {
    let resolver = &local.node.resolver;
    if let Some(known) = resolver.cached(host) {
        return known;
    }
    let expired = resolver.expired(host);
    let patience = if expired.is_some() { deadline.min(dns::PATIENCE) } else { deadline };
    let (timer, step) = (Timer::new(local.worker.wheel()), Step::begin());
    let answer = timer
        .within(Kind::Other, patience, resolver.resolve_for(host, asker))
        .await
        .unwrap_or(Err(DnsProblem::Timeout));
    if let Some(step) = step {
        step.looked_up(host, &answer);
    }
    resolver.or_expired(host, answer, expired)
}

/// Connects to the next hop of a route, for a client. `addresses` are the destination's where
/// somebody has resolved it already; `tried` are the parents that failed the request already, with
/// those that it finds out of reach.
pub async fn connect(
    local: &Rc<Local>,
    generation: &Generation,
    client: IpAddr,
    route: Route<'_>,
    from: From,
    addresses: Option<Arc<[IpAddr]>>,
    tried: &mut Tried,
) -> Result<Hop, Failure> {
    match route {
        Route::Direct(destination) => {
            direct(local, generation, client, destination, from, addresses).await
        }
        Route::Parents(asked, parents) => {
            let ports = local.node.ports.load();
            egress::check_unresolved(&generation.document.access.egress, &ports, client, asked)
                .map_err(Failure::Egress)?;
            let mut failure = Failure::Parent(Unreached::Nobody);
            while let Some((index, parent)) = tried.next(parents) {
                let destination = &parent.destination;
                // The parents themselves are the operator's word: the egress policy is for what
                // clients name.
                let found = match candidates(local, generation, destination, Asker::Node, None)
                    .await
                {
                    Ok(candidates) if asked.tls => {
                        match through::open(local, generation, parent, &candidates, asked, from)
                            .await
                        {
                            Ok(hop) => Ok(hop),
                            Err(through::Failed::Parent(failure)) => Err(failure),
                            Err(through::Failed::Refused(refused)) => {
                                failure = refused.failure;
                                if !refused.elsewhere {
                                    return Err(failure);
                                }
                                if let Failure::ParentRefused(status) = failure {
                                    tried.note_in_vain(parents, index, status);
                                }
                                continue;
                            }
                            Err(through::Failed::Destination(failure)) => return Err(failure),
                        }
                    }
                    Ok(candidates) => open(local, generation, &candidates, destination, from).await,
                    Err(failure) => Err(failure),
                };
                match found {
                    Ok(hop) => {
                        return Ok(Hop {
                            parent: Some(Chosen { index, parent: Arc::clone(parent) }),
                            ..hop
                        });
                    }
                    Err(reason) => {
                        tracing::debug!(%parent, %reason, "parent proxy out of reach");
                        parent.failed(reason);
                        failure = reason.of_parent();
                    }
                }
            }
            Err(failure)
        }
    }
}

async fn direct(
    local: &Rc<Local>,
    generation: &Generation,
    client: IpAddr,
    destination: &Destination,
    from: From,
    addresses: Option<Arc<[IpAddr]>>,
) -> Result<Hop, Failure> {
    let asker = Asker::client(client);
    let may_ask_more = destination.address.is_none() && addresses.is_none();
    let found = candidates(local, generation, destination, asker, addresses).await?;
    let failure = match open_permitted(local, generation, client, destination, from, found.clone())
        .await
    {
        Err(failure) if may_ask_more && !matches!(failure, Failure::Limit | Failure::Tls(_)) => {
            failure
        }
        done => return done,
    };
    // The other family may have answered meanwhile (RFC 8305 §3). What is known of both is answered
    // at once.
    let timer = Timer::new(local.worker.wheel());
    let whole = timer
        .within(
            Kind::Other,
            generation.document.timeouts.dns,
            local.node.resolver.whole(&destination.host, asker),
        )
        .await;
    let mut late = whole.map_or_else(
        |_| Vec::new(),
        |whole| whole.map_or_else(|_| Vec::new(), |all| at(&all, destination.port)),
    );
    late.retain(|address| !found.contains(address));
    if late.is_empty() {
        Err(failure)
    } else {
        open_permitted(local, generation, client, destination, from, late).await
    }
}

/// Opens a connection to one of the addresses that the client may reach.
async fn open_permitted(
    local: &Rc<Local>,
    generation: &Generation,
    client: IpAddr,
    destination: &Destination,
    from: From,
    mut candidates: Vec<SocketAddr>,
) -> Result<Hop, Failure> {
    let (ports, targets) = (local.node.ports.load(), local.node.probe_targets.load());
    let egress = &generation.document.access.egress;
    let mut denied = None;
    candidates.retain(|address| {
        egress::permits(egress, &ports, &targets, client, destination, *address)
            .inspect_err(|denial| denied = denied.or(Some(*denial)))
            .is_ok()
    });
    match (candidates.is_empty(), denied) {
        (true, Some(denial)) => Err(Failure::Egress(denial)),
        _ => open(local, generation, &candidates, destination, from).await,
    }
}

/// The addresses of a destination, in the order in which they are tried.
async fn candidates(
    local: &Local,
    generation: &Generation,
    destination: &Destination,
    asker: Asker,
    addresses: Option<Arc<[IpAddr]>>,
) -> Result<Vec<SocketAddr>, Failure> {
    if let Some(address) = destination.address {
        return Ok(vec![SocketAddr::new(address, destination.port)]);
    }
    let addresses = match addresses {
        Some(known) => known,
        None => resolve(local, &destination.host, asker, generation.document.timeouts.dns)
            .await
            .map_err(Failure::Dns)?,
    };
    Ok(at(&addresses, destination.port))
}

fn at(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    interleave(addresses).into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

/// RFC 8305 §4: the families take turns, beginning with that of the first address.
fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (mut same, mut other): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    same.reverse();
    other.reverse();
    let mut order = Vec::with_capacity(addresses.len());
    while !(same.is_empty() && other.is_empty()) {
        order.extend(same.pop());
        order.extend(other.pop());
    }
    order
}

/// Opens a connection to `destination` at one of these addresses, with TLS where it is asked for
/// with it.
async fn open(
    local: &Rc<Local>,
    generation: &Generation,
    candidates: &[SocketAddr],
    destination: &Destination,
    from: From,
) -> Result<Hop, Failure> {
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
        Some(tls) => tls.start(stream, destination, until).await?,
    };
    Ok(Hop { stream, endpoint: endpoint(address), reused: false, parent: None })
}

/// An idle connection to one of these addresses.
fn pooled(
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
        Some(Hop { stream, endpoint, reused: true, parent: None })
    })
}

/// A new connection to the first of these addresses that takes one.
async fn new(
    local: &Local,
    generation: &Generation,
    candidates: &[SocketAddr],
) -> Result<(Stream, SocketAddr), Failure> {
    let connected = race(local, candidates, generation.document.timeouts.connect).await;
    let connected = connected.map_err(|fault| Failure::connecting(&fault))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse =
            |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        for (found, order) in [
            (
                vec!["::1", "::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"],
                vec!["::1", "1.1.1.1", "::2", "2.2.2.2", "3.3.3.3"],
            ),
            (vec!["1.1.1.1", "::1", "::2"], vec!["1.1.1.1", "::1", "::2"]),
            (vec!["1.1.1.1"], vec!["1.1.1.1"]),
            (vec![], vec![]),
        ] {
            assert_eq!(interleave(&parse(&found)), parse(&order));
        }
    }
}

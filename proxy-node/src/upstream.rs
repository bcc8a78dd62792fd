//! A connection to the next hop: from the pool, or a new one to the first address that answers;
//! with TLS where the request leaves that to us.
//!
//! Every address is checked against the egress policy before it is used, pooled or not: what one
//! client may reach another may not.

mod addresses;
mod hop;
mod open;
pub mod owner;
mod secure;
pub mod sibling;
mod through;
pub mod tunnel;

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use relay::wheel::{Kind, Timer};

use crate::{
    config::Generation,
    dns::share::Asker,
    egress,
    local::Local,
    parent::Tried,
    request::Destination,
    respond::{Error, Unreached},
    route::Route,
};
pub use addresses::resolve;
use addresses::{at, candidates};
pub use hop::{Chosen, From, Hop};
use open::open;

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
) -> Result<Hop, Error> {
    match route {
        Route::Direct(destination) => {
            direct(local, generation, client, destination, from, addresses).await
        }
        Route::Parents(asked, parents) => {
            let ports = local.node.ports.load();
            egress::check_unresolved(&generation.document.access.egress, &ports, client, asked)
                .map_err(Error::Egress)?;
            let mut failure = Error::Parent(Unreached::Nobody);
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
                            Err(through::Error::Parent(failure)) => Err(failure),
                            Err(through::Error::Refused(refused)) => {
                                failure = refused.failure;
                                if !refused.elsewhere {
                                    return Err(failure);
                                }
                                if let Error::ParentRefused(status) = failure {
                                    tried.note_in_vain(parents, index, status);
                                }
                                continue;
                            }
                            Err(through::Error::Destination(failure)) => return Err(failure),
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
) -> Result<Hop, Error> {
    let asker = Asker::client(client);
    let may_ask_more = destination.address.is_none() && addresses.is_none();
    let found = candidates(local, generation, destination, asker, addresses).await?;
    let failure = match open_permitted(local, generation, client, destination, from, found.clone())
        .await
    {
        Err(failure) if may_ask_more && !matches!(failure, Error::Limit | Error::Tls(_)) => failure,
        done => return done,
    };
    // The other family may have answered meanwhile (RFC 8305 §3). What is known of both is
    // answered at once.
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
) -> Result<Hop, Error> {
    let (ports, targets) = (local.node.ports.load(), local.node.probe_targets.load());
    let egress = &generation.document.access.egress;
    let mut denied = None;
    candidates.retain(|address| {
        egress::permits(egress, &ports, &targets, client, destination, *address)
            .inspect_err(|denial| denied = denied.or(Some(*denial)))
            .is_ok()
    });
    match (candidates.is_empty(), denied) {
        (true, Some(denial)) => Err(Error::Egress(denial)),
        _ => open(local, generation, &candidates, destination, from).await,
    }
}

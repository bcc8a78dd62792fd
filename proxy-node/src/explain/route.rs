//! Where the request would go.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use cluster_config::document::egress::EgressDenial;

use super::{Explanation, RouteKind};
use crate::{
    admission::Subject,
    config::Generation,
    dns::{self, Resolved},
    egress,
    parent::Parent,
    request::Destination,
    route::Route,
};

/// Tells the route. `served`: from the cache, so that what forbids the route forbids nothing.
pub(super) async fn tell(
    told: &mut Explanation,
    subject: &Subject<'_>,
    resolved: Option<Arc<[IpAddr]>>,
    served: bool,
) {
    let Subject { node, generation, destination, .. } = *subject;
    let direct = subject.direct_by();
    if let Some(decision) = direct {
        told.steps.push(format!(
            "route: past the parents, by {} of proxy.hierarchy.direct.always",
            generation.direct.describe(decision)
        ));
    }
    let route = node.route(generation, destination, direct.is_some());
    told.goes(
        if matches!(route, Route::Parents(..)) { RouteKind::Parent } else { RouteKind::Origin },
        route.describe(subject.request.target_text(), subject.client),
    );
    let denied = match route {
        Route::Parents(_, parents) => {
            told.steps.extend(parents.iter().filter_map(|parent| passed_over(parent)));
            to_parent(told, subject).err()
        }
        Route::Direct(_) => to_origin(told, subject, resolved).await.err(),
    };
    match denied {
        Some(_) if served => told.goes_nowhere(),
        Some(denial) => told.deny(denial),
        None if destination.tls && !told.route.is_empty() => {
            told.steps.push(tls(generation, destination));
        }
        None => {}
    }
}

fn to_parent(told: &mut Explanation, subject: &Subject<'_>) -> Result<(), EgressDenial> {
    let Subject { node, generation, client, destination, .. } = *subject;
    let egress = &generation.document.access.egress;
    match egress::check_unresolved(egress, &node.ports.load(), client, destination) {
        Ok(()) => {
            told.steps.push(format!(
                "route: {}, as neither this host nor proxy.hierarchy.direct is meant",
                told.route
            ));
            Ok(())
        }
        Err(denial) => {
            told.steps.push(format!(
                "route: {} is {denial}, and is not asked for",
                destination.authority()
            ));
            Err(denial)
        }
    }
}

async fn to_origin(
    told: &mut Explanation,
    subject: &Subject<'_>,
    resolved: Option<Arc<[IpAddr]>>,
) -> Result<(), EgressDenial> {
    let resolved = match resolved {
        Some(resolved) => Ok(resolved),
        None => resolve(subject).await,
    };
    match resolved {
        Ok(addresses) => connect(told, subject, &addresses),
        Err(problem) => {
            let host = &subject.destination.host;
            told.steps.push(format!("route: {host} cannot be resolved: {problem}"));
            told.goes_nowhere();
            Ok(())
        }
    }
}

/// Which of the addresses may be connected to.
fn connect(
    told: &mut Explanation,
    subject: &Subject<'_>,
    addresses: &[IpAddr],
) -> Result<(), EgressDenial> {
    let Subject { node, generation, client, destination, .. } = *subject;
    let (ports, targets) = (node.ports.load(), node.probe_targets.load());
    let egress = &generation.document.access.egress;
    let (mut usable, mut denied) = (None, None);
    for address in addresses {
        let target = SocketAddr::new(*address, destination.port);
        match egress::permits(egress, &ports, &targets, client, destination, target) {
            Ok(()) => {
                told.steps.push(format!("route: {target} may be connected to"));
                usable.get_or_insert(target);
            }
            Err(denial) => {
                told.steps.push(format!("route: {target} is {denial}, and is not connected to"));
                denied.get_or_insert(denial);
            }
        }
    }
    match (usable, denied) {
        (Some(target), _) => told.goes(RouteKind::Origin, format!("origin {target}")),
        (None, Some(denial)) => return Err(denial),
        (None, None) => told.goes_nowhere(),
    }
    Ok(())
}

/// Resolves the destination, as [`crate::upstream::resolve`] does on a worker.
pub(super) async fn resolve(subject: &Subject<'_>) -> Resolved {
    let Subject { node, generation, destination, .. } = *subject;
    if let Some(address) = destination.address {
        return Ok(Arc::new([address]));
    }
    // On the control runtime; a second more than the deadline never happens.
    let deadline = generation.document.timeouts.dns.min(Duration::from_secs(30));
    let expired = node.resolver.expired(&destination.host);
    let patience = if expired.is_some() { deadline.min(dns::PATIENCE) } else { deadline };
    let answer = tokio::time::timeout(patience, node.resolver.resolve(&destination.host)).await;
    node.resolver.or_expired(&destination.host, answer.unwrap_or(Err(dns::Error::Timeout)), expired)
}

/// Whom the node believes that it speaks TLS with.
fn tls(generation: &Generation, destination: &Destination) -> String {
    let (host, authorities) = (&destination.host, generation.origin_tls.authorities());
    let way = if generation.parents.is_empty() {
        ""
    } else {
        ", through a tunnel where a parent is asked"
    };
    format!(
        "tls: this node speaks TLS with the destination itself{way}; it has to show a certificate \
         for {host} by one of {authorities} authorities"
    )
}

/// What keeps a parent from being asked first, or from answering.
fn passed_over(parent: &Parent) -> Option<String> {
    if let Some(problem) = parent.credentials().problem() {
        return Some(format!("route: parent {parent} is asked without credentials: {problem}"));
    }
    let how = parent.last_failure().filter(|_| !parent.is_alive())?;
    Some(format!("route: parent {parent} is dead, as it {how}: it is asked after those that live"))
}

//! The addresses of a destination, in the order in which they are tried.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use relay::wheel::{Kind, Timer};

use crate::{
    config::Generation,
    dns::{self, Resolved, share::Asker},
    local::Local,
    request::Destination,
    respond::Error,
    steps::Step,
};

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
        .unwrap_or(Err(dns::Error::Timeout));
    if let Some(step) = step {
        step.looked_up(host, &answer);
    }
    resolver.or_expired(host, answer, expired)
}

/// The addresses of a destination, in the order in which they are tried.
pub(super) async fn candidates(
    local: &Local,
    generation: &Generation,
    destination: &Destination,
    asker: Asker,
    addresses: Option<Arc<[IpAddr]>>,
) -> Result<Vec<SocketAddr>, Error> {
    if let Some(address) = destination.address {
        return Ok(vec![SocketAddr::new(address, destination.port)]);
    }
    let addresses = match addresses {
        Some(known) => known,
        None => resolve(local, &destination.host, asker, generation.document.timeouts.dns)
            .await
            .map_err(Error::Dns)?,
    };
    Ok(at(&addresses, destination.port))
}

pub(super) fn at(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
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

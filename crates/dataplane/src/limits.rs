//! `limits` of a listener for clients, as the mover of bytes takes them.

use std::{net::IpAddr, time::Duration};

use cluster_config::document::{Limits, limits};
use relay::{
    clients::{Bounds, Clients, Lengths, Limited, Rate, Rates},
    head::RequestHead,
    malformed::Malformed,
    pace::Slowest,
};

/// What one client, and one network of them, may have where the bundle says this.
#[must_use]
pub const fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        connections: limits.connections_per_client,
        unfinished: limits.unfinished_per_client,
        lengths: lengths(limits),
        network_share: limits.network_share,
        network_connections: limits.connections_per_network,
        network_unfinished: limits.unfinished_per_network,
        memory: limits.memory_per_client,
        network_memory: limits.memory_per_network,
        arrivals: rates(limits.connection_rate_per_client, limits.connection_rate_per_network),
        listener: limits.connections,
        slowest_request: slowest(limits.slowest_request),
        slowest_response: slowest(limits.slowest_response),
    }
}

const fn lengths(limits: &Limits) -> Lengths {
    Lengths { v4: limits.network_ipv4, v6: limits.network_ipv6 }
}

const fn slowest(written: limits::Slowest) -> Slowest {
    Slowest { bytes_per_second: written.bytes_per_second, over: written.over }
}

const fn rates(client: Option<limits::Rate>, network: Option<limits::Rate>) -> Rates {
    Rates { client: rate(client), network: rate(network) }
}

const fn rate(written: Option<limits::Rate>) -> Option<Rate> {
    match written {
        Some(limits::Rate { per_second, burst }) => Some(Rate { per_second, burst }),
        None => None,
    }
}

/// Why a listener does not serve a request that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its head says that its body is too large.
    TooLarge(Malformed),
    /// Its client has its share for now.
    Limited(Limited),
}

/// Whether a request of the client at this address is served. Without a bound that is set it costs
/// next to nothing.
///
/// # Errors
/// Why not.
pub fn admit(
    clients: &Clients,
    limits: &Limits,
    client: IpAddr,
    head: &RequestHead,
) -> Result<(), Refused> {
    if limits.request_body_max_size.is_some_and(|most| head.framing().exceeds(most)) {
        return Err(Refused::TooLarge(Malformed::BodyTooLarge));
    }
    clients
        .may_ask(client, lengths(limits), request_rates(limits), relay::clock::steady())
        .map_err(Refused::Limited)
}

const fn request_rates(limits: &Limits) -> Rates {
    rates(limits.request_rate_per_client, limits.request_rate_per_network)
}

/// What a client has of its share, where a request's rate is bound or nothing is served to it now.
#[must_use]
pub fn tell(clients: &Clients, limits: &Limits, client: IpAddr) -> Option<String> {
    let (lengths, rates) = (lengths(limits), request_rates(limits));
    let limited = clients.would_be(client, lengths, rates, relay::clock::steady());
    if limited.is_ok() && !rates.is_bound() {
        return None;
    }
    let has = clients.usage(client, lengths).map(|(who, connections, waiting)| {
        format!("{who} has {connections} connections, {waiting} of which wait for it to read")
    });
    let verdict = match limited {
        Ok(()) => "a request would be served now".to_owned(),
        Err(Limited::TooFast(wait)) => {
            format!("a request would be answered 429 for the next {} ms", wait.as_millis())
        }
        Err(Limited::Full(wait)) => {
            format!("a request would be answered 503 for the next {} ms", wait.as_millis())
        }
    };
    let bound = |rate: Option<Rate>, of: &str| {
        rate.map(|Rate { per_second, burst }| {
            format!("{per_second} requests a second of {of}, {burst} at once")
        })
    };
    let bounds: Vec<_> = [bound(rates.client, "a client"), bound(rates.network, "a network")]
        .into_iter()
        .flatten()
        .collect();
    let bounds =
        if bounds.is_empty() { String::new() } else { format!(" ({})", bounds.join("; ")) };
    Some(format!("limits: {}; {verdict}{bounds}", has.join("; ")))
}

/// For Retry-After: whole seconds, and never none.
#[must_use]
pub fn retry_after(limited: Limited) -> u64 {
    let (Limited::TooFast(wait) | Limited::Full(wait)) = limited;
    wait.max(Duration::from_millis(1)).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn per_second(number: u32) -> limits::Rate {
        let number = NonZeroU32::new(number).unwrap();
        limits::Rate { per_second: number, burst: number }
    }

    fn head(text: &str) -> RequestHead {
        let mut head = RequestHead::new();
        head.parse(text.as_bytes(), &Default::default()).unwrap();
        head
    }

    #[test]
    fn requests_are_counted_and_weighed() {
        let (clients, client) = (Clients::default(), IpAddr::from([192, 0, 2, 1]));
        let get = head("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n");
        let none = Limits::default();
        for _ in 0..100 {
            assert_eq!(admit(&clients, &none, client, &get), Ok(()));
        }
        assert_eq!(tell(&clients, &none, client), None);
        let limits = Limits {
            request_rate_per_client: Some(per_second(1)),
            request_body_max_size: Some(10),
            ..none
        };
        let post = |length| {
            head(&format!("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"))
        };
        assert_eq!(
            admit(&clients, &limits, client, &post(11)),
            Err(Refused::TooLarge(Malformed::BodyTooLarge))
        );
        assert_eq!(admit(&clients, &limits, client, &post(10)), Ok(()));
        let Err(Refused::Limited(limited)) = admit(&clients, &limits, client, &get) else {
            panic!("too fast");
        };
        assert!(matches!(limited, Limited::TooFast(_)) && retry_after(limited) == 1);
        assert!(tell(&clients, &limits, client).unwrap().contains("answered 429"));
        let neighbour = IpAddr::from([192, 0, 2, 2]);
        assert!(tell(&clients, &limits, neighbour).unwrap().contains("would be served now"));
        assert_eq!(clients.unserved().too_fast, 1);
        assert_eq!(retry_after(Limited::Full(Duration::from_millis(1001))), 2);
    }

    #[test]
    fn what_the_bundle_does_not_say_is_what_the_mover_of_bytes_does_by_itself() {
        assert_eq!(bounds(&Limits::default()), Bounds::default());
    }

    #[test]
    fn every_limit_arrives() {
        let limits = Limits {
            connections_per_client: Some(1),
            unfinished_per_client: 2,
            network_ipv4: 3,
            network_ipv6: 4,
            network_share: 5,
            connections_per_network: Some(6),
            unfinished_per_network: 7,
            memory_per_client: 8,
            memory_per_network: 9,
            connection_rate_per_client: Some(per_second(10)),
            connection_rate_per_network: Some(per_second(11)),
            request_rate_per_client: Some(per_second(12)),
            request_rate_per_network: Some(per_second(13)),
            connections: Some(14),
            request_body_max_size: Some(15),
            slowest_request: limits::Slowest {
                bytes_per_second: 16,
                over: Duration::from_secs(17),
            },
            slowest_response: limits::Slowest {
                bytes_per_second: 18,
                over: Duration::from_secs(19),
            },
        };
        let lengths = Lengths { v4: 3, v6: 4 };
        let expected = Bounds {
            connections: Some(1),
            unfinished: 2,
            lengths,
            network_share: 5,
            network_connections: Some(6),
            network_unfinished: 7,
            memory: 8,
            network_memory: 9,
            arrivals: rates(Some(per_second(10)), Some(per_second(11))),
            listener: Some(14),
            slowest_request: Slowest { bytes_per_second: 16, over: Duration::from_secs(17) },
            slowest_response: Slowest { bytes_per_second: 18, over: Duration::from_secs(19) },
        };
        assert_eq!(bounds(&limits), expected);
    }
}

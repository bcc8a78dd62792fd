//! `limits` of a listener for clients, as the mover of bytes takes them.

use cluster_config::document::Limits;
use relay::clients::{Bounds, Lengths};

/// What one client, and one network of them, may have where the bundle says this.
#[must_use]
pub const fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        connections: limits.connections_per_client,
        unfinished: limits.unfinished_per_client,
        lengths: Lengths { v4: limits.network_ipv4, v6: limits.network_ipv6 },
        network_share: limits.network_share,
        network_connections: limits.connections_per_network,
        network_unfinished: limits.unfinished_per_network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        };
        let lengths = Lengths { v4: 3, v6: 4 };
        let expected = Bounds {
            connections: Some(1),
            unfinished: 2,
            lengths,
            network_share: 5,
            network_connections: Some(6),
            network_unfinished: 7,
        };
        assert_eq!(bounds(&limits), expected);
    }
}

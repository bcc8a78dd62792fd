//! How much one client, and one network of clients, may have at a listener.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::prefix::{Lengths, Prefix, Source};

/// Connections of one client, where nobody says otherwise: what they take of memory is bounded too
/// where descriptors abound.
pub const CONNECTIONS: u32 = 16_384;
/// Unfinished bytes of one client, where nobody says otherwise.
pub const UNFINISHED: u64 = 4 * 1024 * 1024;
/// Connections of one network, where nobody says otherwise.
pub const NETWORK_CONNECTIONS: u32 = 65_536;
/// Unfinished bytes of one network, where nobody says otherwise: half of what all may have.
pub const NETWORK_UNFINISHED: u64 = 16 * 1024 * 1024;
/// What one network alone may have of all that is there for clients, in percent, where nobody says
/// otherwise. A company behind one /24 is hardly bound by it, and there is something left for
/// others all the same.
pub const NETWORK_SHARE: u8 = 90;
/// So many connections a client may have however little is left, at least and at most: a house or
/// an office behind one address.
const FLOOR: (u64, u64) = (16, 256);
/// The floor is no more than one of so many of all descriptors.
const FLOOR_PART: u64 = 8;
/// The same for a network.
const NETWORK_FLOOR: (u64, u64) = (32, 1024);
const NETWORK_FLOOR_PART: u64 = 4;
/// A client may have so many times what is left.
const TIMES_LEFT: u64 = 2;

/// What one client and one network may have beside their shares of the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of a client; `None`: [`CONNECTIONS`]. Never more than its share of what is left.
    pub connections: Option<u32>,
    /// Bytes of a client's unfinished requests.
    pub unfinished: u64,
    /// Which addresses are one network.
    pub lengths: Lengths,
    /// What one network alone may have of all descriptors for clients, in percent.
    pub network_share: u8,
    /// Connections of a network; `None`: [`NETWORK_CONNECTIONS`].
    pub network_connections: Option<u32>,
    /// Bytes of a network's unfinished requests.
    pub network_unfinished: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: None,
            unfinished: UNFINISHED,
            lengths: Lengths::default(),
            network_share: NETWORK_SHARE,
            network_connections: None,
            network_unfinished: NETWORK_UNFINISHED,
        }
    }
}

/// So many for the client, and for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) client: u32,
    pub(crate) network: u32,
}

/// The [`Bounds`] of a listener, which change while it is open.
#[derive(Debug)]
pub struct Allowance {
    connections: AtomicU32,
    unfinished: AtomicU64,
    lengths: [AtomicU8; 2],
    network_share: AtomicU8,
    network_connections: AtomicU32,
    network_unfinished: AtomicU64,
    apart: AtomicBool,
}

impl Default for Allowance {
    fn default() -> Self {
        let allowance = Self {
            connections: AtomicU32::default(),
            unfinished: AtomicU64::default(),
            lengths: Default::default(),
            network_share: AtomicU8::default(),
            network_connections: AtomicU32::default(),
            network_unfinished: AtomicU64::default(),
            apart: AtomicBool::default(),
        };
        allowance.set(&Bounds::default());
        allowance
    }
}

impl Allowance {
    /// Declares that peers of this listener are no clients, or will prove that they are not
    /// ([`crate::stream::Stream::exempt`]): they are counted apart from clients.
    pub fn set_apart(&self) {
        self.apart.store(true, Relaxed);
    }

    /// The client and the network that a peer at this address is counted as here.
    pub(crate) fn source(&self, address: IpAddr) -> Source {
        let client = Prefix::of(address).apart(self.apart.load(Relaxed));
        let [v4, v6] = &self.lengths;
        Source {
            client,
            network: client.network(Lengths { v4: v4.load(Relaxed), v6: v6.load(Relaxed) }),
        }
    }

    /// Sets them.
    pub fn set(&self, bounds: &Bounds) {
        self.connections.store(bounds.connections.unwrap_or(CONNECTIONS), Relaxed);
        self.unfinished.store(bounds.unfinished, Relaxed);
        self.lengths[0].store(bounds.lengths.v4, Relaxed);
        self.lengths[1].store(bounds.lengths.v6, Relaxed);
        self.network_share.store(bounds.network_share, Relaxed);
        self.network_connections
            .store(bounds.network_connections.unwrap_or(NETWORK_CONNECTIONS), Relaxed);
        self.network_unfinished.store(bounds.network_unfinished, Relaxed);
    }

    /// Connections of one client and of one network while clients may open so many of `all`
    /// descriptors more.
    pub(crate) fn connections(&self, left: u64, all: u64) -> Most {
        let bound = |share: u64, part: u64, (least, most): (u64, u64), bound: &AtomicU32| {
            let share = share.max((all / part).clamp(least, most));
            u32::try_from(share).unwrap_or(u32::MAX).min(bound.load(Relaxed))
        };
        let percent = u64::from(self.network_share.load(Relaxed));
        // Whoever may have nine tenths may have nine times what is left.
        let share_of_network = left
            .saturating_mul(percent)
            .checked_div(100_u64.saturating_sub(percent))
            .unwrap_or(u64::MAX);
        Most {
            client: bound(left.saturating_mul(TIMES_LEFT), FLOOR_PART, FLOOR, &self.connections),
            network: bound(
                share_of_network,
                NETWORK_FLOOR_PART,
                NETWORK_FLOOR,
                &self.network_connections,
            ),
        }
    }

    /// Bytes of unfinished requests of one client, and of one network.
    pub(crate) fn unfinished(&self) -> (u64, u64) {
        (self.unfinished.load(Relaxed), self.network_unfinished.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_is_left_and_the_rest_stays_for_others() {
        let allowance = Allowance::default();
        for (left, all, client, network) in [
            (0, 960, 120, 240),
            (100, 960, 200, 900),
            (960, 960, 1920, 8640),
            (10, 20_000, 256, 1024),
            (5_000, 20_000, 10_000, 45_000),
            (0, 12, 16, 32),
            (10_000, 1_000_000, 16_384, 65_536),
        ] {
            assert_eq!(
                allowance.connections(left, all),
                Most { client, network },
                "{left} of {all}"
            );
        }
        // However many take all they can, something is left for the next.
        type Level = fn(Most) -> u32;
        let levels: [(Level, [u64; 3]); 2] =
            [(|most| most.client, [6_667, 2_222, 741]), (|most| most.network, [2_000, 200, 0])];
        for (level, remainders) in levels {
            let (all, mut taken) = (20_000, 0);
            for left in remainders {
                let mut has = 0;
                while has < level(allowance.connections(all - taken, all)) && taken < all {
                    (has, taken) = (has + 1, taken + 1);
                }
                assert!((all - taken).abs_diff(left) <= 1, "{} are left", all - taken);
            }
        }
    }

    #[test]
    fn bounds_are_kept_and_a_door_for_others_counts_apart() {
        let allowance = Allowance::default();
        let there = "192.0.2.1".parse().unwrap();
        assert_eq!(allowance.source(there).client, Prefix::of(there));
        assert_eq!(allowance.source(there).network.to_string(), "192.0.2.0/24");
        allowance.set_apart();
        for (apart, level) in allowance
            .source(there)
            .levels()
            .into_iter()
            .zip(Allowance::default().source(there).levels())
        {
            assert_ne!(apart, level);
        }
        let bounds = Bounds {
            connections: Some(10),
            unfinished: 1,
            lengths: Lengths { v4: 16, v6: 32 },
            network_share: 50,
            network_connections: Some(5_001),
            network_unfinished: 2,
        };
        allowance.set(&bounds);
        assert_eq!(allowance.connections(5_000, 20_000), Most { client: 10, network: 5_000 });
        assert_eq!(allowance.connections(6_000, 20_000), Most { client: 10, network: 5_001 });
        assert_eq!(allowance.unfinished(), (1, 2));
        assert_eq!(allowance.source(there).network.to_string(), "192.0.0.0/16");
        assert_eq!(
            allowance.source("2001:db8:1::1".parse().unwrap()).network.to_string(),
            "2001:db8::/32"
        );
        // Everything is no bound at all.
        allowance.set(&Bounds { network_share: 100, ..bounds });
        assert_eq!(allowance.connections(1, 20_000).network, 5_001);
    }
}

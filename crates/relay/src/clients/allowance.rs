//! How much one client, and one network of clients, may have at a listener.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::demand::Rates;
use super::prefix::{Lengths, Prefix, Source};
use super::rate::Rate;
use crate::pace::Slowest;

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
/// What a connection takes while its client does not take an answer: what waits unsent in the
/// kernel, and a read's worth here.
const WAITING: u64 = 320 * 1024;
/// Memory of a client, and of a network, for such connections, where nobody says otherwise.
pub const MEMORY: u64 = 512 * 1024 * 1024;
/// See [`MEMORY`].
pub const NETWORK_MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// How slow a client may be, where nobody says otherwise.
pub const SLOWEST: Slowest = Slowest { bytes_per_second: 64, over: Duration::from_secs(60) };
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
    /// Memory for connections whose answers a client does not take.
    pub memory: u64,
    /// The same, of a network.
    pub network_memory: u64,
    /// New connections.
    pub arrivals: Rates,
    /// Connections of all clients at this listener; `None`: any number.
    pub listener: Option<u32>,
    /// How slow the body of a request may come.
    pub slowest_request: Slowest,
    /// How slow an answer may be taken.
    pub slowest_response: Slowest,
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
            memory: MEMORY,
            network_memory: NETWORK_MEMORY,
            arrivals: Rates::default(),
            listener: None,
            slowest_request: SLOWEST,
            slowest_response: SLOWEST,
        }
    }
}

/// So many for the client, and for its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Most {
    pub(crate) client: u32,
    pub(crate) network: u32,
}

/// A [`Slowest`] that may change.
#[derive(Debug, Default)]
struct Slow {
    bytes_per_second: AtomicU32,
    millis: AtomicU64,
}

impl Slow {
    fn set(&self, slowest: Slowest) {
        self.bytes_per_second.store(slowest.bytes_per_second, Relaxed);
        self.millis.store(u64::try_from(slowest.over.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    fn get(&self) -> Slowest {
        Slowest {
            bytes_per_second: self.bytes_per_second.load(Relaxed),
            over: Duration::from_millis(self.millis.load(Relaxed)),
        }
    }
}

/// One more, unless there are as many as may be; 0: any number.
pub(super) fn raise(count: &AtomicU32, most: u32) -> bool {
    let before = count.fetch_add(1, Relaxed);
    let fits = most == 0 || before < most;
    if !fits {
        count.fetch_sub(1, Relaxed);
    }
    fits
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
    /// Connections that wait for a client, and for a network.
    waiting: [AtomicU32; 2],
    arrivals: [AtomicU64; 2],
    /// Connections that are open at this listener, and how many may be.
    open: AtomicU32,
    listener: AtomicU32,
    slowest_request: Slow,
    slowest_response: Slow,
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
            waiting: Default::default(),
            arrivals: Default::default(),
            open: AtomicU32::default(),
            listener: AtomicU32::default(),
            slowest_request: Slow::default(),
            slowest_response: Slow::default(),
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
        for (waiting, memory) in self.waiting.iter().zip([bounds.memory, bounds.network_memory]) {
            waiting.store(u32::try_from(memory / WAITING).unwrap_or(u32::MAX).max(1), Relaxed);
        }
        let Rates { client, network } = bounds.arrivals;
        for (arrivals, rate) in self.arrivals.iter().zip([client, network]) {
            arrivals.store(Rate::to_bits(rate), Relaxed);
        }
        self.listener.store(bounds.listener.unwrap_or(0), Relaxed);
        self.slowest_request.set(bounds.slowest_request);
        self.slowest_response.set(bounds.slowest_response);
    }

    /// One connection more at this listener, if it has room.
    pub(super) fn reserve(&self) -> bool {
        raise(&self.open, self.listener.load(Relaxed))
    }

    pub(super) fn unreserve(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// Connections that are open at this listener.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// How fast new connections may come.
    pub(crate) fn arrivals(&self) -> Rates {
        let [client, network] = &self.arrivals;
        Rates {
            client: Rate::of_bits(client.load(Relaxed)),
            network: Rate::of_bits(network.load(Relaxed)),
        }
    }

    /// How many connections may wait for one client, and for one network, to read.
    pub(crate) fn waiting(&self) -> Most {
        let [client, network] = &self.waiting;
        Most { client: client.load(Relaxed), network: network.load(Relaxed) }
    }

    /// How slow the body of a request may come.
    pub(crate) fn slowest_request(&self) -> Slowest {
        self.slowest_request.get()
    }

    /// How slow an answer may be taken.
    pub(crate) fn slowest_response(&self) -> Slowest {
        self.slowest_response.get()
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
            ..Bounds::default()
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

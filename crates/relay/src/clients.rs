//! What each client has of this process, over all its workers: connections, and the bytes of requests that are not whole yet.
//!
//! A client is an IPv4 address or an IPv6 /64, which is what one host can usually choose its address from. Each is counted when a connection
//! is accepted and when it ends, and when it waits with half a head; never on the way of a request that arrives whole.
//!
//! How many connections a client may have depends on what is left (a dynamic threshold, as switches share their buffers): twice as many as
//! there are descriptors left for clients. One client alone gets two thirds of them, each of several gets less, and there is always something
//! left for the next. [`Allowance`] bounds it further.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Connections of one client, where nobody says otherwise: what they take of memory is bounded too where descriptors abound.
pub const CONNECTIONS: u32 = 16_384;
/// Unfinished bytes of one client, where nobody says otherwise.
pub const UNFINISHED: u64 = 4 * 1024 * 1024;
/// Unfinished bytes of all clients together.
pub(crate) const UNFINISHED_IN_ALL: u64 = 32 * 1024 * 1024;
/// So many connections a client may have however little is left: a house or an office behind one address.
const FLOOR: (u64, u64) = (16, 256);
/// The floor is no more than one of so many of all descriptors.
const FLOOR_PART: u64 = 8;
/// A client may have so many times what is left.
const TIMES_LEFT: u64 = 2;
const SHARDS: usize = 16;
/// Marks IPv4 addresses among prefixes: no unicast address begins like this.
const V4: u64 = 0xff00 << 48;

/// Who counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    bits: u64,
    /// At a door that is not for clients: whoever knocks there takes nothing of what it has as a client, and the other way round.
    apart: bool,
}

impl Prefix {
    /// The client that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { bits: V4 | u64::from(address.to_bits()), apart: false },
            IpAddr::V6(address) => Self { bits: (address.to_bits() >> 64) as u64, apart: false },
        }
    }

    /// Neighbours go to different shards.
    fn shard(self) -> usize {
        (self.bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % SHARDS
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits & V4 == V4 {
            return Ipv4Addr::from_bits(self.bits as u32).fmt(formatter);
        }
        write!(formatter, "{}/64", Ipv6Addr::from_bits(u128::from(self.bits) << 64))
    }
}

/// What one client may have at a listener beside its share of the descriptors. Changes while the listener is open.
#[derive(Debug)]
pub struct Allowance {
    connections: AtomicU32,
    unfinished: AtomicU64,
    apart: AtomicBool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { connections: AtomicU32::new(CONNECTIONS), unfinished: AtomicU64::new(UNFINISHED), apart: AtomicBool::new(false) }
    }
}

impl Allowance {
    /// Who comes here is no client, or will show that it is none ([`crate::stream::Stream::exempt`]): it is counted apart from clients.
    pub fn set_apart(&self) {
        self.apart.store(true, Relaxed);
    }

    /// As whom somebody at this address is counted here.
    pub(crate) fn client(&self, address: IpAddr) -> Prefix {
        Prefix { apart: self.apart.load(Relaxed), ..Prefix::of(address) }
    }

    /// Sets how many connections (`None`: [`CONNECTIONS`]; never more than its share of what is left) and bytes of unfinished requests.
    pub fn set(&self, connections: Option<u32>, unfinished: u64) {
        self.connections.store(connections.unwrap_or(CONNECTIONS), Relaxed);
        self.unfinished.store(unfinished, Relaxed);
    }

    /// Connections of one client while clients may open so many of `all` descriptors more.
    pub(crate) fn connections(&self, left: u64, all: u64) -> u32 {
        let (least, most) = FLOOR;
        let share = left.saturating_mul(TIMES_LEFT).max((all / FLOOR_PART).clamp(least, most));
        u32::try_from(share).unwrap_or(u32::MAX).min(self.connections.load(Relaxed))
    }

    /// Bytes of one client's unfinished requests.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished.load(Relaxed)
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    connections: u32,
    unfinished: u64,
}

/// What was done because a client had its share, since the process started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Crowding {
    /// Connections closed when they were accepted.
    pub refused: u64,
    /// Idle connections closed for newer ones.
    pub displaced: u64,
    /// Connections with half a head closed, for newer ones or for the memory that they took.
    pub unfinished: u64,
}

/// Somebody had its share, in words for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Who.
    pub client: Prefix,
    /// How many connections it has.
    pub connections: u32,
    /// What its unfinished requests take, in bytes.
    pub unfinished: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, connections, unfinished } = self;
        write!(
            formatter,
            "{client} has its share: {connections} connections, {unfinished} bytes of requests that are not whole. Its oldest idle ones are \
             closed for its newer ones, or those are refused; if that is many people behind one address, raise the limit on open files of \
             this process, or `limits` where it listens"
        )
    }
}

/// All clients of a process.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Prefix, Usage>>; SHARDS],
    unfinished: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    cut: AtomicU64,
    report: Mutex<Option<Report>>,
}

impl Clients {
    fn shard(&self, client: Prefix) -> MutexGuard<'_, HashMap<Prefix, Usage>> {
        self.shards[client.shard()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one connection more, unless the client has `most` already; then how many it has.
    pub(crate) fn enter(&self, client: Prefix, most: u32) -> Result<(), u32> {
        let mut shard = self.shard(client);
        let usage = shard.entry(client).or_default();
        if usage.connections >= most {
            let has = usage.connections;
            if has == 0 {
                shard.remove(&client);
            }
            return Err(has);
        }
        usage.connections += 1;
        Ok(())
    }

    /// One connection less, which held so many bytes.
    pub(crate) fn leave(&self, client: Prefix, held: u32) {
        let mut shard = self.shard(client);
        let Some(usage) = shard.get_mut(&client) else { return };
        usage.connections = usage.connections.saturating_sub(1);
        usage.unfinished = usage.unfinished.saturating_sub(u64::from(held));
        if usage.connections == 0 {
            shard.remove(&client);
        }
        drop(shard);
        self.unfinished.fetch_sub(u64::from(held), Relaxed);
    }

    /// A connection holds `now` bytes instead of `before`. Returns what its client holds now, and all clients together.
    pub(crate) fn hold(&self, client: Prefix, before: u32, now: u32) -> (u64, u64) {
        let (before, now) = (u64::from(before), u64::from(now));
        let mut shard = self.shard(client);
        let usage = shard.entry(client).or_default();
        usage.unfinished = (usage.unfinished + now).saturating_sub(before);
        let of_client = usage.unfinished;
        drop(shard);
        let of_all = self.unfinished.fetch_add(now.wrapping_sub(before), Relaxed).wrapping_add(now).wrapping_sub(before);
        (of_client, of_all)
    }

    fn noted(&self, client: Prefix) {
        let Usage { connections, unfinished } = self.shard(client).get(&client).copied().unwrap_or_default();
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) = Some(Report { client, connections, unfinished });
    }

    pub(crate) fn refused(&self, client: Prefix) {
        self.refused.fetch_add(1, Relaxed);
        self.noted(client);
    }

    pub(crate) fn displaced(&self, client: Prefix, idle: u64, unfinished: u64) {
        self.displaced.fetch_add(idle, Relaxed);
        self.cut.fetch_add(unfinished, Relaxed);
        self.noted(client);
    }

    /// What was done so far.
    #[must_use]
    pub fn crowding(&self) -> Crowding {
        let value = |count: &AtomicU64| count.load(Relaxed);
        Crowding { refused: value(&self.refused), displaced: value(&self.displaced), unfinished: value(&self.cut) }
    }

    /// Who had its share last, once.
    #[must_use]
    pub fn take_report(&self) -> Option<Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn one_host_is_one_client() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.0", false),
            ("::c000:201", "192.0.2.1", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_share_is_of_what_is_left_and_the_rest_stays_for_others() {
        let allowance = Allowance::default();
        for (left, all, connections) in
            [(0, 960, 120), (100, 960, 200), (960, 960, 1920), (10, 20_000, 256), (5_000, 20_000, 10_000), (0, 12, 16)]
        {
            assert_eq!(allowance.connections(left, all), connections, "{left} of {all}");
        }
        // However many take all they can, something is left for the next.
        let (all, mut taken) = (20_000, 0);
        for left in [6_667, 2_222, 741, 247] {
            let mut has = 0;
            while has < allowance.connections(all - taken, all) {
                (has, taken) = (has + 1, taken + 1);
            }
            assert!((all - taken).abs_diff(left) <= 1, "{} are left", all - taken);
        }
        let there = "192.0.2.1".parse().unwrap();
        assert_eq!(allowance.client(there), Prefix::of(there));
        allowance.set_apart();
        assert_ne!(allowance.client(there), Prefix::of(there));
        allowance.set(Some(10), 1);
        assert_eq!((allowance.connections(5_000, 20_000), allowance.unfinished()), (10, 1));
    }

    #[test]
    fn what_is_counted_is_counted_back() {
        let clients = Clients::default();
        let (one, other) = (of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!([clients.enter(one, 2), clients.enter(one, 2), clients.enter(one, 2)], [Ok(()), Ok(()), Err(2)]);
        assert_eq!(clients.enter(other, 0), Err(0));
        assert_eq!(clients.hold(one, 0, 100), (100, 100));
        assert_eq!(clients.hold(one, 100, 30), (30, 30));
        clients.leave(one, 30);
        clients.leave(one, 0);
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert_eq!(clients.unfinished.load(Relaxed), 0);
        clients.refused(one);
        clients.displaced(one, 2, 1);
        assert_eq!(clients.crowding(), Crowding { refused: 1, displaced: 2, unfinished: 1 });
        assert!(clients.take_report().is_some_and(|report| report.to_string().contains("192.0.2.1")) && clients.take_report().is_none());
    }
}

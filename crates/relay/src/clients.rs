//! What each client has of this process, over all its workers: connections, and the bytes of
//! requests that are not whole yet.
//!
//! A client is an IPv4 address or an IPv6 /64, because a host can usually choose its address within
//! a /64. Neighbouring clients are also counted together as one network, because one party may have
//! many addresses ([`prefix`]). The counts change when a connection is accepted, when it ends, and
//! when it waits with an incomplete head; a request that arrives whole costs nothing.
//!
//! How many connections a client or a network may have depends on how many descriptors are left for
//! clients (a dynamic threshold, as switches share their buffers): a client may have twice that
//! number, a network nine times. One client alone therefore gets at most two thirds of all, one
//! network nine tenths, each of several less, and some are always left for the next. [`Bounds`] can
//! limit it further.

mod allowance;
mod prefix;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

pub(crate) use self::allowance::Most;
pub use self::allowance::{Allowance, Bounds};
pub use self::prefix::{Lengths, Prefix, Source};

/// Unfinished bytes of all clients together.
pub(crate) const UNFINISHED_IN_ALL: u64 = 32 * 1024 * 1024;
const SHARDS: usize = 16;

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    connections: u32,
    unfinished: u64,
}

/// How many connections were closed because a client had reached its share, since the start of the
/// process.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Connections closed when they were accepted.
    pub refused: u64,
    /// Idle connections closed for newer ones.
    pub displaced: u64,
    /// Connections with half a head closed, for newer ones or for the memory that they took.
    pub unfinished: u64,
}

/// Tells, for a log, that a client or a network has reached its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Who: a client, or a network.
    pub who: Prefix,
    /// How many connections it has.
    pub connections: u32,
    /// What its unfinished requests take, in bytes.
    pub unfinished: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, connections, unfinished } = self;
        let many = if who.is_network() { "in one network" } else { "behind one address" };
        write!(
            formatter,
            "{who} has its share: {connections} connections, {unfinished} bytes of requests that \
             are not whole. Its oldest idle ones are closed for its newer ones, or those are \
             refused; if that is many people {many}, raise the limit on open files of this \
             process, or `limits` where it listens"
        )
    }
}

/// All clients of a process, and their networks.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Prefix, Usage, RandomState>>; SHARDS],
    unfinished: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    cut: AtomicU64,
    report: Mutex<Option<Report>>,
}

impl Clients {
    fn shard(&self, client: Prefix) -> MutexGuard<'_, HashMap<Prefix, Usage, RandomState>> {
        self.shards[client.shard(SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
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
    }

    /// A connection holds `now` bytes instead of `before`. Returns what its client holds now.
    pub(crate) fn hold(&self, client: Prefix, before: u32, now: u32) -> u64 {
        let mut shard = self.shard(client);
        let usage = shard.entry(client).or_default();
        usage.unfinished = (usage.unfinished + u64::from(now)).saturating_sub(u64::from(before));
        usage.unfinished
    }

    /// The same for all clients together.
    pub(crate) fn hold_in_all(&self, before: u32, now: u32) -> u64 {
        let more = u64::from(now).wrapping_sub(u64::from(before));
        self.unfinished.fetch_add(more, Relaxed).wrapping_add(more)
    }

    fn noted(&self, who: Prefix) {
        let Usage { connections, unfinished } =
            self.shard(who).get(&who).copied().unwrap_or_default();
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Report { who, connections, unfinished });
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
    pub fn closed(&self) -> Closed {
        let value = |count: &AtomicU64| count.load(Relaxed);
        Closed {
            refused: value(&self.refused),
            displaced: value(&self.displaced),
            unfinished: value(&self.cut),
        }
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
    fn what_is_counted_is_counted_back() {
        let clients = Clients::default();
        let (one, other) = (of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(
            [clients.enter(one, 2), clients.enter(one, 2), clients.enter(one, 2)],
            [Ok(()), Ok(()), Err(2)]
        );
        assert_eq!(clients.enter(other, 0), Err(0));
        assert_eq!((clients.hold(one, 0, 100), clients.hold_in_all(0, 100)), (100, 100));
        assert_eq!((clients.hold(one, 100, 30), clients.hold_in_all(100, 30)), (30, 30));
        clients.leave(one, 30);
        assert_eq!(clients.hold(one, 0, 0), 0, "what one held who has left counts for nobody");
        clients.hold_in_all(30, 0);
        clients.leave(one, 0);
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert_eq!(clients.unfinished.load(Relaxed), 0);
        clients.refused(one);
        clients.displaced(one, 2, 1);
        assert_eq!(clients.closed(), Closed { refused: 1, displaced: 2, unfinished: 1 });
        assert!(
            clients.take_report().is_some_and(|report| report.to_string().contains("192.0.2.1"))
                && clients.take_report().is_none()
        );
    }
}

//! What each client has of this process, over all its workers: connections, the bytes of requests
//! that are not whole yet, connections whose answer it does not take; and how fast it comes and
//! asks ([`rate`]).
//!
//! A client is an IPv4 address or an IPv6 /64, because a host can usually choose its address within
//! a /64. Neighbouring clients are also counted together as one network, because one party may have
//! many addresses ([`prefix`]). The counts change when a connection is accepted, when it ends, and
//! when it waits with an incomplete head or for a client that does not read; a request that arrives
//! whole costs nothing where no rate is set.
//!
//! How many connections a client or a network may have depends on how many descriptors are left for
//! clients (a dynamic threshold, as switches share their buffers): a client may have twice that
//! number, a network nine times. One client alone therefore gets at most two thirds of all, one
//! network nine tenths, each of several less, and some are always left for the next. [`Bounds`] can
//! limit it further.

mod allowance;
mod demand;
mod prefix;
mod rate;
mod report;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

pub(crate) use self::allowance::Most;
pub use self::allowance::{Allowance, Bounds};
pub use self::demand::{Limited, Rates};
pub use self::prefix::{Lengths, Prefix, Source};
use self::rate::Buckets;
pub use self::rate::Rate;
pub use self::report::{Closed, Report, Share, Unserved};

/// Unfinished bytes of all clients together.
pub(crate) const UNFINISHED_IN_ALL: u64 = 32 * 1024 * 1024;
const SHARDS: usize = 16;

#[derive(Debug, Default, Clone, Copy)]
struct Usage {
    connections: u32,
    unfinished: u64,
    /// Connections that wait for it to take an answer.
    waiting: u32,
}

/// All clients of a process, and their networks.
#[derive(Debug, Default)]
pub struct Clients {
    shards: [Mutex<HashMap<Prefix, Usage, RandomState>>; SHARDS],
    unfinished: AtomicU64,
    refused: AtomicU64,
    displaced: AtomicU64,
    cut: AtomicU64,
    too_fast: AtomicU64,
    no_room: AtomicU64,
    unread: AtomicU64,
    unserved: [AtomicU64; 2],
    /// New connections.
    arrivals: Buckets,
    requests: Buckets,
    /// Who had too many connections that wait for it, and until when it gets nothing more.
    full: Mutex<HashMap<Prefix, Duration, RandomState>>,
    /// Until when that has to be looked at, in milliseconds.
    full_until: AtomicU64,
    /// Connections of all clients, and how many there may be; 0: any number.
    open: AtomicU32,
    most: AtomicU32,
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

    /// One connection less, which held so many bytes and may have waited.
    pub(crate) fn leave(&self, client: Prefix, held: u32, waits: bool) {
        let mut shard = self.shard(client);
        let Some(usage) = shard.get_mut(&client) else { return };
        usage.connections = usage.connections.saturating_sub(1);
        usage.waiting = usage.waiting.saturating_sub(waits.into());
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

    fn noted(&self, who: Prefix, of: Share) {
        let Usage { connections, unfinished, waiting } =
            self.shard(who).get(&who).copied().unwrap_or_default();
        *self.report.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Report { who, connections, unfinished, waiting, of });
    }

    pub(crate) fn refused(&self, client: Prefix) {
        self.refused.fetch_add(1, Relaxed);
        self.noted(client, Share::Connections);
    }

    /// How many connections all clients together may have; none: as many as there are descriptors
    /// for. Those that are open stay.
    pub fn set_most(&self, most: Option<u32>) {
        self.most.store(most.unwrap_or(0), Relaxed);
    }

    /// One connection more at a listener, where it and the process have room for it.
    pub(crate) fn reserve(&self, listener: &Allowance) -> bool {
        let fits = allowance::raise(&self.open, self.most.load(Relaxed));
        if fits && listener.reserve() {
            return true;
        }
        if fits {
            self.open.fetch_sub(1, Relaxed);
        }
        self.no_room.fetch_add(1, Relaxed);
        false
    }

    /// One less.
    pub(crate) fn unreserve(&self, listener: &Allowance) {
        self.open.fetch_sub(1, Relaxed);
        listener.unreserve();
    }

    pub(crate) fn displaced(&self, client: Prefix, idle: u64, unfinished: u64) {
        self.displaced.fetch_add(idle, Relaxed);
        self.cut.fetch_add(unfinished, Relaxed);
        self.noted(client, Share::Connections);
    }

    /// What was done so far.
    #[must_use]
    pub fn closed(&self) -> Closed {
        let value = |count: &AtomicU64| count.load(Relaxed);
        Closed {
            refused: value(&self.refused),
            displaced: value(&self.displaced),
            unfinished: value(&self.cut),
            too_fast: value(&self.too_fast),
            no_room: value(&self.no_room),
            unread: value(&self.unread),
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
        clients.leave(one, 30, false);
        assert_eq!(clients.hold(one, 0, 0), 0, "what one held who has left counts for nobody");
        clients.hold_in_all(30, 0);
        clients.leave(one, 0, false);
        assert!(clients.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert_eq!(clients.unfinished.load(Relaxed), 0);
        clients.refused(one);
        clients.displaced(one, 2, 1);
        assert_eq!(
            clients.closed(),
            Closed { refused: 1, displaced: 2, unfinished: 1, ..Closed::default() }
        );
        assert!(
            clients.take_report().is_some_and(|report| report.to_string().contains("192.0.2.1"))
                && clients.take_report().is_none()
        );
    }
}

//! One of the other nodes as this process knows it: whether it answers.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::ring::Neighbour;
use crate::request::Destination;

/// So long, in milliseconds, one that owes an answer may be silent before it is asked whether it
/// lives: its origin may be slow.
pub const SILENCE: u64 = 500;
/// How long one that has failed is passed over, in milliseconds: doubled with every failure in a
/// row.
const PASSED_OVER: u64 = 1000;
const LONGEST: u64 = 30_000;

/// Another node. Moments are steady milliseconds ([`crate::clock::Steady`]).
#[derive(Debug)]
pub struct Peer {
    pub name: String,
    /// Its relay listener.
    pub destination: Destination,
    pub(super) weight: u32,
    in_a_row: AtomicU32,
    /// Until when it is passed over.
    until: AtomicU64,
    /// When it was heard last.
    heard: AtomicU64,
    /// Somebody asks it whether it lives.
    probing: AtomicBool,
}

impl Peer {
    /// One of which nothing is known yet.
    #[must_use]
    pub fn new(neighbour: &Neighbour) -> Self {
        let (host, port) = &neighbour.relay;
        Self {
            name: neighbour.name.clone(),
            destination: Destination {
                host: host.as_str().into(),
                address: host.parse().ok(),
                port: *port,
                tls: false,
            },
            weight: neighbour.weight,
            in_a_row: AtomicU32::default(),
            until: AtomicU64::default(),
            heard: AtomicU64::default(),
            probing: AtomicBool::default(),
        }
    }

    /// Whether nothing has changed for it.
    pub(super) fn is(&self, neighbour: &Neighbour) -> bool {
        let (host, port) = &neighbour.relay;
        self.name == neighbour.name
            && self.weight == neighbour.weight
            && (&*self.destination.host, self.destination.port) == (host.as_str(), *port)
    }

    /// Whether it is passed over now.
    #[must_use]
    pub fn is_passed_over(&self, now: u64) -> bool {
        self.until.load(Ordering::Relaxed) > now
    }

    /// It has answered.
    pub fn answered(&self, now: u64) {
        self.heard.fetch_max(now, Ordering::Relaxed);
        if self.in_a_row.swap(0, Ordering::Relaxed) > 0 {
            self.until.store(0, Ordering::Relaxed);
            tracing::info!(owner = %self.name, "the node answers again");
        }
    }

    /// It has not, or says that it cannot: it is passed over for a while.
    pub fn failed(&self, now: u64, why: &str) {
        // Requests that fail together are one failure.
        if self.is_passed_over(now) {
            return;
        }
        let before = self.in_a_row.fetch_add(1, Ordering::Relaxed);
        let pause = (PASSED_OVER << before.min(5)).min(LONGEST);
        self.until.fetch_max(now.saturating_add(pause), Ordering::Relaxed);
        if before == 0 {
            tracing::warn!(owner = %self.name, why, "a node does not answer for what it owns: the \
                next on the ring or the origin is asked, and the node again after a while");
        }
    }

    /// For how long nothing was heard of it.
    #[must_use]
    pub fn silent_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.heard.load(Ordering::Relaxed))
    }

    /// The right to ask whether it lives, of which there is one.
    pub fn may_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// It was asked.
    pub fn probed(&self) {
        self.probing.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_passed_over_longer_each_time_and_comes_back_at_once() {
        let relay = ("192.0.2.1".to_owned(), 3129);
        let peer = Peer::new(&Neighbour { name: "b".into(), relay, weight: 1 });
        let mut now = 10;
        for pause in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            peer.failed(now, "reset");
            // At the same time, for the same reason.
            peer.failed(now + 1, "reset");
            assert!(peer.is_passed_over(now + pause - 1) && !peer.is_passed_over(now + pause));
            now += pause;
        }
        peer.failed(now, "reset");
        peer.answered(now + 1);
        assert!(!peer.is_passed_over(now + 1));
        peer.failed(now + 2, "reset");
        assert!(peer.is_passed_over(now + 1001) && !peer.is_passed_over(now + 1002));
        assert_eq!(peer.silent_for(now + 7), 6);
        assert!(peer.may_probe() && !peer.may_probe());
        peer.probed();
        assert!(peer.may_probe());
    }
}

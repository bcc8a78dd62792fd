//! One server as everybody in the process sees it: an identity that lives as long as name, address
//! and process stay the same.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};

use dataplane::ledger::Carried;
use relay::proof::Key;

use crate::{
    capacity::Capacity,
    stats::{BackendCounts, CheckCounts, PerWorker, ServerCounts, Uptime},
};

/// How a server is spoken to.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// A Shoal node's relay listener: every connection begins with a proof of both sides (see
    /// [`relay::proof`]).
    Relay {
        /// The cluster key.
        key: Key,
    },
    /// A server that is not Shoal's: HTTP from the first byte on.
    Plain,
}

impl Protocol {
    /// Whether a Shoal node speaks it.
    #[must_use]
    pub const fn is_relay(&self) -> bool {
        matches!(self, Self::Relay { .. })
    }
}

/// Counters of a server, by name: they outlive a restart of the process behind it.
#[derive(Debug)]
pub struct Tally {
    /// Its number in its backend, from 1: what HAProxy calls its id.
    pub number: u32,
    /// One for each worker.
    pub counts: PerWorker<ServerCounts>,
    /// Of the checks.
    pub checks: CheckCounts,
}

impl Tally {
    /// All at zero.
    #[must_use]
    pub fn new(workers: usize, number: u32) -> Self {
        Self { number, counts: PerWorker::new(workers), checks: CheckCounts::default() }
    }
}

impl Carried for Tally {
    fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = self.counts.totals();
        totals.extend(Carried::totals(&self.checks));
        totals
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        self.counts.add(more);
        self.checks.add(more);
    }
}

/// One server of one backend.
#[derive(Debug)]
pub struct Server {
    /// Unique in the process, never reused.
    pub key: u64,
    /// Its name in the backend.
    pub name: String,
    /// Where requests go.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// From the registry, or else named in the bundle.
    pub discovered: bool,
    /// Named as backup, or as the last resort.
    pub backup: bool,
    pub tally: Arc<Tally>,
    /// What it may have at a time, if that is bounded.
    pub capacity: Capacity,
    /// Those of its backend.
    pub backend: Arc<PerWorker<BackendCounts>>,
    /// Its signs of life that no worker received itself.
    pub signs: Signs,
}

/// What passes between workers, prober and roster about one server without a message.
#[derive(Debug, Default)]
pub struct Signs {
    probing: AtomicBool,
    probe_answered_at: AtomicU64,
    releases: AtomicU64,
    in_transition: AtomicBool,
    cuts: AtomicU64,
    down: AtomicBool,
    /// Percent and one; 0: it has not said it.
    load: AtomicU8,
}

impl Signs {
    /// Takes the right to probe it; false when somebody has it. One probe at a time, whatever the
    /// number of workers that suspect it.
    #[must_use]
    pub fn begin_probe(&self) -> bool {
        !self.probing.swap(true, Ordering::AcqRel)
    }

    /// Gives the right back.
    pub fn end_probe(&self) {
        self.probing.store(false, Ordering::Release);
    }

    /// It answered a probe.
    pub fn probe_answered(&self, uptime: Uptime, now: Instant) {
        self.probe_answered_at.fetch_max(uptime.millis(now), Ordering::AcqRel);
    }

    /// When it last answered a probe.
    #[must_use]
    pub fn last_probe_answer(&self, uptime: Uptime) -> Option<Instant> {
        uptime.instant(self.probe_answered_at.load(Ordering::Acquire))
    }

    /// The requests that wait for it now shall go elsewhere.
    pub fn release(&self) {
        self.releases.fetch_add(1, Ordering::AcqRel);
    }

    /// What is under way at it shall end, tunnels too.
    pub fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes with every [`Signs::cut`].
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Its standing is about to change: checks shall come sooner.
    pub fn set_in_transition(&self, yes: bool) {
        self.in_transition.store(yes, Ordering::Release);
    }

    /// See [`Signs::set_in_transition`].
    #[must_use]
    pub fn is_in_transition(&self) -> bool {
        self.in_transition.load(Ordering::Acquire)
    }

    /// It is out of turn by this balancer's own evidence.
    pub fn set_down(&self, yes: bool) {
        self.down.store(yes, Ordering::Release);
    }

    /// See [`Signs::set_down`].
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// It says that it is so full, in percent.
    pub fn set_load(&self, load: Option<u8>) {
        self.load.store(load.map_or(0, |load| load.min(100) + 1), Ordering::Release);
    }

    /// How full it said last that it is.
    #[must_use]
    pub fn load(&self) -> Option<u8> {
        self.load.load(Ordering::Acquire).checked_sub(1)
    }

    /// Changes with every [`Signs::release`].
    #[must_use]
    pub fn releases(&self) -> u64 {
        self.releases.load(Ordering::Acquire)
    }
}

//! One server on one worker.

use std::{
    cell::{Cell, RefCell},
    os::fd::RawFd,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::socket::{Shutdown, shutdown};
use relay::stream::Stream;
use tokio::sync::Notify;

use crate::{
    liveness,
    server::Server,
    stats::{BackendCounts, ServerCounts, Uptime},
    suspect::Watch,
};

/// See the module.
pub struct Slot {
    /// Who it is.
    pub server: Arc<Server>,
    /// What is known of whether it is alive.
    pub liveness: liveness::Last,
    watch: Cell<Watch>,
    released: Notify,
    under_way: RefCell<UnderWay>,
    /// How often what is under way was cut on this worker.
    cuts: Cell<u64>,
    cut: Notify,
    worker: usize,
}

/// Descriptors of the connections on which an answer is awaited or relayed; a place of one that has
/// ended is used again.
#[derive(Default)]
struct UnderWay {
    descriptors: Vec<Option<RawFd>>,
    free: Vec<usize>,
}

impl Slot {
    pub(super) fn new(server: Arc<Server>, worker: usize, now: Instant) -> Self {
        let server_cuts = server.signs.cuts();
        Self {
            server,
            liveness: liveness::Last::default(),
            watch: Cell::new(Watch::new(now)),
            released: Notify::new(),
            under_way: RefCell::default(),
            cuts: Cell::new(server_cuts),
            cut: Notify::new(),
            worker,
        }
    }

    /// This worker's counters of it.
    #[must_use]
    pub fn counts(&self) -> &ServerCounts {
        self.server.tally.counts.of(self.worker)
    }

    /// This worker's counters of its backend.
    #[must_use]
    pub fn backend_counts(&self) -> &BackendCounts {
        self.server.backend.of(self.worker)
    }

    /// It owes an answer until what this returns is dropped.
    #[must_use]
    pub fn owing(self: &Rc<Self>, now: Instant) -> Owing {
        self.update(|watch| watch.owes(now));
        self.counts().active_requests.up();
        self.backend_counts().active.up();
        Owing { slot: Rc::clone(self), since: now, settled: Cell::new(false) }
    }

    /// Bytes came from it.
    pub fn heard(&self, at: Instant) {
        self.update(|watch| watch.heard(at));
    }

    fn update(&self, change: impl FnOnce(&mut Watch)) {
        let mut watch = self.watch.get();
        change(&mut watch);
        self.watch.set(watch);
    }

    /// Whether it owes answers on this worker.
    pub(super) fn owes(&self) -> bool {
        self.watch.get().owed() > 0
    }

    /// Whether it is a node that owes answers and has been silent for too long, probes included.
    pub(super) fn is_suspect(&self, uptime: Uptime, now: Instant, after: Duration) -> bool {
        if let Some(at) = self.server.signs.last_probe_answer(uptime) {
            self.heard(at);
        }
        self.server.protocol.is_relay() && self.watch.get().is_late(now, after)
    }

    /// Returns once the requests that waited for it at `releases` shall go elsewhere, and there is
    /// somewhere to go.
    pub async fn until_released(&self, releases: u64, elsewhere: impl Fn() -> bool) {
        loop {
            // Registered before looking, so that nothing is missed in between.
            let notified = self.released.notified();
            if self.server.signs.releases() != releases && elsewhere() {
                return;
            }
            notified.await;
        }
    }

    /// An exchange over this connection can be cut until what this returns is dropped, which has to
    /// be before the connection is.
    #[must_use]
    pub fn exchanging(self: &Rc<Self>, upstream: &Stream) -> Exchanging {
        let mut under_way = self.under_way.borrow_mut();
        let place = under_way.free.pop().unwrap_or_else(|| {
            under_way.descriptors.push(None);
            under_way.descriptors.len() - 1
        });
        under_way.descriptors[place] = upstream.descriptor();
        Exchanging { slot: Rc::clone(self), place }
    }

    /// Changes whenever what is under way here is cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.get()
    }

    /// Returns when what was under way at `cuts` is cut.
    pub async fn until_cut(&self, cuts: u64) {
        loop {
            let notified = self.cut.notified();
            if self.cuts.get() != cuts {
                return;
            }
            notified.await;
        }
    }

    /// Cuts what is under way, if an operator has asked for that since the last look.
    pub(super) fn cut_if_asked(&self) {
        let asked = self.server.signs.cuts();
        if self.cuts.replace(asked) == asked {
            return;
        }
        for descriptor in self.under_way.borrow().descriptors.iter().flatten() {
            // One that its peer has closed meanwhile is cut already.
            let _closed = shutdown(*descriptor, Shutdown::Both);
        }
        self.cut.notify_waiters();
    }

    /// Requests that wait for it look again whether they are released.
    pub(super) fn notify(&self) {
        self.released.notify_waiters();
    }
}

/// An exchange that can be cut.
pub struct Exchanging {
    slot: Rc<Slot>,
    place: usize,
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        let mut under_way = self.slot.under_way.borrow_mut();
        under_way.descriptors[self.place] = None;
        under_way.free.push(self.place);
    }
}

/// A request that a server owes an answer to.
pub struct Owing {
    slot: Rc<Slot>,
    since: Instant,
    settled: Cell<bool>,
}

impl Owing {
    /// The answer has begun; answers after how long.
    pub fn answered(&self, at: Instant) -> Duration {
        self.slot.heard(at);
        self.settle();
        at.saturating_duration_since(self.since)
    }

    fn settle(&self) {
        if !self.settled.replace(true) {
            self.slot.update(Watch::settled);
        }
    }
}

impl Drop for Owing {
    fn drop(&mut self) {
        self.settle();
        self.slot.counts().active_requests.down();
        self.slot.backend_counts().active.down();
    }
}

//! What can be seen of this process from outside its data path, in the balancer's own types:
//! frontends with their counters, servers with their standing, the last access records, and why a
//! request would get a server ([`explain`]).
//!
//! [`crate::face`] shows it. What operators want of servers goes the other way, through
//! [`crate::operate`].

pub mod explain;
pub mod rates;
mod samples;

use std::sync::{Arc, OnceLock};

use cluster::recent::Traffic;
use dataplane::{
    answers::{self, of_workers},
    listen::Open,
};
use jiff::Timestamp;
use relay::{clients::Clients, listen::Address};
use tokio::sync::watch;

use crate::{
    lately::Lately,
    listen,
    record::Recorder,
    roster,
    snapshot::Snapshot,
    stats::{FrontendCounts, FrontendTotals, PerWorker, Uptime},
    tls::Report,
    vrrp,
};

/// Reads everything there is to see. Cheap to clone.
#[derive(Clone)]
pub struct View {
    /// Who the servers are.
    pub roster: roster::Handle,
    /// Where clients come in.
    pub open: watch::Receiver<Open<listen::Frontend>>,
    /// The wall clock.
    pub clock: chassis::Clock,
    /// The access records.
    pub recorder: Recorder,
    /// What the frontends' clients got lately.
    pub lately: Lately,
    /// How their counters move.
    pub rates: rates::Board,
    /// For times in atomics.
    pub uptime: Uptime,
    /// The virtual addresses.
    pub addresses: vrrp::Handle,
    /// What clients have, once there are workers.
    pub clients: Arc<OnceLock<Arc<Clients>>>,
}

/// Everything at one moment.
pub struct Stats {
    /// When that was.
    pub taken_at: Timestamp,
    /// What is bound, by name.
    pub frontends: Vec<Frontend>,
    /// Backends and their servers, with the revision that they follow. Totals of a server are in
    /// its [`crate::server::Tally`].
    pub snapshot: Arc<Snapshot>,
    /// Instances of VRRP in which this balancer takes part, by name.
    pub virtual_routers: Vec<vrrp::seen::Seen>,
}

/// A frontend and what it has counted.
pub struct Frontend {
    /// Its name in the bundle.
    pub name: String,
    /// Where it listens, with real ports.
    pub addresses: Vec<Address>,
    /// Where its requests go; empty while its configuration is being applied.
    pub backend: String,
    /// Since the process began.
    pub totals: FrontendTotals,
    /// What its clients got.
    pub answers: answers::Totals,
    /// In the last minute.
    pub last_minute: Traffic,
}

impl View {
    /// The certificates that clients are shown, by frontend.
    #[must_use]
    pub fn certificates(&self) -> Vec<(String, Report)> {
        let generation = &self.snapshot().generation;
        generation.secured().map(|(name, it)| (name.to_owned(), it.report())).collect()
    }

    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.roster.snapshot()
    }

    /// Milliseconds of uptime now.
    #[must_use]
    pub fn uptime_millis(&self) -> u64 {
        self.uptime.millis(relay::clock::now())
    }

    /// Frontends now with their counters.
    #[must_use]
    pub fn frontends(&self) -> Vec<(String, Arc<PerWorker<FrontendCounts>>)> {
        let served = self.served();
        served.iter().map(|it| (it[0].name.clone(), Arc::clone(&it[0].counts))).collect()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        let snapshot = self.snapshot();
        let frontends = self.served().iter().map(|it| self.frontend(it, &snapshot)).collect();
        let virtual_routers = self.addresses.seen();
        Stats { taken_at: self.clock.now(), frontends, snapshot, virtual_routers }
    }

    /// What is served, by name: each with all places where it listens, which are counted as one.
    fn served(&self) -> Vec<Vec<Arc<listen::Frontend>>> {
        let open = self.open.borrow().clone();
        let mut served: Vec<_> = open.iter().map(|it| Arc::clone(&it.served())).collect();
        served.sort_by(|one, other| one.name.cmp(&other.name));
        served.chunk_by(|one, other| one.name == other.name).map(<[_]>::to_vec).collect()
    }

    fn frontend(&self, places: &[Arc<listen::Frontend>], snapshot: &Snapshot) -> Frontend {
        let it = &places[0];
        let settings =
            snapshot.generation.document.frontends.iter().find(|settings| settings.name == it.name);
        Frontend {
            name: it.name.clone(),
            addresses: places.iter().map(|it| it.address().clone()).collect(),
            backend: settings.map(|settings| settings.backend.clone()).unwrap_or_default(),
            totals: FrontendTotals::of(&it.counts),
            answers: answers::Totals::of(&of_workers(&it.counts, |it: &FrontendCounts| {
                &it.answers
            })),
            last_minute: self.lately.of(&it.name, &it.counts),
        }
    }
}

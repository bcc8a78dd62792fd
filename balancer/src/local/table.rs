//! One snapshot on one worker.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_config::document::balancer::{self as document, StatsPage};
use relay::pool::Limits;

use super::{Backend, Slot};
use crate::{
    config::Generation,
    fields::Rewrites,
    listen::Frontend,
    route::{Destination, Question, Route},
    snapshot::{Pool, Snapshot},
    tls::Acceptor,
};

/// See the module.
pub struct Table {
    snapshot: Arc<Snapshot>,
    /// In the bundle's order.
    pub backends: Vec<Rc<Backend>>,
    /// Keys of the servers to which idle connections are kept, in order.
    pooled: Vec<u64>,
}

/// A frontend as a snapshot has it.
#[derive(Clone, Copy)]
pub struct Served<'a> {
    /// What the bundle says of it.
    pub settings: &'a document::Frontend,
    /// Where its requests go.
    pub route: &'a Route,
    /// What accepts the TLS of its clients.
    pub acceptor: Option<&'a Arc<Acceptor>>,
    /// What becomes of header fields.
    pub rewrites: Option<&'a Arc<Rewrites>>,
}

/// A [`Destination`] on this worker.
pub enum Routed {
    /// The balancer answers for itself, and for this backend.
    Health(Rc<Backend>),
    /// The balancer answers with its statistics.
    Stats(StatsPage),
    /// The balancer tells which proxy to ask.
    Pac,
    /// To the servers of this backend.
    Backend(Rc<Backend>),
}

impl Table {
    pub(super) fn empty() -> Self {
        Self { snapshot: Arc::new(Snapshot::empty()), backends: Vec::new(), pooled: Vec::new() }
    }

    /// The table that takes the place of this one. What belongs to servers that stay goes with it.
    pub(super) fn next(
        &self,
        snapshot: Arc<Snapshot>,
        (worker, seed): (usize, u64),
        now: Instant,
    ) -> Self {
        let known: HashMap<u64, &Rc<Slot>> =
            self.slots().map(|slot| (slot.server.key, slot)).collect();
        let backend = |pool: &Arc<Pool>| {
            let slot = |server| known.get(&server).map(|slot| Rc::clone(slot));
            let new = |server| Rc::new(Slot::new(Arc::clone(server), worker, now));
            let slots = pool
                .servers
                .iter()
                .map(|it| slot(it.server.key).unwrap_or_else(|| new(&it.server)))
                .collect();
            let before =
                self.backends.iter().find(|it| it.pool.settings.name == pool.settings.name);
            let before = before.map(|it| &**it);
            Rc::new(Backend::new(pool, slots, snapshot.number, before, (worker, seed)))
        };
        let backends = snapshot.pools.iter().map(backend).collect();
        let listed = snapshot.pools.iter().flat_map(|pool| &pool.servers);
        let mut pooled: Vec<_> =
            listed.filter(|it| it.may_be_pooled()).map(|it| it.server.key).collect();
        pooled.sort_unstable();
        Self { snapshot, backends, pooled }
    }

    /// The number of its snapshot.
    pub(super) fn number(&self) -> u64 {
        self.snapshot.number
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Rc<Slot>> {
        self.backends.iter().flat_map(|backend| &backend.slots)
    }

    /// Whether idle connections to a server are worth keeping.
    pub(super) fn may_be_pooled(&self, key: u64) -> bool {
        self.pooled.binary_search(&key).is_ok()
    }

    /// One pool serves all backends of a worker; the most generous one decides, and the deadlines
    /// of the others are the nodes'.
    pub(super) fn pool_limits(&self) -> Limits {
        let pools = &self.snapshot.pools;
        let settings = || pools.iter().map(|pool| &pool.settings);
        let per_upstream = settings().map(|it| it.keepalive as usize).max().unwrap_or(0);
        let servers = pools.iter().map(|pool| pool.servers.len()).sum::<usize>();
        let idle = settings().map(|it| it.keepalive_idle).min().unwrap_or(Duration::from_secs(30));
        Limits { per_upstream, total: per_upstream * servers, idle }
    }

    /// What is served at a frontend's address: one that is renamed, or that changes places with
    /// another, finds what is served there from the snapshot on, whatever the socket has been told
    /// so far. By its name where the address is gone or was any port.
    #[must_use]
    pub fn served(&self, frontend: &Frontend) -> Option<Served<'_>> {
        let Generation { document, routes, acceptors, rewrites, .. } = &*self.snapshot.generation;
        // Few: a scan is quicker than a hash.
        let there = document
            .frontends
            .iter()
            .position(|it| frontend.asked.is_fixed() && it.bind.contains(&frontend.asked));
        let index =
            there.or_else(|| document.frontends.iter().position(|it| it.name == frontend.name))?;
        let acceptor = acceptors.get(index).and_then(Option::as_ref);
        let rewrites = rewrites.get(index).and_then(Option::as_ref);
        let (settings, route) = (&document.frontends[index], &routes[index]);
        Some(Served { settings, route, acceptor, rewrites })
    }

    /// Where a request or a connection goes that has come to this frontend.
    #[must_use]
    pub fn route(&self, served: Served<'_>, question: Question<'_>) -> Option<Routed> {
        let route = served.route;
        let backend = |index: usize| self.backends.get(index).cloned();
        match route.choose(question) {
            Destination::Health => backend(route.backend).map(Routed::Health),
            Destination::Stats => served.settings.stats.clone().map(Routed::Stats),
            Destination::Pac => Some(Routed::Pac),
            Destination::Backend(index) => backend(index).map(Routed::Backend),
        }
    }
}

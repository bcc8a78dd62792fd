//! What the roster publishes and the workers read: every backend's servers with their standing,
//! immutable.

use std::sync::Arc;

use cluster::AdminState;
use cluster_config::document::balancer::Backend;
use jiff::Timestamp;

use crate::{
    config::Generation,
    pick::plan::{Candidate, Plan, Policy},
    queue::Queue,
    server::Server,
    standing::{Cause, Judgement, Standing, locality::Place},
    sticky::Cookies,
};

/// All backends at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with every publication.
    pub number: u64,
    /// The configuration it belongs to.
    pub generation: Arc<Generation>,
    /// In the bundle's order.
    pub pools: Vec<Arc<Pool>>,
}

impl Snapshot {
    /// Before anything is known.
    #[must_use]
    pub fn empty() -> Self {
        Self { number: 0, generation: Arc::new(Generation::none()), pools: Vec::new() }
    }

    /// The pool of a backend.
    #[must_use]
    pub fn pool(&self, backend: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|it| it.settings.name == backend)
    }
}

/// One backend's servers.
#[derive(Clone, Debug)]
pub struct Pool {
    /// What the bundle says about it.
    pub settings: Arc<Backend>,
    pub servers: Vec<Listed>,
    /// For picking: the same indexes as `servers`.
    pub plan: Plan,
    /// Who waits for them.
    pub queue: Arc<Queue>,
    /// Whether they, or all of them together, have bounds: its requests need permits then.
    pub bounded: bool,
    /// What clients' cookies say, where one keeps a client with its server.
    pub cookies: Option<Cookies>,
    /// See [`crate::standing::settle`].
    pub panic: bool,
    /// Members that cannot be servers yet, and why.
    pub missing: Vec<String>,
}

impl Pool {
    /// With a plan for picking among these servers.
    #[must_use]
    pub fn new(
        settings: Arc<Backend>,
        servers: Vec<Listed>,
        queue: Arc<Queue>,
        panic: bool,
        missing: Vec<String>,
    ) -> Self {
        let candidate = |it: &Listed| Candidate {
            name: it.server.name.clone(),
            standing: it.judgement.standing,
            weight: it.weight,
            percent: it.percent,
            level: it.level,
        };
        let policy = Policy { balance: settings.balance.clone(), bound: settings.hash_bound };
        let plan = Plan::build(policy, servers.iter().map(candidate).collect());
        let bounded = settings.circuit_breaker.connections.is_some()
            || servers.iter().any(|it| it.maxconn.is_some());
        let cookies = settings.sticky.as_ref().map(|sticky| {
            let keyed = servers.iter().map(|it| (it.server.key, it.server.name.as_str()));
            Cookies::new(sticky, &settings.name, keyed)
        });
        Self { settings, servers, plan, queue, bounded, cookies, panic, missing }
    }

    /// Whether readers see this in it already.
    #[must_use]
    pub fn shows(
        &self,
        settings: &Backend,
        servers: &[Listed],
        panic: bool,
        missing: &[String],
    ) -> bool {
        *self.settings == *settings
            && self.servers == servers
            && self.panic == panic
            && self.missing == missing
    }
}

/// A server with what is thought of it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Who it is.
    pub server: Arc<Server>,
    /// Its standing and the reasons.
    pub judgement: Judgement,
    /// What operators want of it.
    pub admin: AdminState,
    pub weight: u32,
    /// Percent of its weight that it gets for now.
    pub percent: u8,
    /// Where it comes among those of its standing; 0 is picked first.
    pub level: u8,
    /// Where it is.
    pub place: Place,
    /// Requests and tunnels that it may have at a time.
    pub maxconn: Option<u32>,
    /// The one that bundle or process gave it.
    pub initial_weight: u32,
    /// Set here, not yet known to the registry.
    pub drift: bool,
    /// When its standing last changed.
    pub changed_at: Timestamp,
}

impl PartialEq for Listed {
    /// Whether readers see the same: who it is, not what its counters say.
    fn eq(&self, other: &Self) -> bool {
        let seen = |it: &Self| {
            let weights = (it.weight, it.percent, it.initial_weight);
            (it.server.key, it.admin, weights, it.level, it.maxconn, it.drift)
        };
        seen(self) == seen(other) && self.judgement == other.judgement
    }
}

impl Listed {
    /// Whether it serves the clients that it has been given: also while it drains.
    #[must_use]
    pub fn keeps_clients(&self) -> bool {
        let drains = self.admin == AdminState::Drain || self.weight == 0;
        match self.judgement.standing {
            Standing::Usable | Standing::Last | Standing::Backup | Standing::LastResort => true,
            Standing::Excluded => {
                drains && self.admin != AdminState::Maintenance && !self.server.signs.is_down()
            }
            Standing::Unwell => false,
        }
    }

    /// Whether idle connections to it are worth keeping.
    #[must_use]
    pub fn may_be_pooled(&self) -> bool {
        self.judgement.standing != Standing::Excluded && self.judgement.cause != Cause::OwnEvidence
    }
}

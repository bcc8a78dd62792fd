//! What balancers, nodes and checkers say of themselves, in the console's own words.

use std::time::Duration;

use cluster::{AdminState, alarm::Holder, recent::Traffic};
use jiff::Timestamp;

/// What one balancer counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BalancerStats {
    /// Configuration in force.
    pub revision: String,
    /// Where clients come in.
    pub frontends: Vec<Frontend>,
    /// Whom it sends them to.
    pub backends: Vec<Backend>,
    /// The addresses that move, and what it does about them.
    pub addresses: Vec<Holder>,
}

/// Where clients come in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frontend {
    /// Name in the bundle.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Whom it hands requests to.
    pub backend: String,
    /// Connections since the start.
    pub connections: u64,
    pub active: u64,
    pub requests: u64,
    /// Answered by the balancer itself because no server could.
    pub failed: u64,
    /// Refused as malformed.
    pub refused: u64,
    /// Tunnels since the start.
    pub tunnels: u64,
    /// Tunnels and responses that a server's death cut.
    pub cut: u64,
    /// What clients got lately.
    pub last_minute: Traffic,
}

/// A pool of servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backend {
    /// Name in the bundle.
    pub name: String,
    /// How one is chosen.
    pub balance: String,
    /// Fewer servers are well than the threshold asks for.
    pub panic: bool,
    /// In the balancer's order.
    pub servers: Vec<Server>,
}

/// Who may get a request, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Usable,
    /// When no usable one is left.
    Last,
    /// When nothing else is left.
    Unwell,
    /// Never: somebody asked for it.
    Excluded,
    #[default]
    Unknown,
}

/// One server of a pool, as one balancer sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Instance or name in the bundle.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether it gets requests.
    pub standing: Standing,
    /// Why, most important first.
    pub reasons: Vec<String>,
    /// What operators want.
    pub admin: Option<AdminState>,
    /// Share of the load.
    pub weight: u32,
    /// Used when the others are gone.
    pub backup: bool,
    /// From the registry, not from the bundle.
    pub discovered: bool,
    /// Kept locally, the registry being out of reach.
    pub drift: bool,
    pub counts: ServerCounts,
    /// When the standing last changed.
    pub changed_at: Option<Timestamp>,
}

/// Counters since the balancer's start, and gauges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerCounts {
    pub requests: u64,
    pub failures: u64,
    pub retries_away: u64,
    pub connections_opened: u64,
    pub connections_reused: u64,
    pub active_requests: u64,
    pub active_tunnels: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub checks_passed: u64,
    pub checks_failed: u64,
    pub ejections: u64,
}

impl ServerCounts {
    /// Adds another server's, for the row of the whole pool.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.retries_away += other.retries_away;
        self.connections_opened += other.connections_opened;
        self.connections_reused += other.connections_reused;
        self.active_requests += other.active_requests;
        self.active_tunnels += other.active_tunnels;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.checks_passed += other.checks_passed;
        self.checks_failed += other.checks_failed;
        self.ejections += other.ejections;
    }
}

/// What one proxy-node counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeStats {
    pub requests: u64,
    pub hits: u64,
    pub revalidated: u64,
    pub misses: u64,
    pub collapsed: u64,
    pub denied: u64,
    pub errors: u64,
    pub tunnels: u64,
    pub active_tunnels: u64,
    pub active_connections: u64,
    pub cache_objects: u64,
    pub cache_bytes: u64,
    pub cache_capacity: u64,
    pub bytes_to_clients: u64,
    pub bytes_from_origins: u64,
    pub log_records_dropped: u64,
    pub revision: String,
    pub last_minute: Traffic,
    pub parents: Vec<Parent>,
    /// The disk tier of its cache, if it has one.
    pub disk: Option<DiskStats>,
    /// Requests that other nodes answered, which own the objects; none: objects have no owners.
    pub from_owners: Option<u64>,
}

/// The disk tier of a node's cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Why it is not used; empty: it is.
    pub problem: String,
    pub objects: u64,
    pub bytes: u64,
    pub capacity: u64,
    /// Hits that were read from it.
    pub hits: u64,
}

/// A parent proxy as one node knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parent {
    pub address: String,
    /// Requests go to it while others live too.
    pub alive: bool,
    /// Since when it is dead.
    pub dead_since: Option<Timestamp>,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Those of them that it failed.
    pub failures: u64,
    /// How it failed last; empty: it never has.
    pub last_failure: String,
}

impl NodeStats {
    /// The parents that do not answer; whether they are all that there are.
    #[must_use]
    pub fn dead_parents(&self) -> (Vec<&Parent>, bool) {
        let dead: Vec<&Parent> = self.parents.iter().filter(|parent| !parent.alive).collect();
        let all = !dead.is_empty() && dead.len() == self.parents.len();
        (dead, all)
    }
}

/// One check on one target, as one checker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Name of the check.
    pub check: String,
    /// tcp, http, proxy, connect.
    pub kind: String,
    /// Name of the instance.
    pub target: String,
    /// After rise and fall; none before the first result.
    pub passing: Option<bool>,
    /// What the last probe found.
    pub detail: String,
    /// How long that took.
    pub took: Duration,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

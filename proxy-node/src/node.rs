//! What all workers share.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use chassis::probe;
use dataplane::{answers::Answers, count::PerWorker, ledger::Carried, trace::span::Tracer};
use jiff::{Timestamp, tz::TimeZone};
use relay::{head::Request, proof::Key};

use crate::{
    cache::{
        self, keying,
        object::Object,
        purge::{Purge, Scope},
        sketch::Sketch,
        store::purging::Purged,
    },
    clock::Steady,
    compress,
    config::Generation,
    confirmation::Confirmation,
    dns::Resolver,
    egress::{ClusterNames, ClusterPorts, ProbeTargets},
    icp::Icp,
    metrics::Metrics,
    owner::Owners,
    petitions::Petitions,
    record::Recorder,
    request::Destination,
    respond::Error,
    route::{self, Route},
};

/// The store of this process: followers of a fill that came to nothing hear why.
pub type Store = cache::store::Store<Error>;

/// Everything that the workers of this process share. Snapshots are published whole; nothing here
/// is locked on the way of a request, except a shard of the cache.
#[derive(Debug)]
pub struct Node {
    /// The instance's name.
    pub name: String,
    /// The name as a member of Cache-Status: a token where it is one, a string otherwise (RFC 9211
    /// §2).
    pub cache_name: String,
    /// What this node calls itself in Via: name + cluster id, so that no request passes it twice.
    pub pseudonym: ArcSwap<String>,
    /// The key that balancers prove themselves with.
    pub cluster_key: Key,
    /// The configuration in force.
    pub current: ArcSwap<Generation>,
    /// The cluster's own ports.
    pub ports: ArcSwap<ClusterPorts>,
    /// Where those of them are that are advertised by host name.
    pub cluster_names: ArcSwap<ClusterNames>,
    /// Who owns what among the nodes; nobody where that is switched off.
    pub owners: ArcSwap<Owners>,
    /// Other caches, asked by datagrams.
    pub icp: Arc<Icp>,
    /// How often what others own was asked for here.
    pub popular: Sketch,
    /// The memory cache.
    pub store: Arc<Store>,
    /// As of when it is known what was purged of that.
    pub confirmation: Confirmation,
    /// What clients want purged.
    pub petitions: Petitions,
    /// Built-in targets of the health-checkers: who proves to be one is probing, and nobody else
    /// gets there.
    pub probe_targets: ArcSwap<ProbeTargets>,
    /// Names to addresses.
    pub resolver: Resolver,
    /// The access log.
    pub recorder: Recorder,
    pub metrics: Metrics,
    /// What compresses answers.
    pub compressor: compress::pool::Pool,
    /// What clients got and how long it took, by worker.
    pub answers: PerWorker<Answers>,
    /// Traces requests, where traces go anywhere.
    pub tracer: Option<Tracer>,
    /// Origins hear of every trace, of our own too.
    pub trace_origins: bool,
    /// When a refused proof was logged last.
    pub refusals: Throttle,
    /// When a client that has its share was logged last.
    pub shares: Throttle,
    /// How full it is, in percent.
    pub load: AtomicU8,
    /// False once this node is leaving: the health path says so.
    pub serving: AtomicBool,
    /// For rules about the time of day.
    pub zone: TimeZone,
    /// What the ages of stored responses are reckoned by.
    pub steady: Steady,
}

/// Who asks, as far as the targets of health-checkers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody who asks for something else.
    Client,
    /// A health-checker, for its own target.
    Checker,
    /// Somebody else, for a target: refused like any of the cluster's own ports.
    Stranger,
}

/// Bounds what is logged of things that a peer can make happen as often as it likes.
#[derive(Debug, Default)]
pub struct Throttle(AtomicU64);

impl Throttle {
    const EVERY: u64 = 60;

    /// Whether it may be said at this moment, in seconds of [`Steady`]; then not again for a
    /// minute.
    pub fn is_due(&self, now: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let due = last == 0 || now >= last.saturating_add(Self::EVERY);
        due && self
            .0
            .compare_exchange(last, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// There was nothing to say.
    pub fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Carried for Node {
    fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = self.metrics.totals();
        totals.extend(self.answers.totals());
        totals
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        self.metrics.add(more);
        self.answers.add(more);
    }
}

impl Node {
    /// Whose probe a request may be: where it asks for the target of a health-checker, whether it
    /// proves to come from that checker. A checker of an earlier version proves nothing, and is
    /// known by asking for its own address.
    #[must_use]
    pub fn probe(&self, client: IpAddr, destination: &Destination, request: Request<'_>) -> Asker {
        let Some(address) = destination.address.map(|ip| SocketAddr::new(ip, destination.port))
        else {
            return Asker::Client;
        };
        let targets = self.probe_targets.load();
        if !targets.contains(address) {
            return Asker::Client;
        }
        let proof = || {
            request
                .fields()
                .find(|line| line.name.eq_ignore_ascii_case(probe::FIELD.as_bytes()))
                .map(|line| line.value)
        };
        let proven = match targets.key(address) {
            Some(Some(key)) => proof().is_some_and(|proof| {
                probe::verifies(key, request.method_text(), request.target_text(), proof)
            }),
            Some(None) => destination.address == Some(client),
            None => false,
        };
        if proven { Asker::Checker } else { Asker::Stranger }
    }

    /// Where a request goes next. The targets of health-checkers are the cluster's own: a parent
    /// could not reach them, or would tell of itself instead of this node.
    ///
    /// `direct`: a rule says that it goes past the parents.
    #[must_use]
    pub fn route<'a>(
        &self,
        generation: &'a Generation,
        destination: &'a Destination,
        direct: bool,
    ) -> Route<'a> {
        let document = &generation.document;
        let is_target = |address| {
            self.probe_targets.load().key(SocketAddr::new(address, destination.port)).is_some()
        };
        if direct || !document.parents.is_empty() && destination.address.is_some_and(is_target) {
            return Route::Direct(destination);
        }
        route::choose(destination, &generation.parents, &document.direct)
    }

    /// Purges what is stored. Not for a worker, unless it is of one URL.
    pub fn purge(&self, purge: &Arc<Purge>) -> Purged {
        // Several URLs may share a key.
        let purge = match &purge.scope {
            Scope::Url(url) => {
                let key = keying::apply(&self.current.load().caching.keys, url.clone()).key;
                Arc::new(Purge { scope: Scope::Url(key), mode: purge.mode })
            }
            _ => purge.clone(),
        };
        let purged = self.store.purge(&purge, self.steady.seconds());
        self.metrics.purges.add(1);
        self.metrics.purged.add(purged.in_memory);
        purged
    }

    /// Whether something stored has to be validated because it may have been purged without this
    /// node's knowledge, at `now` in steady milliseconds.
    #[must_use]
    pub fn doubts(&self, generation: &Generation, object: &Object, now: u64) -> bool {
        let within = generation.document.cache.purge.confirm_within;
        let received = object.freshness.received_at.saturating_mul(1000);
        self.confirmation.doubts(received, now, within)
    }

    /// Whether the health path answers 200.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// Weekday (0 is Monday) and minute of the day at a moment, in this node's time zone.
    #[must_use]
    pub fn civil(&self, unix_millis: u64) -> (u8, u16) {
        let moment = Timestamp::from_millisecond(i64::try_from(unix_millis).unwrap_or(0))
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let here = moment.to_zoned(self.zone.clone());
        let day = u8::try_from(here.weekday().to_monday_zero_offset()).unwrap_or(0);
        (day, u16::try_from(i32::from(here.hour()) * 60 + i32::from(here.minute())).unwrap_or(0))
    }
}

/// A name as a member of a structured field. Instance names hold letters, digits, dots, dashes and
/// underscores only.
#[must_use]
pub fn structured(name: &str) -> String {
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seldom_said_is_said_once_a_minute() {
        let refusals = Throttle::default();
        let said: Vec<u64> = [0, 0, 5, 60, 61, 62, 120, 121, 500]
            .into_iter()
            .filter(|now| refusals.is_due(*now))
            .collect();
        assert_eq!(said, [0, 61, 121, 500]);
    }
}

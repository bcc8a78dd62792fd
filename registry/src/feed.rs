//! What everybody reads without asking the owner: the newest snapshot, and a bounded log of what
//! changed before it.
//!
//! A watcher is a position in the log and nothing more: no queue of its own can grow, and one that
//! falls behind the log's beginning is told everything. What it is told is a [`Step`], in the
//! domain's types; watchers that stand at the same position make equal steps, so that whoever
//! encodes them needs to do it once.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use cluster::{InstanceStatus, PoolGuard, Service};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::{
    purge::Purges,
    snapshot::{Filter, Snapshot},
    store::Identity,
};

/// Changed members that the log remembers; who is further behind gets a snapshot.
const LOGGED: usize = 20_000;

/// What happened between two versions.
#[derive(Debug)]
struct Change {
    version: u64,
    members: Vec<(Service, String)>,
    guards: Vec<Service>,
}

#[derive(Debug, Default)]
struct Log {
    /// Changes up to this version are forgotten.
    floor: u64,
    changes: VecDeque<Change>,
    /// Members and guards in `changes`.
    logged: usize,
}

/// Where everybody reads. Only the owner publishes.
#[derive(Debug)]
pub struct Feed {
    /// Versions count from the start of this process; a token of another is worth nothing.
    incarnation: uuid::Uuid,
    snapshot: ArcSwap<Snapshot>,
    log: Mutex<Log>,
    version: watch::Sender<u64>,
    purges: Purges,
}

#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    filter: Filter,
    position: Option<u64>,
    version: watch::Receiver<u64>,
}

/// From where to where, for whom; from nowhere is everything.
#[derive(Clone, Debug)]
pub struct Step {
    feed: Arc<Feed>,
    filter: Filter,
    from: Option<u64>,
    to: Arc<Snapshot>,
}

/// Steps with the same key tell the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepKey {
    filter: Filter,
    from: Option<u64>,
    to: u64,
}

/// What a watcher has to hear.
#[derive(Clone, Debug)]
pub enum Event {
    /// Everything that its filter lets through.
    Snapshot(Arc<Snapshot>),
    /// What differs from what it knows.
    Delta(Delta),
}

#[derive(Clone, Debug, Default)]
pub struct Delta {
    /// New and changed members, as they are now.
    pub upserted: Vec<Arc<InstanceStatus>>,
    /// Names of those who are gone.
    pub removed: Vec<String>,
    /// Guards that say something else now.
    pub guards: Vec<Arc<PoolGuard>>,
}

impl Feed {
    /// An empty feed of this cluster.
    #[must_use]
    pub fn new(identity: Identity, incarnation: uuid::Uuid) -> Arc<Self> {
        let snapshot = ArcSwap::from_pointee(Snapshot::empty(identity));
        Arc::new(Self {
            incarnation,
            snapshot,
            log: Mutex::default(),
            version: watch::Sender::new(0),
            purges: Purges::default(),
        })
    }

    /// The log of purges, and who follows it.
    #[must_use]
    pub const fn purges(&self) -> &Purges {
        &self.purges
    }

    /// Everything as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Which cluster this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.snapshot.load().identity.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watchers what changed.
    pub fn publish(
        &self,
        upserted: Vec<InstanceStatus>,
        removed: &[(Service, String)],
        guards: Vec<PoolGuard>,
    ) {
        let mut next = Snapshot::clone(&self.snapshot.load());
        next.version += 1;
        let mut change =
            Change { version: next.version, members: removed.to_vec(), guards: Vec::new() };
        for (_, name) in removed {
            next.members.remove(name.as_str());
        }
        for status in upserted {
            let (service, name) = (status.instance.service, status.instance.name.clone());
            if let Some(before) = next.put(status) {
                change.members.push((before, name.clone()));
            }
            change.members.push((service, name));
        }
        for guard in guards {
            change.guards.push(guard.service);
            next.guards.insert(guard.service, Arc::new(guard));
        }
        self.log().remember(change);
        self.show(next);
    }

    /// Brings up to date what watchers need not hear of: how old opinions are, and when leases end;
    /// `leases` are by name.
    pub fn refresh<'n>(
        &self,
        statuses: Vec<InstanceStatus>,
        leases: impl Iterator<Item = (&'n str, Timestamp)>,
    ) {
        let mut next = Snapshot::clone(&self.snapshot.load());
        for status in statuses {
            next.put(status);
        }
        next.renew(leases);
        self.snapshot.store(Arc::new(next));
    }

    /// Starts anew from `statuses`: every watcher gets a snapshot.
    pub fn reset(&self, statuses: Vec<InstanceStatus>, guards: Vec<PoolGuard>) {
        self.reset_as(self.identity(), statuses, guards);
    }

    /// Starts anew as the cluster (or in the epoch) of `identity`: every watcher gets a snapshot,
    /// and no token of before is worth anything.
    pub fn reset_as(
        &self,
        identity: Identity,
        statuses: Vec<InstanceStatus>,
        guards: Vec<PoolGuard>,
    ) {
        let mut next =
            Snapshot { version: self.snapshot.load().version + 1, ..Snapshot::empty(identity) };
        for status in statuses {
            next.put(status);
        }
        next.guards = guards.into_iter().map(|guard| (guard.service, Arc::new(guard))).collect();
        *self.log() = Log { floor: next.version, ..Log::default() };
        self.show(next);
    }

    fn show(&self, next: Snapshot) {
        let version = next.version;
        self.snapshot.store(Arc::new(next));
        self.version.send_replace(version);
    }

    /// A watcher that continues at `token` if that is possible.
    #[must_use]
    pub fn reader(self: &Arc<Self>, filter: Filter, token: &str) -> Reader {
        let version = self.version.subscribe();
        let snapshot = self.snapshot();
        let position = self
            .read_token(&snapshot, filter, token)
            .filter(|position| *position <= snapshot.version);
        Reader { feed: Arc::clone(self), filter, position, version }
    }

    /// Of an identity, a filter and a version, so that it is worth nothing elsewhere.
    fn token(&self, identity: &Identity, filter: Filter, version: u64) -> String {
        let Identity { cluster_id, epoch } = identity;
        format!("{cluster_id}.{epoch}.{}.{:x}.{version}", self.incarnation, filter.bits())
    }

    fn read_token(&self, snapshot: &Snapshot, filter: Filter, token: &str) -> Option<u64> {
        let version = token.rsplit('.').next()?.parse().ok()?;
        (self.token(&snapshot.identity, filter, version) == token).then_some(version)
    }
}

impl Log {
    fn remember(&mut self, change: Change) {
        self.logged += change.members.len() + change.guards.len();
        self.changes.push_back(change);
        while self.logged > LOGGED || self.changes.len() > LOGGED {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.logged -= oldest.members.len() + oldest.guards.len();
            self.floor = oldest.version;
        }
    }

    /// What changed after `from` and up to `to`, by name; `None` when that is forgotten.
    fn between(
        &self,
        from: u64,
        to: u64,
        filter: Filter,
    ) -> Option<(BTreeSet<&str>, BTreeSet<Service>)> {
        if from < self.floor {
            return None;
        }
        let start = self.changes.partition_point(|change| change.version <= from);
        let (mut names, mut guards) = (BTreeSet::new(), BTreeSet::new());
        for change in self.changes.range(start..).take_while(|change| change.version <= to) {
            names.extend(
                change
                    .members
                    .iter()
                    .filter(|(service, _)| filter.lets(*service))
                    .map(|(_, name)| name.as_str()),
            );
            guards.extend(change.guards.iter().filter(|service| filter.lets(**service)));
        }
        Some((names, guards))
    }
}

impl Reader {
    /// Until the feed knows who is there: before the store is replayed, an empty snapshot would be
    /// a lie that empties pools.
    pub async fn ready(&mut self) {
        if self.version.wait_for(|version| *version > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What this watcher has to hear now; an empty delta when there is nothing.
    pub fn read(&mut self) -> Step {
        self.version.borrow_and_update();
        let to = self.feed.snapshot();
        let from = self.position.replace(to.version);
        Step { feed: Arc::clone(&self.feed), filter: self.filter, from, to }
    }

    /// Until there may be something to hear.
    pub async fn changed(&mut self) {
        // The sender lives in the feed, which this reader holds.
        if self.version.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Step {
    /// Steps with the same key tell the same.
    #[must_use]
    pub fn key(&self) -> StepKey {
        StepKey { filter: self.filter, from: self.from, to: self.to.version }
    }

    #[must_use]
    pub const fn filter(&self) -> Filter {
        self.filter
    }

    /// What a watcher says later to go on from here.
    #[must_use]
    pub fn resume_token(&self) -> String {
        self.feed.token(&self.to.identity, self.filter, self.to.version)
    }

    /// What there is to hear. However often something changed in between, it is told once, as it is
    /// now.
    #[must_use]
    pub fn event(&self) -> Event {
        let log = self.feed.log();
        let changed = self.from.and_then(|from| log.between(from, self.to.version, self.filter));
        let Some((names, guards)) = changed else { return Event::Snapshot(Arc::clone(&self.to)) };
        let mut delta = Delta {
            guards: guards
                .iter()
                .filter_map(|service| self.to.guards.get(service).cloned())
                .collect(),
            ..Delta::default()
        };
        for name in names {
            // A name that another service took over is gone for who does not want to hear of that
            // service.
            match self
                .to
                .members
                .get(name)
                .filter(|listed| self.filter.lets(listed.status.instance.service))
            {
                Some(listed) => delta.upserted.push(Arc::clone(&listed.status)),
                None => delta.removed.push(name.to_owned()),
            }
        }
        Event::Delta(delta)
    }
}

#[cfg(test)]
mod tests;

//! What watchers are told: the membership as protobuf, at a version, with a bounded log of what changed before.
//!
//! A watcher is a position in the log and nothing more: no queue of its own can grow, and one that falls behind the log's beginning is sent
//! a snapshot. Watchers that stand at the same position with the same filter are sent the same bytes, encoded once.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cluster::{InstanceStatus, PoolGuard, Service};
use prost::Message;
use proto::registry as pb;
use tokio::sync::watch;

use crate::{metrics, store::Identity};

/// Changed members that the log remembers; who is further behind gets a snapshot.
const LOG_ENTRIES: usize = 20_000;
/// Encoded messages kept for watchers that stand at the same position.
const ENCODED: usize = 16;

/// Which services a watcher wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter(u32);

impl Filter {
    /// These; all when there are none.
    #[must_use]
    pub fn of(services: &[Service]) -> Self {
        if services.is_empty() { Self(u32::MAX) } else { Self(services.iter().fold(0, |bits, service| bits | 1 << *service as u32)) }
    }

    /// Whether `service` is one of them.
    #[must_use]
    pub fn lets(self, service: Service) -> bool {
        self.0 & (1 << service as u32) != 0
    }
}

/// What happened between two versions.
#[derive(Debug)]
struct Change {
    version: u64,
    members: Vec<(Service, String)>,
    guards: Vec<Service>,
}

/// From where to where, for whom; from nowhere is a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    filter: Filter,
    from: Option<u64>,
    to: u64,
}

#[derive(Debug)]
struct Board {
    identity: Identity,
    version: u64,
    /// Changes up to this version are forgotten.
    floor: u64,
    log: VecDeque<Change>,
    entries: usize,
    members: BTreeMap<String, (Service, pb::InstanceStatus)>,
    guards: BTreeMap<Service, pb::PoolGuard>,
    encoded: VecDeque<(Step, Bytes)>,
}

/// Where watchers read.
#[derive(Debug)]
pub struct Feed {
    /// Versions count from the start of this process; a token of another is worth nothing.
    incarnation: uuid::Uuid,
    board: Mutex<Board>,
    version: watch::Sender<u64>,
}

/// A watcher.
#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    filter: Filter,
    position: Option<u64>,
    version: watch::Receiver<u64>,
}

impl Feed {
    /// An empty board of this cluster.
    #[must_use]
    pub fn new(identity: Identity, incarnation: uuid::Uuid) -> Arc<Self> {
        Arc::new(Self { incarnation, board: Mutex::new(Board::new(identity)), version: watch::Sender::new(0) })
    }

    /// Which cluster this is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.board().identity.clone()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watchers what changed.
    pub fn publish(&self, upserted: &[InstanceStatus], removed: &[(Service, String)], guards: &[PoolGuard]) {
        let mut board = self.board();
        board.version += 1;
        let mut change = Change { version: board.version, members: removed.to_vec(), guards: Vec::new() };
        for (_, name) in removed {
            board.members.remove(name);
        }
        for status in upserted {
            let (service, name) = (status.instance.service, status.instance.name.clone());
            change.members.push((service, name.clone()));
            match board.members.insert(name.clone(), (service, status.into())) {
                Some((before, _)) if before != service => change.members.push((before, name)),
                _ => {}
            }
        }
        for guard in guards {
            change.guards.push(guard.service);
            board.guards.insert(guard.service, guard.into());
        }
        board.remember(change);
        let version = board.version;
        drop(board);
        self.version.send_replace(version);
    }

    /// Starts anew from `statuses`: every watcher gets a snapshot.
    pub fn reset(&self, statuses: &[InstanceStatus], guards: &[PoolGuard]) {
        self.reset_as(self.identity(), statuses, guards);
    }

    /// Starts anew as the cluster (or in the epoch) of `identity`: every watcher gets a snapshot, and no token of before is worth anything.
    pub fn reset_as(&self, identity: Identity, statuses: &[InstanceStatus], guards: &[PoolGuard]) {
        let mut board = self.board();
        let version = board.version + 1;
        *board = Board { version, floor: version, ..Board::new(identity) };
        board.members = statuses.iter().map(|status| (status.instance.name.clone(), (status.instance.service, status.into()))).collect();
        board.guards = guards.iter().map(|guard| (guard.service, guard.into())).collect();
        drop(board);
        self.version.send_replace(version);
    }

    /// A watcher that continues at `token` if that is possible.
    #[must_use]
    pub fn reader(self: &Arc<Self>, filter: Filter, token: &str) -> Reader {
        let version = self.version.subscribe();
        let current = *version.borrow();
        let position = self.read_token(filter, token).filter(|position| *position <= current);
        Reader { feed: Arc::clone(self), filter, position, version }
    }

    fn token(&self, identity: &Identity, filter: Filter, version: u64) -> String {
        let Identity { cluster_id, epoch } = identity;
        format!("{cluster_id}.{epoch}.{}.{:x}.{version}", self.incarnation, filter.0)
    }

    fn read_token(&self, filter: Filter, token: &str) -> Option<u64> {
        let version = token.rsplit('.').next()?.parse().ok()?;
        (self.token(&self.identity(), filter, version) == token).then_some(version)
    }

    /// What a watcher at `position` has to hear, encoded, and where it stands then.
    fn read(&self, filter: Filter, position: Option<u64>) -> (Bytes, u64) {
        let mut board = self.board();
        let from = position.filter(|position| *position >= board.floor);
        let step = Step { filter, from, to: board.version };
        if let Some((_, bytes)) = board.encoded.iter().find(|(known, _)| *known == step) {
            return (bytes.clone(), board.version);
        }
        let event = match from {
            Some(from) => pb::watch_response::Event::Delta(board.delta(filter, from)),
            None => {
                metrics::snapshot_sent();
                pb::watch_response::Event::Snapshot(board.snapshot(filter))
            }
        };
        let response = pb::WatchResponse { event: Some(event), resume_token: self.token(&board.identity, filter, board.version) };
        let bytes = Bytes::from(response.encode_to_vec());
        if board.encoded.len() == ENCODED {
            board.encoded.pop_front();
        }
        board.encoded.push_back((step, bytes.clone()));
        (bytes, board.version)
    }
}

impl Board {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            version: 0,
            floor: 0,
            log: VecDeque::new(),
            entries: 0,
            members: BTreeMap::new(),
            guards: BTreeMap::new(),
            encoded: VecDeque::new(),
        }
    }

    fn remember(&mut self, change: Change) {
        self.entries += change.members.len() + change.guards.len();
        self.log.push_back(change);
        while self.entries > LOG_ENTRIES || self.log.len() > LOG_ENTRIES {
            let Some(oldest) = self.log.pop_front() else { break };
            self.entries -= oldest.members.len() + oldest.guards.len();
            self.floor = oldest.version;
        }
    }

    /// However often something changed in between, it is told once, as it is now.
    fn delta(&self, filter: Filter, from: u64) -> pb::Delta {
        let start = self.log.partition_point(|change| change.version <= from);
        let (mut names, mut guards) = (BTreeSet::new(), BTreeSet::new());
        for change in self.log.range(start..) {
            names.extend(change.members.iter().filter(|(service, _)| filter.lets(*service)).map(|(_, name)| name));
            guards.extend(change.guards.iter().filter(|service| filter.lets(**service)));
        }
        let mut delta =
            pb::Delta { guards: guards.iter().filter_map(|service| self.guards.get(service).cloned()).collect(), ..pb::Delta::default() };
        for name in names {
            // A name that another service took over is gone for who does not want to hear of that service.
            match self.members.get(name).filter(|(service, _)| filter.lets(*service)) {
                Some((_, status)) => delta.upserted.push(status.clone()),
                None => delta.removed.push(name.clone()),
            }
        }
        delta
    }

    fn snapshot(&self, filter: Filter) -> pb::Snapshot {
        pb::Snapshot {
            instances: self.members.values().filter(|(service, _)| filter.lets(*service)).map(|(_, status)| status.clone()).collect(),
            guards: self.guards.iter().filter(|(service, _)| filter.lets(**service)).map(|(_, guard)| guard.clone()).collect(),
            cluster_id: self.identity.cluster_id.to_string(),
            epoch: self.identity.epoch,
        }
    }
}

impl Reader {
    /// Until the feed knows who is there: before the store is replayed, an empty snapshot would be a lie that empties pools.
    pub async fn ready(&mut self) {
        if self.version.wait_for(|version| *version > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What this watcher has to hear now, as an encoded `WatchResponse`; an empty delta when there is nothing.
    pub fn read(&mut self) -> Bytes {
        self.version.borrow_and_update();
        let (bytes, version) = self.feed.read(self.filter, self.position);
        self.position = Some(version);
        bytes
    }

    /// Until there may be something to hear.
    pub async fn changed(&mut self) {
        // The sender lives in the feed, which this reader holds.
        if self.version.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;

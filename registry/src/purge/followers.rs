//! Who follows the log of purges, and how far each has come. It is in memory alone: every follower
//! says where it is when it comes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use proto::registry as pb;
use tokio::{sync::watch, time::Instant};

use super::Log;
use crate::metrics;

/// Followers that are remembered.
const MOST: usize = 10_000;
/// So long those are remembered that have gone.
const GONE: Duration = Duration::from_secs(3600);
/// Outcomes that are remembered of each.
const OUTCOMES: usize = 64;

/// The log as followers see it: what is on the disk.
#[derive(Debug, Default)]
pub struct Purges {
    log: ArcSwap<Log>,
    /// Counts up with everything that followers have to hear.
    version: watch::Sender<u64>,
    followers: Mutex<BTreeMap<String, Follower>>,
}

/// A proxy-node that follows.
#[derive(Clone, Debug)]
pub struct Follower {
    pub id: String,
    /// Everything up to here is done there.
    pub applied: u64,
    pub heard_at: Instant,
    /// Streams that it has open.
    pub open: u32,
    pub outcomes: VecDeque<pb::PurgeOutcome>,
}

impl Purges {
    #[must_use]
    pub fn log(&self) -> Arc<Log> {
        self.log.load_full()
    }

    /// From now on followers hear of these.
    pub fn publish(&self, log: &Log) {
        if self.log.load().newest() != log.newest() {
            self.show(log);
        }
    }

    /// The log is another one now: all followers begin anew.
    pub fn restored(&self, log: &Log) {
        self.show(log);
    }

    fn show(&self, log: &Log) {
        self.log.store(Arc::new(log.clone()));
        metrics::purges_logged(log.iter().len());
        self.version.send_modify(|version| *version += 1);
    }

    /// Hears when there is something to hear.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// A follower has opened a stream. False: there are too many.
    pub fn opened(&self, name: &str, id: &str) -> bool {
        let now = Instant::now();
        let mut followers = self.lock();
        if followers.len() >= MOST {
            followers.retain(|_, it| it.open > 0 || now.duration_since(it.heard_at) < GONE);
        }
        if followers.len() >= MOST && !followers.contains_key(name) {
            return false;
        }
        let follower = followers.entry(name.to_owned()).or_insert_with(|| Follower {
            id: id.to_owned(),
            applied: 0,
            heard_at: now,
            open: 0,
            outcomes: VecDeque::new(),
        });
        follower.open += 1;
        true
    }

    /// Its stream has ended.
    pub fn closed(&self, name: &str) {
        if let Some(follower) = self.lock().get_mut(name) {
            follower.open = follower.open.saturating_sub(1);
        }
    }

    /// A follower says how far it is, and what came of some.
    pub fn heard(&self, name: &str, id: &str, applied: u64, outcomes: Vec<pb::PurgeOutcome>) {
        let mut followers = self.lock();
        let Some(follower) = followers.get_mut(name) else { return };
        if follower.id != id {
            (follower.id, follower.outcomes) = (id.to_owned(), VecDeque::new());
        }
        (follower.applied, follower.heard_at) = (applied, Instant::now());
        follower.outcomes.extend(outcomes);
        while follower.outcomes.len() > OUTCOMES {
            follower.outcomes.pop_front();
        }
    }

    /// All that are known, by name.
    #[must_use]
    pub fn followers(&self) -> BTreeMap<String, Follower> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

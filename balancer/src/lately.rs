//! What the clients of each frontend got in the last minute: a task looks at the counters once a
//! second, so that the data path only counts.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster::recent::{LastMinute, Traffic};

use crate::stats::{FrontendCounts, PerWorker, Uptime};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// The last minute of every frontend. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lately {
    uptime: Uptime,
    /// By name of the frontend, with the counters that were looked at: another listener of the name
    /// has others.
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

#[derive(Debug)]
struct Seen {
    counts: Arc<PerWorker<FrontendCounts>>,
    minute: LastMinute,
}

impl Lately {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(uptime: Uptime) -> Self {
        Self { uptime, seen: Arc::default() }
    }

    fn second(&self) -> u64 {
        self.uptime.millis(relay::clock::now()) / 1000
    }

    /// What came to one frontend.
    #[must_use]
    pub fn of(&self, name: &str, counts: &Arc<PerWorker<FrontendCounts>>) -> Traffic {
        let (second, requests, failed) =
            (self.second(), counts.sum(|it| &it.requests), counts.sum(|it| &it.failed));
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(name).filter(|seen| Arc::ptr_eq(&seen.counts, counts)) {
            Some(seen) => seen.minute.until(second, requests, failed),
            // It opened less than a second ago.
            None => Traffic { seconds: 0, requests, failed },
        }
    }

    /// Looks at all counters once, and forgets frontends that are gone.
    fn look(&self, frontends: &[(String, Arc<PerWorker<FrontendCounts>>)]) {
        let second = self.second();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|name, seen| {
            frontends
                .iter()
                .any(|(known, counts)| known == name && Arc::ptr_eq(counts, &seen.counts))
        });
        for (name, counts) in frontends {
            let minute = match seen.entry(name.clone()) {
                Entry::Occupied(known) => &mut known.into_mut().minute,
                Entry::Vacant(new) => {
                    &mut new
                        .insert(Seen {
                            counts: Arc::clone(counts),
                            minute: LastMinute::starting(second.saturating_sub(1)),
                        })
                        .minute
                }
            };
            minute.look(second, counts.sum(|it| &it.requests), counts.sum(|it| &it.failed));
        }
    }
}

/// Looks at these frontends for ever.
pub async fn follow(
    lately: Lately,
    frontends: impl Fn() -> Vec<(String, Arc<PerWorker<FrontendCounts>>)>,
) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        lately.look(&frontends());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_listener_of_the_name_begins_at_nothing() {
        let lately = Lately::new(Uptime::starting(relay::clock::now()));
        let counts = || Arc::new(PerWorker::<FrontendCounts>::new(1));
        let (old, new) = (counts(), counts());
        old.of(0).requests.add(7);
        old.of(0).failed.add(3);
        let told = |it: &Arc<PerWorker<FrontendCounts>>| {
            (lately.of("web", it).requests, lately.of("web", it).failed)
        };
        assert_eq!(told(&old), (7, 3), "before the first look");
        lately.look(&[("web".to_owned(), Arc::clone(&old))]);
        assert_eq!(told(&old), (7, 3));
        new.of(0).requests.up();
        assert_eq!(told(&new), (1, 0));
        lately.look(&[("web".to_owned(), Arc::clone(&new))]);
        assert_eq!(told(&new), (1, 0));
        lately.look(&[]);
        assert!(lately.seen.lock().unwrap().is_empty());
    }
}

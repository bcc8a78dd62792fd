//! Who hears what follows from a batch: the feed, the processes themselves, the log, the metrics.

use std::{collections::BTreeMap, time::Duration};

use cluster::Service;
use tokio::{sync::watch, time::Instant};

use super::Owned;
use crate::{
    membership::{Changes, Holding},
    metrics,
};

/// How often the gauges are set, and how old a lease or an opinion in a list may be: every member
/// renews its lease all the time, and a snapshot for each of them would cost more than all the
/// rest.
const REFRESH: Duration = Duration::from_secs(2);

impl Owned<'_> {
    pub(super) fn tell(&mut self, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        let upserted: Vec<_> =
            changes.upserted.iter().filter_map(|name| self.membership.status(name)).collect();
        let guards: Vec<_> = changes
            .guards
            .iter()
            .filter_map(|service| self.membership.guards().get(service).cloned())
            .collect();
        for (_, name) in &changes.removed {
            self.followers.remove(name);
        }
        for status in &upserted {
            self.tell_follower(&status.instance.name);
        }
        for name in &changes.moved {
            if let Some(status) = self.membership.status(name) {
                tracing::info!(
                    name,
                    service = %status.instance.service,
                    state = metrics::state(status.state),
                    reasons = status.reasons.join("; "),
                    "state",
                );
                metrics::transition(&status.instance, status.state);
            }
        }
        for guard in &guards {
            if guard.holding {
                tracing::warn!(service = %guard.service, "{}", guard.explanation);
            }
            metrics::guard(guard);
        }
        self.feed.publish(upserted, &changes.removed, guards);
    }

    pub(super) fn tell_follower(&mut self, name: &str) {
        let (Some(sender), Some(holding)) =
            (self.followers.get(name), self.membership.holding(name))
        else {
            return;
        };
        sender.send_if_modified(|known| std::mem::replace(known, holding) != holding);
        if sender.is_closed() {
            self.followers.remove(name);
        }
    }

    pub(super) fn follow(&mut self, name: String) -> Option<watch::Receiver<Holding>> {
        let holding = self.membership.holding(&name)?;
        Some(self.followers.entry(name).or_insert_with(|| watch::Sender::new(holding)).subscribe())
    }

    /// Lists say when leases end and how old opinions are, and gauges how many there are: once in a
    /// while is enough for both.
    pub(super) fn refresh(&mut self) {
        if self.refreshed_at.is_some_and(|at| at.elapsed() < REFRESH) {
            return;
        }
        self.refreshed_at = Some(Instant::now());
        let refreshed = self.membership.take_refreshed();
        let statuses = refreshed.iter().filter_map(|name| self.membership.status(name)).collect();
        self.feed.refresh(statuses, self.membership.leases());
        let mut counts: BTreeMap<(Service, &'static str), u32> = BTreeMap::new();
        for (service, state) in self.membership.states() {
            *counts.entry((service, metrics::state(state))).or_default() += 1;
        }
        metrics::instances(&counts);
    }
}

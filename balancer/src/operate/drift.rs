//! What was set here while the registry was out of reach: offered to it again, and forgotten where
//! that is wanted.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{Operator, registry};
use crate::membership::Desired;

/// How often a change that the registry does not know yet is offered to it.
const OFFER_EVERY: Duration = Duration::from_secs(3);

impl Operator {
    /// Writes what was set here while the registry was out of reach through to it, once it can be.
    /// What could not be for as long as `expires` is forgotten; none: it is kept.
    pub async fn offer_drift(self, expires: Option<Duration>) {
        let mut drift = self.view.roster.drift();
        let mut known = BTreeMap::<String, (Desired, Instant)>::new();
        loop {
            let kept = drift.borrow_and_update().clone();
            let now = Instant::now();
            // Another change begins anew.
            let since = |(server, desired): &(String, Desired)| {
                let before = known.get(server).filter(|(before, _)| before == desired);
                (server.clone(), (*desired, before.map_or(now, |(_, since)| *since)))
            };
            known = kept.iter().map(since).collect();
            for (server, (desired, since)) in &known {
                let age = now.duration_since(*since);
                if expires.is_some_and(|expires| age >= expires) {
                    tracing::warn!(
                        server,
                        "what was set here is forgotten: the registry was out of reach for too long"
                    );
                    self.view.roster.written(server).await;
                } else {
                    self.offer(server, *desired).await;
                }
            }
            let pause = async {
                if kept.is_empty() {
                    std::future::pending().await
                } else {
                    tokio::time::sleep(OFFER_EVERY).await
                }
            };
            tokio::select! {
                changed = drift.changed() => if changed.is_err() { return },
                () = pause => {}
            }
        }
    }

    async fn offer(&self, server: &str, desired: Desired) {
        match self
            .registry
            .write(server, desired, "set on a balancer while the registry was out of reach", true)
            .await
        {
            Ok(()) => self.view.roster.written(server).await,
            Err(registry::Error::OutOfReach(_)) => {}
            Err(registry::Error::Refused(why)) => {
                tracing::warn!(
                    server,
                    "the registry refuses what was set here, so it is dropped: {why}"
                );
                self.view.roster.written(server).await;
            }
        }
    }
}

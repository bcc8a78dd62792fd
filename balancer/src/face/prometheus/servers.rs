//! What is counted of servers. The recorder finds a metric by its name and labels; with a thousand
//! servers that costs more than all else that is done once a second, so that it is asked once for
//! each server.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, counter, gauge};

use super::as_float;
use crate::{
    metrics::{
        SERVER_ACTIVE, SERVER_EJECTIONS, SERVER_FAILURES, SERVER_OPENED, SERVER_OUTLIERS,
        SERVER_REQUESTS, SERVER_RETRIES, SERVER_REUSED, SERVER_USABLE,
    },
    snapshot::{Listed, Pool},
    standing::Standing,
    stats::ServerTotals,
};

/// The recorder's handles of the servers that are listed, by their keys.
#[derive(Default)]
pub struct Servers(HashMap<u64, Handles>);

impl Servers {
    /// Copies what is counted of the servers of these pools, and forgets those that are gone.
    pub fn copy(&mut self, pools: &[Arc<Pool>]) {
        let mut before = std::mem::take(&mut self.0);
        for pool in pools {
            for listed in &pool.servers {
                let new = || Handles::of(&pool.settings.name, &listed.server.name);
                let handles = before.remove(&listed.server.key).unwrap_or_else(new);
                handles.set(listed);
                self.0.insert(listed.server.key, handles);
            }
        }
    }
}

/// Of one server.
struct Handles {
    requests: Counter,
    failures: Counter,
    retries: Counter,
    opened: Counter,
    reused: Counter,
    ejections: Counter,
    outliers: Counter,
    active: Gauge,
    usable: Gauge,
}

impl Handles {
    fn of(backend: &str, server: &str) -> Self {
        let labels = || [("backend", backend.to_owned()), ("server", server.to_owned())];
        let counter = |name: &'static str| counter!(name, &labels());
        let gauge = |name: &'static str| gauge!(name, &labels());
        Self {
            requests: counter(SERVER_REQUESTS),
            failures: counter(SERVER_FAILURES),
            retries: counter(SERVER_RETRIES),
            opened: counter(SERVER_OPENED),
            reused: counter(SERVER_REUSED),
            ejections: counter(SERVER_EJECTIONS),
            outliers: counter(SERVER_OUTLIERS),
            active: gauge(SERVER_ACTIVE),
            usable: gauge(SERVER_USABLE),
        }
    }

    fn set(&self, listed: &Listed) {
        let tally = &listed.server.tally;
        let (totals, checks) = (ServerTotals::of(&tally.counts), tally.checks.totals());
        self.requests.absolute(totals.requests);
        self.failures.absolute(totals.failures);
        self.retries.absolute(totals.retries_away);
        self.opened.absolute(totals.connections_opened);
        self.reused.absolute(totals.connections_reused);
        self.ejections.absolute(checks.ejections);
        self.outliers.absolute(checks.outliers);
        self.active.set(as_float(totals.active_requests));
        self.usable.set(if listed.judgement.standing == Standing::Usable { 1.0 } else { 0.0 });
    }
}

//! Every metric of this crate. `/metrics` of the admin port shows them.

use std::{collections::BTreeMap, time::Duration};

use cluster::{Instance, PoolGuard, Service, State};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Instances listed, by `service` and `state`.
pub const INSTANCES: &str = "shoal_registry_instances";
/// 1 while the plausibility guard holds losses of `service` back.
pub const GUARD_HOLDING: &str = "shoal_registry_guard_holding";
/// Losses held back, by `service`.
pub const GUARD_HELD: &str = "shoal_registry_guard_held";
/// State changes, by `service` and `state` (the new one).
pub const TRANSITIONS: &str = "shoal_registry_transitions_total";
/// Commands, by `kind` and `result` (applied, refused).
pub const COMMANDS: &str = "shoal_registry_commands_total";
/// Time to write one transaction to the store, in seconds.
pub const STORE_WRITE: &str = "shoal_registry_store_write_seconds";
/// Transactions that failed; what they held is written with the next.
pub const STORE_FAILURES: &str = "shoal_registry_store_failures_total";
/// Times that the registry had been away and forgave leases.
pub const FORGIVEN: &str = "shoal_registry_leases_forgiven_total";
/// Watch streams open now.
pub const WATCHERS: &str = "shoal_registry_watchers";
/// KeepAlive streams open now.
pub const HOLDERS: &str = "shoal_registry_keepalive_streams";
/// Streams of proxy-nodes that follow the log of purges.
pub const PURGE_FOLLOWERS: &str = "shoal_registry_purge_followers";
/// Purges in the log.
pub const PURGES_LOGGED: &str = "shoal_registry_purges_logged";
/// Snapshots encoded for watchers that were new or too far behind.
pub const SNAPSHOTS: &str = "shoal_registry_snapshots_total";

/// Describes them all.
pub fn describe() {
    describe_gauge!(INSTANCES, "Instances listed, by service and state");
    describe_gauge!(GUARD_HOLDING, "1 while the plausibility guard holds losses back");
    describe_gauge!(GUARD_HELD, "Losses that the plausibility guard holds back");
    describe_counter!(TRANSITIONS, "State changes, by service and new state");
    describe_counter!(COMMANDS, "Commands, by kind and result");
    describe_histogram!(STORE_WRITE, "Seconds to write one transaction to the store");
    describe_counter!(STORE_FAILURES, "Transactions that failed");
    describe_counter!(FORGIVEN, "Times that the registry had been away and forgave leases");
    describe_gauge!(WATCHERS, "Watch streams open now");
    describe_gauge!(HOLDERS, "KeepAlive streams open now");
    describe_gauge!(PURGE_FOLLOWERS, "Proxy-nodes that follow the log of purges");
    describe_gauge!(PURGES_LOGGED, "Purges in the log");
    describe_counter!(SNAPSHOTS, "Snapshots encoded for watchers");
}

const STATES: [(State, &str); 7] = [
    (State::Starting, "starting"),
    (State::Usable, "usable"),
    (State::Suspect, "suspect"),
    (State::Critical, "critical"),
    (State::Lost, "lost"),
    (State::Draining, "draining"),
    (State::Maintenance, "maintenance"),
];

/// The name of a state in labels.
#[must_use]
pub fn state(of: State) -> &'static str {
    STATES.iter().find(|(state, _)| *state == of).map_or("unknown", |(_, name)| name)
}

/// Sets the gauges of instances.
pub(crate) fn instances(counts: &BTreeMap<(Service, &'static str), u32>) {
    for service in Service::ALL {
        for (_, state) in STATES {
            let count = counts.get(&(service, state)).copied().unwrap_or(0);
            gauge!(INSTANCES, "service" => service.as_str(), "state" => state).set(count);
        }
    }
}

pub(crate) fn guard(guard: &PoolGuard) {
    gauge!(GUARD_HOLDING, "service" => guard.service.as_str()).set(if guard.holding {
        1.0
    } else {
        0.0
    });
    gauge!(GUARD_HELD, "service" => guard.service.as_str())
        .set(u32::try_from(guard.held.len()).unwrap_or(u32::MAX));
}

pub(crate) fn transition(instance: &Instance, to: State) {
    counter!(TRANSITIONS, "service" => instance.service.as_str(), "state" => state(to))
        .increment(1);
}

pub(crate) fn command(kind: &'static str, applied: bool) {
    counter!(COMMANDS, "kind" => kind, "result" => if applied { "applied" } else { "refused" })
        .increment(1);
}

pub(crate) fn written(within: Duration) {
    histogram!(STORE_WRITE).record(within.as_secs_f64());
}

pub(crate) fn store_failed() {
    counter!(STORE_FAILURES).increment(1);
}

pub(crate) fn forgiven() {
    counter!(FORGIVEN).increment(1);
}

pub(crate) fn purges_logged(count: usize) {
    gauge!(PURGES_LOGGED).set(u32::try_from(count).unwrap_or(u32::MAX));
}

pub(crate) fn snapshot_sent() {
    counter!(SNAPSHOTS).increment(1);
}

/// Counts one open stream for as long as it lives.
#[derive(Debug)]
pub(crate) struct Open(&'static str);

impl Open {
    pub(crate) fn stream(name: &'static str) -> Self {
        gauge!(name).increment(1);
        Self(name)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1);
    }
}

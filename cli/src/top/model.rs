//! What `shoal top` shows at one moment: rows with their numbers, from what processes told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{InstanceStatus, Service, State, leaving};
use proto::{
    balancer::{Frontend, Server, ServerCounters, Standing, Stats},
    proxy::GetStatsResponse,
};
use serde::Serialize;

use super::sample::{self, Snapshot, ratio};
use crate::{
    alarm::{Told, served},
    status::{shunned, state_name},
};

/// Everything shown.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Model {
    pub total: Total,
    pub balancers: Vec<BalancerRow>,
    pub servers: Vec<ServerRow>,
    pub nodes: Vec<NodeRow>,
    /// Who does not answer, and since when nothing is known of it.
    pub silent: Vec<Silent>,
    /// Clients that are not served.
    pub alarms: Vec<Told>,
    /// Instances without which clients would not be served any more.
    #[serde(skip)]
    pub last: BTreeSet<String>,
}

/// The cluster as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Total {
    /// Requests a second at all frontends.
    pub requests_per_second: Option<f64>,
    /// Requests a second that no server could answer, refused ones not counted.
    pub failed_per_second: Option<f64>,
    /// Client connections at the frontends.
    pub connections: u64,
    /// Tunnels through all nodes.
    pub tunnels: u64,
    /// Of what the caches could have answered at this moment.
    pub hit_ratio: Option<f64>,
    pub nodes_usable: usize,
    pub nodes: usize,
}

/// One balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BalancerRow {
    pub name: String,
    pub state: String,
    pub requests_per_second: Option<f64>,
    pub failed_per_second: Option<f64>,
    pub connections: u64,
    pub requests: u64,
    pub failed: u64,
    pub refused: u64,
    /// Tunnels and responses that a server's death cut.
    pub cut: u64,
    /// Age in seconds of what is shown.
    pub age: Option<f64>,
}

/// One server of one backend, as all balancers see it together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServerRow {
    pub backend: String,
    pub name: String,
    pub address: String,
    /// The worst that a balancer thinks of it.
    pub state: &'static str,
    #[serde(skip)]
    pub standing: Standing,
    pub reasons: Vec<String>,
    pub weight: u32,
    /// Being answered now, tunnels included.
    pub current: u64,
    pub requests: u64,
    pub requests_per_second: Option<f64>,
    pub failures: u64,
    pub failures_per_second: Option<f64>,
    pub retries: u64,
    pub retries_per_second: Option<f64>,
    pub ejections: u64,
    /// Until the head of an answer, without the time that its origin took; none while nothing is
    /// answered.
    pub own_milliseconds: Option<f64>,
    /// From the registry, so that it can be drained there.
    pub discovered: bool,
}

/// One proxy-node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeRow {
    pub name: String,
    pub state: String,
    pub reasons: Vec<String>,
    pub requests_per_second: Option<f64>,
    pub errors_per_second: Option<f64>,
    pub hit_ratio: Option<f64>,
    pub memory: Option<u64>,
    pub cache_bytes: u64,
    pub cache_capacity_bytes: u64,
    pub tunnels: u64,
    pub connections: u64,
    pub bytes_per_second: Option<f64>,
    /// Age in seconds of what is shown.
    pub age: Option<f64>,
}

/// A process that does not answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Silent {
    pub name: String,
    /// Seconds since its last answer; none: there was never one.
    pub age: Option<f64>,
    pub why: String,
}

/// Puts together what is shown.
pub fn model(snapshot: &Snapshot) -> Model {
    let listed = snapshot.registry.value().map_or(&[][..], Vec::as_slice);
    let state = |name: &str| Listed {
        status: listed.iter().find(|status| status.instance.name == name),
        stale: snapshot.registry.silent.is_some(),
    };
    let balancers: Vec<_> = snapshot
        .balancers
        .iter()
        .map(|(name, told)| balancer(name, told, state(name), snapshot.taken))
        .collect();
    let nodes: Vec<_> =
        snapshot.nodes.iter().map(|(name, told)| node(name, told, state(name), snapshot)).collect();
    let (total, alarms, last) =
        (total(snapshot, &balancers, &nodes), alarms(snapshot), last(snapshot, listed));
    Model {
        total,
        servers: servers(snapshot),
        silent: silent(snapshot),
        alarms,
        last,
        balancers,
        nodes,
    }
}

/// What nobody may keep quiet about, from those who answer.
fn alarms(snapshot: &Snapshot) -> Vec<Told> {
    fn told<'a, T>((name, told): (&'a String, &'a sample::Told<T>)) -> Option<(&'a str, &'a T)> {
        Some((name.as_str(), told.value().filter(|_| told.silent.is_none())?))
    }
    let served =
        served(snapshot.balancers.iter().filter_map(told), snapshot.nodes.iter().filter_map(told));
    cluster::alarm::alarms(&served).into_iter().map(Told::from).collect()
}

/// Who may not go without a second thought.
fn last(snapshot: &Snapshot, listed: &[InstanceStatus]) -> BTreeSet<String> {
    let told = || snapshot.balancers.values().filter_map(sample::Told::value);
    let used: Vec<_> =
        listed.iter().filter(|status| shunned(told(), &status.instance.name).is_none()).collect();
    let names = used.iter().map(|status| status.instance.name.clone());
    names.filter(|name| leaving::is_last(used.iter().copied(), name)).collect()
}

/// What the registry lists of somebody, and whether that is only remembered.
#[derive(Clone, Copy)]
struct Listed<'a> {
    status: Option<&'a InstanceStatus>,
    stale: bool,
}

fn total(snapshot: &Snapshot, balancers: &[BalancerRow], nodes: &[NodeRow]) -> Total {
    // A node that every balancer finds unwell gets nothing, whatever the registry makes of it.
    let told = || snapshot.balancers.values().filter_map(sample::Told::value);
    let used = |row: &&NodeRow| {
        row.state.trim_end_matches('?') == state_name(State::Usable)
            && shunned(told(), &row.name).is_none()
    };
    let of_caches = |counter: fn(&GetStatsResponse) -> u64| {
        sum(snapshot.nodes.values().map(|told| told.rate(|stats| Some(counter(stats)))))
    };
    Total {
        requests_per_second: sum(balancers.iter().map(|row| row.requests_per_second)),
        failed_per_second: sum(balancers.iter().map(|row| row.failed_per_second)),
        connections: balancers.iter().map(|row| row.connections).sum(),
        tunnels: nodes.iter().map(|row| row.tunnels).sum(),
        hit_ratio: ratio(of_caches(hits), of_caches(|stats| stats.misses)),
        nodes_usable: nodes.iter().filter(used).count(),
        nodes: nodes.len(),
    }
}

/// The sum of what is known; none when nothing is.
fn sum(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(|one, other| one + other)
}

const fn hits(stats: &GetStatsResponse) -> u64 {
    stats.hits.saturating_add(stats.revalidated).saturating_add(stats.collapsed)
}

/// A state that is only remembered has a question mark.
fn word(listed: Listed<'_>) -> String {
    let Some(status) = listed.status else { return "unlisted".to_owned() };
    format!("{}{}", state_name(status.state), if listed.stale { "?" } else { "" })
}

fn balancer(name: &str, told: &sample::Told<Stats>, status: Listed<'_>, now: f64) -> BalancerRow {
    let over = |stats: &Stats, counter: fn(&Frontend) -> u64| {
        stats.frontends.iter().map(counter).sum::<u64>()
    };
    let count = |counter| told.value().map_or(0, |stats| over(stats, counter));
    BalancerRow {
        name: name.to_owned(),
        state: word(status),
        requests_per_second: told.rate(|stats| Some(over(stats, |it| it.requests))),
        failed_per_second: told.rate(|stats| Some(over(stats, |it| it.failed))),
        connections: count(|it| it.active_connections),
        requests: count(|it| it.requests),
        failed: count(|it| it.failed),
        refused: count(|it| it.refused),
        cut: count(|it| it.cut_tunnels + it.cut_responses),
        age: told.age(now),
    }
}

fn node(
    name: &str,
    told: &sample::Told<GetStatsResponse>,
    status: Listed<'_>,
    snapshot: &Snapshot,
) -> NodeRow {
    let value = told.value().cloned().unwrap_or_default();
    let rate = |counter: fn(&GetStatsResponse) -> u64| told.rate(|stats| Some(counter(stats)));
    NodeRow {
        name: name.to_owned(),
        state: word(status),
        reasons: status.status.map(|status| status.reasons.clone()).unwrap_or_default(),
        requests_per_second: rate(|stats| stats.requests),
        errors_per_second: rate(|stats| stats.errors),
        hit_ratio: ratio(rate(hits), rate(|stats| stats.misses)),
        memory: snapshot.memory.get(name).copied(),
        cache_bytes: value.cache_bytes,
        cache_capacity_bytes: value.cache_capacity_bytes,
        tunnels: value.active_tunnels,
        connections: value.active_connections,
        bytes_per_second: rate(|stats| stats.bytes_to_clients),
        age: told.age(snapshot.taken),
    }
}

fn servers(snapshot: &Snapshot) -> Vec<ServerRow> {
    let mut rows = BTreeMap::<(String, String), ServerRow>::new();
    for told in snapshot.balancers.values() {
        for backend in told.value().iter().flat_map(|stats| &stats.backends) {
            for server in &backend.servers {
                let row = rows.entry((backend.name.clone(), server.name.clone())).or_default();
                add(row, &backend.name, server, told);
            }
        }
    }
    rows.into_values().collect()
}

/// Adds what one balancer tells of a server.
fn add(row: &mut ServerRow, backend: &str, server: &Server, told: &sample::Told<Stats>) {
    let counters = server.counters.unwrap_or_default();
    let found = |stats: &Stats| -> Option<ServerCounters> {
        let backend = stats.backends.iter().find(|it| it.name == backend)?;
        backend.servers.iter().find(|it| it.name == server.name)?.counters
    };
    let rate =
        |counter: fn(&ServerCounters) -> u64| told.rate(|stats| found(stats).as_ref().map(counter));
    if row.name.is_empty() || rank(server.standing()) > rank(row.standing) {
        (row.standing, row.state) = (server.standing(), standing_name(server.standing()));
        row.reasons.clone_from(&server.reasons);
    }
    (row.backend, row.name, row.address) =
        (backend.to_owned(), server.name.clone(), server.address.clone());
    (row.weight, row.discovered) = (server.weight, server.discovered);
    row.current += counters.active_requests + counters.active_tunnels;
    row.requests += counters.requests;
    row.failures += counters.failures;
    row.retries += counters.retries_away;
    row.ejections += counters.ejections;
    let plus = |sum: Option<f64>, more: Option<f64>| self::sum([sum, more].into_iter());
    row.requests_per_second = plus(row.requests_per_second, rate(|it| it.requests));
    row.failures_per_second = plus(row.failures_per_second, rate(|it| it.failures));
    row.retries_per_second = plus(row.retries_per_second, rate(|it| it.retries_away));
    let moved = |counter: fn(&ServerCounters) -> u64| {
        told.moved(|stats| found(stats).as_ref().map(counter)).map(|(moved, _)| moved)
    };
    if let (Some(answers @ 1..), Some(own)) =
        (moved(|it| it.answers), moved(|it| it.answers_own_microseconds))
    {
        #[allow(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let own = own as f64 / answers as f64 / 1e3;
        // Two balancers may see it differently; the slower view is the one to worry about.
        row.own_milliseconds = Some(row.own_milliseconds.map_or(own, |known| known.max(own)));
    }
}

const fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Unspecified => 0,
        Standing::Usable => 1,
        Standing::Last => 2,
        Standing::Excluded => 3,
        Standing::Unwell => 4,
    }
}

const fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Unspecified => "unknown",
        Standing::Usable => "usable",
        Standing::Last => "last",
        Standing::Unwell => "unwell",
        Standing::Excluded => "excluded",
    }
}

fn silent(snapshot: &Snapshot) -> Vec<Silent> {
    fn of<T>(name: &str, told: &sample::Told<T>, now: f64) -> Option<Silent> {
        Some(Silent { name: name.to_owned(), age: told.age(now), why: told.silent.clone()? })
    }
    let registry = of("registry", &snapshot.registry, snapshot.taken);
    let balancers =
        snapshot.balancers.iter().filter_map(|(name, told)| of(name, told, snapshot.taken));
    let nodes = snapshot.nodes.iter().filter_map(|(name, told)| of(name, told, snapshot.taken));
    registry.into_iter().chain(balancers).chain(nodes).collect()
}

/// The instances of a service among those listed.
pub fn of(listed: &[InstanceStatus], service: Service) -> impl Iterator<Item = &InstanceStatus> {
    listed.iter().filter(move |status| status.instance.service == service)
}

#[cfg(test)]
pub mod tests;

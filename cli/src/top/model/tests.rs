use proto::balancer::Backend;

use super::*;
use crate::top::sample::Told;

fn told<T>(answers: Vec<(T, f64)>) -> Told<T> {
    let mut told = Told::default();
    answers.into_iter().for_each(|(value, at)| told.answered(value, at));
    told
}

fn stats(requests: u64, servers: Vec<Server>) -> Stats {
    let frontend = Frontend {
        requests,
        failed: requests / 10,
        active_connections: 4,
        cut_tunnels: 1,
        cut_responses: 2,
        ..Frontend::default()
    };
    let backend = Backend { name: "squid_servers".into(), servers, ..Backend::default() };
    Stats { frontends: vec![frontend], backends: vec![backend], ..Stats::default() }
}

fn server(name: &str, standing: Standing, requests: u64) -> Server {
    let counters = ServerCounters {
        requests,
        failures: requests / 100,
        active_requests: 2,
        active_tunnels: 1,
        ejections: 3,
        answers: requests,
        answers_own_microseconds: requests * 1500,
        ..ServerCounters::default()
    };
    Server {
        name: name.into(),
        address: "10.0.0.1:3129".into(),
        standing: standing.into(),
        weight: 1,
        counters: Some(counters),
        discovered: true,
        reasons: vec![format!("{standing:?}")],
        ..Server::default()
    }
}

fn node_stats(requests: u64, hits: u64) -> GetStatsResponse {
    GetStatsResponse {
        requests,
        hits,
        misses: requests - hits,
        active_tunnels: 5,
        active_connections: 6,
        cache_bytes: 7,
        cache_capacity_bytes: 70,
        ..Default::default()
    }
}

/// Two balancers, two nodes, two answers of each.
pub fn snapshot() -> Snapshot {
    use crate::doctor::facts::tests::status;
    let both = |first: Stats, second: Stats| told(vec![(first, 0.0), (second, 2.0)]);
    let usable = |requests| {
        vec![server("n-1", Standing::Usable, requests), server("n-2", Standing::Usable, requests)]
    };
    let unwell = |requests| {
        vec![server("n-1", Standing::Usable, requests), server("n-2", Standing::Unwell, requests)]
    };
    let mut lost = status(Service::ProxyNode, "n-2");
    lost.state = State::Lost;
    lost.reasons = vec!["its lease lapsed".into()];
    let listed = vec![
        status(Service::Balancer, "b-1"),
        status(Service::Balancer, "b-2"),
        status(Service::ProxyNode, "n-1"),
        lost,
    ];
    let mut silent = told(vec![(node_stats(10, 5), 0.0)]);
    silent.silent("no answer".into());
    Snapshot {
        taken: 3.0,
        registry: told(vec![(listed, 2.0)]),
        balancers: [
            ("b-1".to_owned(), both(stats(100, usable(100)), stats(300, usable(200)))),
            ("b-2".to_owned(), both(stats(0, usable(100)), stats(100, unwell(150)))),
        ]
        .into(),
        nodes: [
            ("n-1".to_owned(), told(vec![(node_stats(100, 20), 0.0), (node_stats(200, 80), 2.0)])),
            ("n-2".to_owned(), silent),
        ]
        .into(),
        memory: [("n-1".to_owned(), 1 << 20)].into(),
    }
}

#[test]
fn balancers_and_their_sum() {
    let model = model(&snapshot());
    let first = &model.balancers[0];
    assert_eq!(
        (
            first.name.as_str(),
            first.state.as_str(),
            first.requests_per_second,
            first.failed_per_second
        ),
        ("b-1", "usable", Some(100.0), Some(10.0))
    );
    assert_eq!(
        (first.connections, first.requests, first.failed, first.cut, first.age),
        (4, 300, 30, 3, Some(1.0))
    );
    let total = &model.total;
    assert_eq!((total.requests_per_second, total.connections, total.tunnels), (Some(150.0), 8, 10));
    assert_eq!((total.nodes_usable, total.nodes), (1, 2));
    assert_eq!(
        total.hit_ratio,
        Some(0.6),
        "60 of 100 requests in the last two seconds, whatever was before"
    );
}

#[test]
fn servers_are_what_all_balancers_see_together() {
    let model = model(&snapshot());
    assert_eq!(model.servers.len(), 2);
    let (first, second) = (&model.servers[0], &model.servers[1]);
    assert_eq!(
        (first.name.as_str(), first.state, first.current, first.requests),
        ("n-1", "usable", 6, 350)
    );
    assert_eq!(
        (first.requests_per_second, first.failures_per_second, first.ejections),
        (Some(75.0), Some(0.5), 6)
    );
    assert_eq!(first.own_milliseconds, Some(1.5));
    assert_eq!(
        (second.state, second.reasons.as_slice()),
        ("unwell", &["Unwell".to_owned()][..]),
        "the worst opinion is shown"
    );
}

#[test]
fn a_node_that_every_balancer_finds_unwell_is_not_usable() {
    let unwell = || told(vec![(stats(0, vec![server("n-1", Standing::Unwell, 0)]), 0.0)]);
    let mut snapshot = snapshot();
    snapshot.balancers.insert("b-1".to_owned(), unwell());
    assert_eq!(model(&snapshot).total.nodes_usable, 1, "another one uses it");
    snapshot.balancers.insert("b-2".to_owned(), unwell());
    assert_eq!(model(&snapshot).total.nodes_usable, 0);
    snapshot.balancers.clear();
    assert_eq!(model(&snapshot).total.nodes_usable, 1, "nobody says otherwise");
}

#[test]
fn what_the_registry_said_last_is_marked() {
    let mut snapshot = snapshot();
    snapshot.registry.silent("refused".into());
    let model = model(&snapshot);
    assert_eq!(
        model.nodes.iter().map(|node| node.state.as_str()).collect::<Vec<_>>(),
        ["usable?", "lost?"]
    );
    assert_eq!(model.balancers[0].state, "usable?");
    assert_eq!((model.total.nodes_usable, model.total.nodes), (1, 2), "as far as is known");
    assert_eq!(
        model.silent[0],
        Silent { name: "registry".into(), age: Some(1.0), why: "refused".into() }
    );
}

#[test]
fn clients_that_are_not_served_are_an_alarm() {
    let mut snapshot = snapshot();
    assert_eq!(model(&snapshot).alarms, []);
    let drained = || {
        let mut stats = stats(10, vec![server("n-1", Standing::Excluded, 0)]);
        stats.frontends[0].backend = "squid_servers".into();
        stats.frontends[0].last_minute =
            Some(proto::balancer::LastMinute { seconds: 60, requests: 10, failed: 10 });
        told(vec![(stats, 2.0)])
    };
    snapshot.balancers.insert("b-1".to_owned(), drained());
    snapshot.balancers.insert("b-2".to_owned(), drained());
    let alarms = model(&snapshot).alarms;
    assert_eq!(
        alarms.iter().map(|told| told.severity).collect::<Vec<_>>(),
        ["critical", "critical"]
    );
    assert!(
        alarms[0].text.contains("backend squid_servers has no usable server")
            && alarms[1].text.starts_with("20 of 20"),
        "{alarms:?}"
    );
    // What somebody said before they fell silent is no alarm of now.
    for told in snapshot.balancers.values_mut() {
        told.silent("no answer".into());
    }
    assert_eq!(model(&snapshot).alarms, []);
}

#[test]
fn who_is_the_last_one() {
    let mut snapshot = snapshot();
    assert_eq!(model(&snapshot).last, ["n-1".to_owned()].into());
    let mut listed = snapshot.registry.value().unwrap().clone();
    listed[3].state = State::Usable;
    snapshot.registry.answered(listed, 2.0);
    assert_eq!(model(&snapshot).last, BTreeSet::new());
    // Usable for the registry alone.
    let unwell = || told(vec![(stats(0, vec![server("n-2", Standing::Unwell, 0)]), 0.0)]);
    snapshot.balancers = [("b-1".to_owned(), unwell()), ("b-2".to_owned(), unwell())].into();
    assert_eq!(model(&snapshot).last, ["n-1".to_owned()].into());
}

#[test]
fn nodes_and_who_is_silent() {
    let model = model(&snapshot());
    let (first, second) = (&model.nodes[0], &model.nodes[1]);
    assert_eq!(
        (
            first.requests_per_second,
            first.hit_ratio,
            first.memory,
            first.tunnels,
            first.connections
        ),
        (Some(50.0), Some(0.6), Some(1 << 20), 5, 6)
    );
    assert_eq!(
        (second.state.as_str(), second.requests_per_second, second.age),
        ("lost", None, Some(3.0))
    );
    assert_eq!(
        model.silent,
        [Silent { name: "n-2".into(), age: Some(3.0), why: "no answer".into() }]
    );
}

#[test]
fn nothing_is_known_at_first() {
    let mut empty = Snapshot::default();
    empty.registry.silent("refused".into());
    empty.nodes.insert("n-1".into(), Told::default());
    let model = model(&empty);
    assert_eq!(model.total, Total { nodes: 1, ..Total::default() });
    assert_eq!((model.nodes[0].state.as_str(), model.nodes[0].age), ("unlisted", None));
    assert_eq!(model.silent[0].name, "registry");
}

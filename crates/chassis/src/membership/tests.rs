use cluster::{AdminState, Instance, InstanceId};
use jiff::Timestamp;

use super::*;

fn status(name: &str, service: Service, state: State) -> InstanceStatus {
    let endpoints = [
        ("grpc", format!("10.0.0.1:{}", 7000 + name.len())),
        ("proxy", format!("{name}.example:3128")),
    ];
    InstanceStatus {
        instance: Instance {
            service,
            name: name.to_owned(),
            id: InstanceId(crate::random::id()),
            generation: 1,
            endpoints: endpoints
                .into_iter()
                .map(|(name, address)| (name.to_owned(), address))
                .collect(),
            datacenter: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            weight: 1,
            version: "1".to_owned(),
            applied_revision: String::new(),
            applied_hash: String::new(),
        },
        admin_state: AdminState::Ready,
        state,
        reasons: Vec::new(),
        registered_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        lease_expires_at: Timestamp::UNIX_EPOCH,
        effective_weight: 1,
        opinions: Vec::new(),
        withheld_state: None,
    }
}

fn guard(holding: bool) -> PoolGuard {
    PoolGuard {
        service: Service::ProxyNode,
        holding,
        held: Vec::new(),
        members: 2,
        well: 1,
        explanation: String::new(),
    }
}

fn event(change: Change) -> Event {
    Event { change, resume_token: "t".to_owned() }
}

fn delta(upserted: Vec<InstanceStatus>, removed: &[&str], guards: Vec<PoolGuard>) -> Event {
    event(Change::Delta {
        upserted,
        removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        guards,
    })
}

#[test]
fn a_snapshot_replaces_and_deltas_change() {
    let (a, b) = (
        status("a", Service::ProxyNode, State::Usable),
        status("bb", Service::Balancer, State::Usable),
    );
    let snapshot = |instances: Vec<_>| {
        event(Change::Snapshot {
            instances,
            guards: vec![guard(false)],
            cluster_id: "c".to_owned(),
            epoch: 1,
        })
    };
    let mut membership = Membership::default();
    assert!(membership.apply(snapshot(vec![a.clone()])));
    assert!(!membership.apply(snapshot(vec![a.clone()])), "the same again changes nothing");
    assert!(!membership.apply(delta(vec![], &[], vec![])), "a sign of life changes nothing");
    assert!(membership.apply(delta(vec![b.clone()], &["nobody"], vec![guard(true)])));
    assert_eq!(membership.instances.keys().collect::<Vec<_>>(), ["a", "bb"]);
    assert_eq!(membership.guards, [guard(true)], "one guard a service");
    let gone = status("a", Service::ProxyNode, State::Lost);
    assert!(
        membership.apply(delta(vec![gone], &["a"], vec![])),
        "removed and there again in one message: there"
    );
    assert_eq!(membership.instances["a"].state, State::Lost);
    assert!(membership.apply(snapshot(vec![b])));
    assert_eq!(membership.of(Service::ProxyNode).count(), 0);
}

#[test]
fn what_is_written_is_read_again() {
    let mut membership = Membership { live: true, ..Membership::default() };
    membership.apply(delta(
        vec![status("a", Service::ProxyNode, State::Suspect)],
        &[],
        vec![guard(true)],
    ));
    let text = serde_json::to_vec(&membership).unwrap();
    let read: Membership = serde_json::from_slice(&text).unwrap();
    assert_eq!(read, Membership { live: false, ..membership }, "what was remembered is not live");
}

#[test]
fn control_endpoints_are_found_by_address_and_by_name() {
    let mut membership = Membership::default();
    let mut odd = status("a", Service::ProxyNode, State::Lost);
    odd.instance.endpoints.insert("relay".to_owned(), "Full.Example.:3129".to_owned());
    odd.instance.endpoints.insert("admin".to_owned(), "[::ffff:10.0.0.2]:7102".to_owned());
    membership.apply(delta(vec![odd], &[], vec![]));
    let denied = membership.control_endpoints();
    for (host, port, expected) in [
        ("10.0.0.1", 7001, true),
        ("::ffff:10.0.0.1", 7001, true),
        ("10.0.0.1", 7002, false),
        ("a.example", 3128, true),
        ("A.EXAMPLE.", 3128, true),
        ("b.example", 3128, false),
        ("full.example", 3129, true),
        ("10.0.0.2", 7102, true),
    ] {
        assert_eq!(denied.contains_name(host, port), expected, "{host}:{port}");
    }
}

#[test]
fn only_the_targets_of_health_checkers_may_be_reached() {
    let mut membership = Membership::default();
    let (mut checker, mut node) = (
        status("c", Service::HealthChecker, State::Usable),
        status("n", Service::ProxyNode, State::Usable),
    );
    checker.instance.endpoints.insert(PROBE_TARGET.to_owned(), "[::ffff:10.0.0.3]:9000".to_owned());
    node.instance.endpoints.insert(PROBE_TARGET.to_owned(), "10.0.0.4:9000".to_owned());
    membership.apply(delta(vec![checker, node], &[], vec![]));
    let denied = membership.control_endpoints();
    assert!(!denied.contains_name("10.0.0.3", 9000));
    assert!(denied.contains_name("10.0.0.4", 9000), "a name alone opens nothing");
    assert_eq!(
        membership.probe_targets(),
        HashMap::from([("10.0.0.3:9000".parse().unwrap(), None)])
    );
}

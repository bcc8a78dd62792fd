use cluster::InstanceStatus;
use cluster::{alarm::Backend, recent::Traffic};
use proto::balancer::{Server, Standing};
use proto::registry::{Instance, State as Wire};

use super::*;

fn status(service: &str, name: &str, endpoint: (&str, &str)) -> InstanceStatus {
    let instance = Instance {
        service: service.into(),
        name: name.into(),
        id: "019d0000-0000-7000-8000-000000000001".into(),
        endpoints: [(endpoint.0.into(), endpoint.1.into()), ("grpc".into(), "127.0.0.1:1".into())]
            .into(),
        applied_revision: "4f2a".into(),
        ..Instance::default()
    };
    let now = Some(Default::default());
    let status = proto::registry::InstanceStatus {
        instance: Some(instance),
        admin_state: proto::registry::AdminState::Ready.into(),
        state: Wire::Usable.into(),
        registered_at: now,
        changed_at: now,
        lease_expires_at: now,
        effective_weight: 1,
        ..Default::default()
    };
    status.try_into().unwrap()
}

fn overview() -> Overview {
    Overview::from(Listing {
        instances: vec![
            status("registry", "registry-1", ("admin", "127.0.0.1:2")),
            status("proxy-node", "proxy-node-1", ("proxy", "127.0.0.1:3128")),
            status("balancer", "balancer-1", ("proxy_frontend", "127.0.0.1:8080")),
        ],
        guards: vec![PoolGuard {
            service: Service::ProxyNode,
            holding: true,
            held: vec!["proxy-node-1".into()],
            members: 1,
            well: 0,
            explanation: "all of them at once".into(),
        }],
        ..Listing::default()
    })
}

#[test]
fn json_has_the_contract_s_fields() {
    let value = serde_json::to_value(overview()).unwrap();
    let first = &value["instances"][0];
    assert_eq!(
        (first["name"].as_str(), first["address"].as_str()),
        (Some("balancer-1"), Some("127.0.0.1:8080"))
    );
    assert_eq!(
        (first["state"].as_str(), first["revision"].as_str()),
        (Some("usable"), Some("4f2a"))
    );
    assert_eq!(first["service"], "balancer");
    assert!(first["reasons"].is_array());
    assert_eq!(value["instances"][1]["address"], "127.0.0.1:3128");
    assert_eq!(value["instances"][2]["address"], "127.0.0.1:1");
}

#[test]
fn a_node_that_every_balancer_finds_unwell_does_not_look_well() {
    let server = |standing: Standing| Server {
        name: "proxy-node-1".into(),
        standing: standing.into(),
        discovered: true,
        reasons: vec!["check failed".into()],
        ..Server::default()
    };
    let stats = |standings: &[Standing]| {
        let servers = standings.iter().map(|standing| server(*standing)).collect();
        Stats {
            backends: vec![proto::balancer::Backend { servers, ..Default::default() }],
            ..Stats::default()
        }
    };
    let unwell = || stats(&[Standing::Unwell]);
    for (balancers, shunned) in [
        (vec![], false),
        (vec![stats(&[])], false),
        (vec![unwell(), stats(&[Standing::Usable])], false),
        (vec![unwell(), unwell()], true),
        (vec![unwell(), stats(&[])], true),
    ] {
        let overview = overview().seen_by(balancers.iter());
        let row = overview.instances.iter().find(|row| row.name == "proxy-node-1").unwrap();
        assert_eq!(
            (overview.shunned.contains(&row.name), row.state),
            (shunned, "usable"),
            "{balancers:?}"
        );
        let text = overview.text();
        assert_eq!(
            text.contains("every balancer finds it unwell: check failed"),
            shunned,
            "{text}"
        );
        assert_eq!(text.contains("  unwell  "), shunned, "{text}");
    }
}

#[test]
fn what_is_remembered_is_not_called_usable() {
    let mut overview = overview().remembered();
    overview.guards.clear();
    let text = overview.text();
    assert!(text.contains("was usable") && !text.contains("  usable"), "{text}");
    let registry = text.lines().find(|line| line.starts_with("registry-1")).unwrap();
    assert!(
        registry.contains("silent")
            && registry.contains("it does not answer")
            && !registry.contains("usable"),
        "{registry}"
    );
    let json = serde_json::to_value(&overview).unwrap();
    let states: Vec<_> = (0..3)
        .map(|row| {
            (
                &json["instances"][row]["name"],
                &json["instances"][row]["state"],
                &json["instances"][row]["stale"],
            )
        })
        .collect();
    assert_eq!(states[2], (&"registry-1".into(), &"silent".into(), &true.into()));
    assert_eq!(states[0], (&"balancer-1".into(), &"usable".into(), &true.into()));
    assert_eq!(overview.worst(), Some(Severity::Critical));
}

#[test]
fn the_exit_code_knows_about_clients() {
    let calm = || {
        let mut calm = overview();
        calm.guards.clear();
        calm
    };
    let served = |usable, requests, failed| Served {
        backends: vec![Backend {
            name: "squid".into(),
            balancer: "balancer-1".into(),
            usable,
            unwell: 0,
            excluded: 1,
        }],
        balancers: vec![("balancer-1".into(), Traffic { seconds: 60, requests, failed })],
        ..Served::default()
    };
    for (served, worst) in [
        (served(1, 100, 0), None),
        (served(1, 1000, 10), Some(Severity::Warning)),
        (served(1, 100, 50), Some(Severity::Critical)),
        (served(0, 0, 0), Some(Severity::Critical)),
        (Served::default(), Some(Severity::Critical)),
    ] {
        assert_eq!(calm().with_alarms(&served).worst(), worst, "{served:?}");
    }
    let text = calm().with_alarms(&served(0, 0, 0)).text();
    assert!(
        text.starts_with("CRITICAL: backend squid has no usable server, 1 drained")
            && text.contains("\n => bring one back"),
        "{text}"
    );
    let in_state = |known, admin_state| {
        let mut overview = calm().with_alarms(&served(1, 0, 0));
        (overview.instances[1].known, overview.instances[1].admin_state) = (known, admin_state);
        overview.worst()
    };
    assert_eq!(in_state(State::Lost, AdminState::Ready), Some(Severity::Warning));
    assert_eq!(
        in_state(State::Draining, AdminState::Ready),
        Some(Severity::Warning),
        "it stops by itself"
    );
    assert_eq!(in_state(State::Draining, AdminState::Drain), None, "as was asked for");
    assert_eq!(in_state(State::Maintenance, AdminState::Maintenance), None);
}

#[test]
fn text_shows_guards_with_their_remedy() {
    let text = overview().text();
    assert!(
        text.contains("balancer-1") && text.contains("shoal node accept-losses proxy-node"),
        "{text}"
    );
}

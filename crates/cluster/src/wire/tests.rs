use crate::status::{InstanceStatus, PoolGuard};
use jiff::Timestamp;

use super::*;

fn instance() -> pb::Instance {
    pb::Instance {
        service: "proxy-node".into(),
        name: "node-1".into(),
        id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
        generation: 3,
        endpoints: [("proxy".to_owned(), "10.0.0.1:3128".to_owned())].into(),
        datacenter: "beijing".into(),
        zone: "a".into(),
        tags: vec!["edge".into()],
        weight: 100,
        version: "0.1.0".into(),
        applied_revision: "r1".into(),
        applied_hash: "00ff".into(),
    }
}

fn opinion() -> pb::Opinion {
    pb::Opinion {
        checker: "checker-1".into(),
        check: "through-proxy".into(),
        target_id: instance().id,
        target_name: "node-1".into(),
        verdict: pb::Verdict::Critical.into(),
        observed_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
        ttl: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        detail: "refused".into(),
        assigned: 3,
    }
}

fn status() -> pb::InstanceStatus {
    let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    pb::InstanceStatus {
        instance: Some(instance()),
        admin_state: pb::AdminState::Drain.into(),
        state: pb::State::Draining.into(),
        reasons: vec!["asked for".into()],
        registered_at: at,
        changed_at: at,
        lease_expires_at: at,
        effective_weight: 7,
        opinions: vec![opinion()],
        withheld_state: pb::State::Lost.into(),
    }
}

#[test]
fn messages_round_trip() {
    let status = status();
    let domain = InstanceStatus::try_from(status.clone()).expect("a good status");
    assert_eq!(pb::InstanceStatus::from(&domain), status);
    let guard = pb::PoolGuard {
        service: "balancer".into(),
        holding: true,
        held: vec!["b".into()],
        members: 2,
        well: 1,
        explanation: "x".into(),
    };
    assert_eq!(
        pb::PoolGuard::from(&PoolGuard::try_from(guard.clone()).expect("a good guard")),
        guard
    );
}

#[test]
fn every_bad_instance_is_named() {
    type Case = (fn(&mut pb::Instance), &'static str);
    let cases: [Case; 14] = [
        (|i| i.service = "squid".into(), "no service named"),
        (|i| i.name = String::new(), "is no name"),
        (|i| i.name = "-node".into(), "is no name"),
        (|i| i.name = "node/../1".into(), "is no name"),
        (|i| i.name = "n".repeat(129), "is no name"),
        (|i| i.id = "1".into(), "is no instance id"),
        (|i| i.id = "67e55044-10b1-426f-9247-bb680e5fe0c8".into(), "is no instance id"),
        (|i| i.weight = 257, "weight 257"),
        (|i| i.zone = "a\nb".into(), "zone"),
        (|i| i.tags = vec!["t".repeat(129)], "a tag"),
        (|i| i.tags = vec![String::new(); 65], "65 tags"),
        (
            |i| i.endpoints = (0..65).map(|n| (format!("e{n}"), "h:1".to_owned())).collect(),
            "65 endpoints",
        ),
        (|i| i.endpoints = [(" ".to_owned(), "h:1".to_owned())].into(), "purpose"),
        (
            |i| i.endpoints = [("grpc".to_owned(), "0.0.0.0:7001".to_owned())].into(),
            "endpoint \"grpc\"",
        ),
    ];
    for (spoil, expected) in cases {
        let mut message = instance();
        spoil(&mut message);
        let problem = Instance::try_from(message).expect_err(expected).to_string();
        assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    }
    assert_eq!(Instance::try_from(None::<pb::Instance>), Err(InvalidInstance::Missing));
}

#[test]
fn addresses() {
    for good in
        ["10.0.0.1:3128", "[::1]:80", "node-1.example.com:1", "localhost:65535", "under_score:7"]
    {
        assert_eq!(address(good.to_owned()).as_deref(), Ok(good));
    }
    for bad in [
        "",
        "10.0.0.1",
        ":80",
        "h:0",
        "h:65536",
        "h:+1",
        "h:",
        "::1:80",
        "[::]:80",
        "0.0.0.0:1",
        "[h]:1",
        "a b:1",
        "300.1.1.1:1",
        "a..b:1",
        "-a:1",
        "h:1:2",
    ] {
        assert!(address(bad.to_owned()).is_err(), "{bad:?} is no address");
    }
}

#[test]
fn every_bad_opinion_is_named() {
    type Case = (fn(&mut pb::Opinion), &'static str);
    let cases: [Case; 8] = [
        (|o| o.checker = String::new(), "checker"),
        (|o| o.check = "a b".into(), "check"),
        (|o| o.target_id = "x".into(), "target"),
        (|o| o.target_name = String::new(), "target"),
        (|o| o.verdict = 0, "verdict 0"),
        (|o| o.verdict = 9, "verdict 9"),
        (
            |o| o.observed_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
            "observed_at",
        ),
        (|o| o.ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 }), "ttl"),
    ];
    for (spoil, expected) in cases {
        let mut message = opinion();
        spoil(&mut message);
        let problem = Opinion::try_from(message).expect_err(expected).to_string();
        assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
    }
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let message = pb::Opinion { detail: "é".repeat(MAX_TEXT), ..opinion() };
    assert_eq!(
        Opinion::try_from(message).expect("a good opinion").detail,
        "é".repeat(MAX_TEXT / 2)
    );
}

#[test]
fn times_before_1970_round_trip() {
    for at in [Timestamp::new(-5, -500_000_000), Timestamp::new(5, 7)] {
        let at = at.expect("in range");
        assert_eq!(from_timestamp(Some(timestamp(at))), Some(at));
    }
}

//! A small cluster for tests.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::{AdminState, Instance, InstanceId, InstanceStatus, Service, State};
use jiff::Timestamp;

use crate::{
    configuration::{
        Answer, AnswerState, Configuration, Follower, Revision, Rollout, RolloutState,
    },
    history::{History, Measure, Meter},
    traffic::{
        Backend, BalancerStats, Finding, Frontend, NodeStats, Server, ServerCounts, Standing,
    },
    view::{Source, View},
};

/// An instance that is well.
pub fn instance(service: Service, name: &str) -> InstanceStatus {
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    InstanceStatus {
        instance: Instance {
            service,
            name: name.into(),
            id: InstanceId("019d0000-0000-7000-8000-000000000001".parse().unwrap()),
            generation: 1,
            endpoints: [("grpc".to_owned(), "127.0.0.1:1".to_owned())].into(),
            datacenter: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            weight: 1,
            version: "0.1.0".into(),
            applied_revision: "4f2a".into(),
            applied_hash: "00".into(),
        },
        admin_state: AdminState::Ready,
        state: State::Usable,
        reasons: vec!["ready".into()],
        registered_at: at,
        changed_at: at,
        lease_expires_at: at,
        effective_weight: 1,
        opinions: Vec::new(),
        withheld_state: None,
    }
}

fn balancer(nodes: &[String]) -> BalancerStats {
    let server = |name: &String| Server {
        name: name.clone(),
        address: "127.0.0.1:3129".into(),
        standing: Standing::Usable,
        reasons: vec!["ready".into()],
        admin: Some(AdminState::Ready),
        weight: 1,
        discovered: true,
        counts: ServerCounts { requests: 100, ..ServerCounts::default() },
        ..Server::default()
    };
    BalancerStats {
        revision: "4f2a".into(),
        frontends: vec![Frontend {
            name: "proxy_frontend".into(),
            backend: "squid_servers".into(),
            requests: 300,
            ..Frontend::default()
        }],
        backends: vec![Backend {
            name: "squid_servers".into(),
            balance: "round_robin".into(),
            panic: false,
            servers: nodes.iter().map(server).collect(),
        }],
        addresses: Vec::new(),
    }
}

/// Two balancers, `nodes` nodes, a control plane; every server got 10 requests in the last second.
pub fn cluster(nodes: usize) -> View {
    let names: Vec<_> = (1..=nodes).map(|number| format!("proxy-node-{number}")).collect();
    let balancers = ["balancer-1", "balancer-2"].map(str::to_owned);
    let mut instances: Vec<_> =
        balancers.iter().map(|name| instance(Service::Balancer, name)).collect();
    instances.extend(names.iter().map(|name| instance(Service::ProxyNode, name)));
    instances.push(instance(Service::Registry, "registry-1"));
    instances.push(instance(Service::ConfigService, "config-service-1"));
    instances.push(instance(Service::HealthChecker, "health-checker-1"));
    let mut history = History::default();
    for round in 0..2_u32 {
        history.begin(f64::from(round));
        for balancer in &balancers {
            let meter =
                Meter::Frontend { balancer: balancer.clone(), frontend: "proxy_frontend".into() };
            history.take(meter, u64::from(round) * 10 * nodes as u64);
            for server in &names {
                let meter = Meter::Server {
                    balancer: balancer.clone(),
                    backend: "squid_servers".into(),
                    server: server.clone(),
                };
                history.take(meter, u64::from(round) * 10);
            }
        }
        for node in &names {
            for (measure, each) in [
                (Measure::Requests, 20),
                (Measure::Hits, 15),
                (Measure::Lookups, 20),
                (Measure::Onward, 5),
            ] {
                history.take(Meter::Node { node: node.clone(), measure }, u64::from(round) * each);
            }
        }
    }
    let at = Timestamp::from_second(1_700_000_100).unwrap();
    let source = |service| Source { service, answered_at: Some(at), asked_at: at, failure: None };
    let finding = |target: &String| Finding {
        check: "port".into(),
        kind: "tcp".into(),
        target: target.clone(),
        passing: Some(true),
        detail: "connected".into(),
        took: Duration::from_millis(1),
        finished_at: Some(at),
    };
    let stats: Arc<BalancerStats> = balancer(&names).into();
    View {
        at,
        cluster_id: "019d0000-0000-7000-8000-00000000cafe".into(),
        instances: instances.into_iter().map(Arc::new).collect(),
        guards: Vec::new(),
        balancers: balancers.iter().map(|name| (name.clone(), Arc::clone(&stats))).collect(),
        nodes: names
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    Arc::new(NodeStats { requests: 200, hits: 150, ..NodeStats::default() }),
                )
            })
            .collect(),
        checks: BTreeMap::from([(
            "health-checker-1".to_owned(),
            Arc::new(names.iter().map(finding).collect()),
        )]),
        configuration: Arc::new(configuration(&names)),
        sources: BTreeMap::from([
            ("registry".to_owned(), source(Service::Registry)),
            ("balancer-1".to_owned(), source(Service::Balancer)),
        ]),
        history: Arc::new(history),
        events: Vec::new(),
    }
}

fn configuration(nodes: &[String]) -> Configuration {
    let revision = Revision {
        id: "4f2a00000000".into(),
        number: 2,
        parent: "1e1e00000000".into(),
        author: "ann".into(),
        committer: "operator".into(),
        committed_at: None,
        message: "block a domain".into(),
        released: true,
    };
    let answer = |name: &String| Answer {
        service: "proxy-node".into(),
        name: name.clone(),
        state: AnswerState::Applied,
        problems: Vec::new(),
    };
    let follower = |name: &String| Follower {
        service: "proxy-node".into(),
        name: name.clone(),
        assigned: "4f2a".into(),
        applied: "4f2a".into(),
        in_step: true,
        explanation: String::new(),
    };
    Configuration {
        revisions: vec![revision.clone()],
        rollout: Some(Rollout {
            id: "r1".into(),
            revision,
            state: RolloutState::Done,
            nodes: nodes.iter().map(answer).collect(),
            ..Rollout::default()
        }),
        nodes: nodes.iter().map(follower).collect(),
        parents: Vec::new(),
    }
}

pub fn view() -> View {
    cluster(3)
}

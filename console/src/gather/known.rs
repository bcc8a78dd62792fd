//! What the gatherer knows, whom it asks next, and what follows from an answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chassis::Membership;
use cluster::{InstanceStatus, Service};
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::ask::{self, Others};
use crate::{
    configuration::Configuration,
    events,
    history::{History, Measure, Meter},
    traffic::{BalancerStats, Finding, NodeStats},
    view::{Source, View, place},
};

/// Configuration is asked for in every second round, checks in every third.
const CONFIGURATION_EVERY: u64 = 2;
const CHECKS_EVERY: u64 = 3;

/// What somebody answered.
pub(super) enum Answer {
    Registry,
    Balancer(BalancerStats),
    Node(NodeStats),
    Checks(Vec<Finding>),
    Configuration(Box<Configuration>),
}

/// A question that is open.
pub(super) type Question<'a> = BoxFuture<'a, (String, Service, Result<Answer, ask::Error>)>;

/// Everything that the gatherer knows; one owner.
#[derive(Default)]
pub(super) struct Known {
    view: View,
    pub(super) history: History,
    balancers: BTreeMap<String, Arc<BalancerStats>>,
    nodes: BTreeMap<String, Arc<NodeStats>>,
    checks: BTreeMap<String, Arc<Vec<Finding>>>,
    configuration: Arc<Configuration>,
    sources: BTreeMap<String, Source>,
    instances: Vec<Arc<InstanceStatus>>,
    guards: Vec<cluster::PoolGuard>,
    cluster_id: String,
}

impl Known {
    /// Nothing yet; what happens is told as the difference to this view.
    pub(super) fn after(view: View) -> Self {
        Self { view, ..Self::default() }
    }

    pub(super) fn members(&mut self, membership: &Membership, now: Timestamp) {
        let known: BTreeMap<_, _> =
            self.instances.drain(..).map(|status| (status.instance.name.clone(), status)).collect();
        let kept = |status: &InstanceStatus| match known.get(&status.instance.name) {
            Some(same) if **same == *status => Arc::clone(same),
            _ => Arc::new(status.clone()),
        };
        self.instances = membership.instances.values().map(kept).collect();
        self.instances.sort_by(|one, other| {
            let key = |status: &InstanceStatus| {
                (place(status.instance.service), status.instance.name.clone())
            };
            key(one).cmp(&key(other))
        });
        self.guards = membership.guards.clone();
        self.cluster_id.clone_from(&membership.cluster_id);
        let asked = |service| Source { service, answered_at: None, asked_at: now, failure: None };
        for status in &self.instances {
            let service = status.instance.service;
            if matches!(service, Service::Balancer | Service::ProxyNode | Service::HealthChecker) {
                self.sources.entry(status.instance.name.clone()).or_insert_with(|| asked(service));
            }
        }
        for service in [Service::Registry, Service::ConfigService] {
            self.sources.entry(service.to_string()).or_insert_with(|| asked(service));
        }
    }

    pub(super) fn questions<'a>(&self, others: &'a Others, round: u64) -> Vec<Question<'a>> {
        let mut questions: Vec<Question<'a>> = Vec::new();
        questions.push(Box::pin(async {
            (
                "registry".to_owned(),
                Service::Registry,
                others.registry().await.map(|()| Answer::Registry),
            )
        }));
        if round.is_multiple_of(CONFIGURATION_EVERY) {
            let known = Arc::clone(&self.configuration);
            questions.push(Box::pin(async move {
                let answer = others
                    .configuration(&known)
                    .await
                    .map(|answer| Answer::Configuration(Box::new(answer)));
                ("config-service".to_owned(), Service::ConfigService, answer)
            }));
        }
        for status in &self.instances {
            let (name, service) = (status.instance.name.clone(), status.instance.service);
            match service {
                Service::Balancer => questions.push(Box::pin(async move {
                    let answer = others.balancer(&name).await.map(Answer::Balancer);
                    (name, service, answer)
                })),
                Service::ProxyNode => questions.push(Box::pin(async move {
                    let answer = others.node(&name).await.map(Answer::Node);
                    (name, service, answer)
                })),
                Service::HealthChecker if round.is_multiple_of(CHECKS_EVERY) => {
                    questions.push(Box::pin(async move {
                        let answer = others.checker(&name).await.map(Answer::Checks);
                        (name, service, answer)
                    }))
                }
                _ => {}
            }
        }
        questions
    }

    pub(super) fn take(
        &mut self,
        name: String,
        service: Service,
        answer: Result<Answer, ask::Error>,
        now: Timestamp,
    ) {
        let source = self.sources.entry(name.clone()).or_insert(Source {
            service,
            answered_at: None,
            asked_at: now,
            failure: None,
        });
        match &answer {
            Ok(_) => (source.answered_at, source.failure) = (Some(now), None),
            Err(refused) => source.failure = Some(refused.sentence.clone()),
        }
        match answer {
            Err(_) | Ok(Answer::Registry) => {}
            Ok(Answer::Balancer(stats)) => {
                measure_balancer(&mut self.history, &name, &stats);
                self.balancers.insert(name, Arc::new(stats));
            }
            Ok(Answer::Node(stats)) => {
                measure_node(&mut self.history, &name, &stats);
                self.nodes.insert(name, Arc::new(stats));
            }
            Ok(Answer::Checks(findings)) => drop(self.checks.insert(name, Arc::new(findings))),
            Ok(Answer::Configuration(configuration)) => {
                self.configuration = Arc::new(*configuration)
            }
        }
    }

    /// What instances said goes when they do.
    pub(super) fn forget(&mut self, others: &Others) {
        let names: BTreeSet<&str> =
            self.instances.iter().map(|status| status.instance.name.as_str()).collect();
        others.keep(&names);
        self.balancers.retain(|name, _| names.contains(name.as_str()));
        self.nodes.retain(|name, _| names.contains(name.as_str()));
        self.checks.retain(|name, _| names.contains(name.as_str()));
        self.sources.retain(|name, _| {
            matches!(name.as_str(), "registry" | "config-service") || names.contains(name.as_str())
        });
    }

    /// The next view, with what happened since the one before.
    pub(super) fn next(&mut self, now: Timestamp) -> View {
        let mut view = View {
            at: now,
            cluster_id: self.cluster_id.clone(),
            instances: self.instances.clone(),
            guards: self.guards.clone(),
            balancers: self.balancers.clone(),
            nodes: self.nodes.clone(),
            checks: self.checks.clone(),
            configuration: Arc::clone(&self.configuration),
            sources: self.sources.clone(),
            history: Arc::new(self.history.clone()),
            events: Vec::new(),
        };
        view.events = events::remember(&self.view.events, events::between(&self.view, &view));
        self.view = view.clone();
        view
    }
}

fn measure_balancer(history: &mut History, name: &str, stats: &BalancerStats) {
    for frontend in &stats.frontends {
        history.take(
            Meter::Frontend { balancer: name.to_owned(), frontend: frontend.name.clone() },
            frontend.requests,
        );
        history.take(
            Meter::Refused { balancer: name.to_owned(), frontend: frontend.name.clone() },
            frontend.failed,
        );
    }
    for pool in &stats.backends {
        for server in &pool.servers {
            let meter = Meter::Server {
                balancer: name.to_owned(),
                backend: pool.name.clone(),
                server: server.name.clone(),
            };
            history.take(meter, server.counts.requests);
        }
    }
}

fn measure_node(history: &mut History, name: &str, stats: &NodeStats) {
    let hits = stats.hits + stats.revalidated + stats.collapsed;
    for (measure, counter) in [
        (Measure::Requests, stats.requests),
        (Measure::Hits, hits),
        (Measure::Lookups, hits + stats.misses),
        (Measure::Onward, stats.misses + stats.revalidated + stats.tunnels),
        (Measure::Errors, stats.errors),
        (Measure::BytesOut, stats.bytes_to_clients),
    ] {
        history.take(Meter::Node { node: name.to_owned(), measure }, counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn membership(view: &View) -> Membership {
        let instances = view
            .instances
            .iter()
            .map(|status| (status.instance.name.clone(), (**status).clone()))
            .collect();
        Membership { cluster_id: view.cluster_id.clone(), instances, ..Membership::default() }
    }

    #[test]
    fn what_was_known_stays_when_somebody_does_not_answer() {
        let sample = sample::view();
        let mut known = Known::default();
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        known.members(&membership(&sample), at(0));
        known.history.begin(0.0);
        let stats = || (*sample.balancers["balancer-1"]).clone();
        known.take("balancer-1".into(), Service::Balancer, Ok(Answer::Balancer(stats())), at(0));
        let refused =
            ask::Error { sentence: "balancer-1 cannot be reached".into(), unknown: false };
        known.take("balancer-1".into(), Service::Balancer, Err(refused), at(20));
        let view = known.next(at(20));
        assert!(view.balancers.contains_key("balancer-1"));
        assert_eq!(
            view.silent().iter().map(|(name, _, since)| (*name, *since)).collect::<Vec<_>>(),
            [("balancer-1", at(0))]
        );
        assert_eq!(
            view.events.iter().filter(|event| event.subject == "balancer-1").count(),
            1,
            "{:?}",
            view.events
        );
        known.take("balancer-1".into(), Service::Balancer, Ok(Answer::Balancer(stats())), at(21));
        assert!(known.next(at(21)).silent().is_empty());
    }

    #[test]
    fn members_come_in_the_order_of_a_request() {
        let mut known = Known::default();
        known.members(&membership(&sample::view()), Timestamp::UNIX_EPOCH);
        let names: Vec<_> =
            known.instances.iter().map(|status| status.instance.name.as_str()).collect();
        assert_eq!(names[..3], ["balancer-1", "balancer-2", "proxy-node-1"]);
        assert_eq!(names.last(), Some(&"health-checker-1"));
    }
}

//! What balancers and nodes tell, as the rule about alarms takes it (`cluster::alarm`): the same
//! for status, top and doctor. Pure.

use cluster::{
    alarm::{Alarm, Backend, Parents, Served, Severity},
    recent::Traffic,
    wire,
};
use proto::{
    balancer::{Standing, Stats},
    proxy::GetStatsResponse,
};
use serde::Serialize;

/// The severity in one word, as every page and message has it.
#[must_use]
pub const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// An alarm as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub severity: &'static str,
    /// Instances that tell it.
    pub subjects: Vec<String>,
    pub text: String,
    pub remedy: String,
}

impl From<Alarm> for Told {
    fn from(alarm: Alarm) -> Self {
        Self {
            severity: word(alarm.severity),
            subjects: alarm.subjects,
            text: alarm.text,
            remedy: alarm.remedy,
        }
    }
}

/// Puts together what everybody told.
pub fn served<'a>(
    balancers: impl IntoIterator<Item = (&'a str, &'a Stats)>,
    nodes: impl IntoIterator<Item = (&'a str, &'a GetStatsResponse)>,
) -> Served {
    let mut served = Served::default();
    for (name, stats) in balancers {
        let used = |backend: &&proto::balancer::Backend| {
            stats.frontends.iter().any(|frontend| frontend.backend == backend.name)
        };
        served
            .backends
            .extend(stats.backends.iter().filter(used).map(|backend| of_backend(name, backend)));
        let traffic = stats.frontends.iter().filter_map(|frontend| frontend.last_minute).fold(
            Traffic::default(),
            |sum, it| {
                sum.plus(Traffic {
                    seconds: it.seconds.into(),
                    requests: it.requests,
                    failed: it.failed,
                })
            },
        );
        served.balancers.push((name.to_owned(), traffic));
        let at = wire::from_timestamp(stats.taken_at);
        served.addresses.extend(stats.virtual_routers.iter().map(|it| wire::holder(name, it, at)));
    }
    for (name, stats) in nodes {
        let it = stats.last_minute.unwrap_or_default();
        served.nodes.push((
            name.to_owned(),
            Traffic { seconds: it.seconds.into(), requests: it.requests, failed: it.errors },
        ));
        let dead = stats.parents.iter().filter(|parent| !parent.alive);
        served.parents.push(Parents {
            node: name.to_owned(),
            dead: dead.map(|parent| parent.address.clone()).collect(),
            all: stats.parents.len(),
        });
    }
    served
}

fn of_backend(balancer: &str, backend: &proto::balancer::Backend) -> Backend {
    let count = |wanted: &[Standing]| {
        backend.servers.iter().filter(|server| wanted.contains(&server.standing())).count()
    };
    Backend {
        name: backend.name.clone(),
        balancer: balancer.to_owned(),
        usable: count(&[Standing::Usable, Standing::Last, Standing::Unspecified]),
        unwell: count(&[Standing::Unwell]),
        excluded: count(&[Standing::Excluded]),
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        balancer::{Backend as Wire, Frontend, LastMinute, Server},
        proxy::ParentStats,
    };

    use super::*;

    #[test]
    fn backends_in_use_and_the_last_minute() {
        let server = |standing: Standing| Server { standing: standing.into(), ..Server::default() };
        let pool = |name: &str, standings: &[Standing]| Wire {
            name: name.into(),
            servers: standings.iter().map(|it| server(*it)).collect(),
            ..Wire::default()
        };
        let last = |requests, failed| Some(LastMinute { seconds: 60, requests, failed });
        let frontend = |backend: &str, last_minute| Frontend {
            backend: backend.into(),
            last_minute,
            ..Frontend::default()
        };
        let stats = Stats {
            frontends: vec![
                frontend("squid", last(20, 20)),
                frontend("squid", last(10, 0)),
                frontend("other", None),
            ],
            backends: vec![
                pool("squid", &[Standing::Excluded, Standing::Unwell]),
                pool("other", &[Standing::Last]),
                pool("unused", &[]),
            ],
            ..Stats::default()
        };
        let node = GetStatsResponse {
            last_minute: Some(proto::proxy::LastMinute { seconds: 60, requests: 9, errors: 2 }),
            parents: [("a:1", true), ("b:1", false)]
                .map(|(address, alive)| ParentStats {
                    address: address.into(),
                    alive,
                    ..Default::default()
                })
                .into(),
            ..Default::default()
        };
        let served = served([("b-1", &stats)], [("n-1", &node)]);
        let backend = |name: &str, usable, unwell, excluded| Backend {
            name: name.into(),
            balancer: "b-1".into(),
            usable,
            unwell,
            excluded,
        };
        assert_eq!(served.backends, [backend("squid", 0, 1, 1), backend("other", 1, 0, 0)]);
        assert_eq!(
            served.balancers,
            [("b-1".to_owned(), Traffic { seconds: 60, requests: 30, failed: 20 })]
        );
        assert_eq!(
            served.nodes,
            [("n-1".to_owned(), Traffic { seconds: 60, requests: 9, failed: 2 })]
        );
        let parents = Parents { node: "n-1".into(), dead: vec!["b:1".into()], all: 2 };
        assert_eq!(served.parents, [parents]);
    }
}

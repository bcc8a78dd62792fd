//! Everything the page is made of, at one moment: what the gatherer publishes and the pages read.
//! Plain values.

use std::{collections::BTreeMap, sync::Arc};

use cluster::{
    InstanceStatus, PoolGuard, Service,
    alarm::{self, Alarm, Backend, Served},
    leaving,
    recent::Traffic,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    configuration::Configuration,
    events::Event,
    history::History,
    look::{self, Look},
    traffic::{self, BalancerStats, Finding, NodeStats, Standing},
};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The console's clock.
    pub at: Timestamp,
    /// Empty until the registry was heard.
    pub cluster_id: String,
    /// In the order in which a request passes them, then by name.
    pub instances: Vec<Arc<InstanceStatus>>,
    /// Pools whose losses are held back, or could be.
    pub guards: Vec<PoolGuard>,
    /// What each balancer last said.
    pub balancers: BTreeMap<String, Arc<BalancerStats>>,
    /// What each node last said.
    pub nodes: BTreeMap<String, Arc<NodeStats>>,
    /// What each checker last said.
    pub checks: BTreeMap<String, Arc<Vec<Finding>>>,
    /// What the config-service last said.
    pub configuration: Arc<Configuration>,
    /// Who is asked, and how that goes.
    pub sources: BTreeMap<String, Source>,
    /// Rates of the last minute.
    pub history: Arc<History>,
    pub events: Vec<Event>,
}

/// Somebody whom the console asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is.
    pub service: Service,
    /// When it last answered.
    pub answered_at: Option<Timestamp>,
    /// When it was first asked.
    pub asked_at: Timestamp,
    /// Why it does not answer; none while it does.
    pub failure: Option<String>,
}

/// A source that misses one question is not worth a word: machines are busy.
pub const PATIENCE: SignedDuration = SignedDuration::from_secs(4);

impl Source {
    /// For how long there has been no answer, when that is worth saying.
    #[must_use]
    pub fn silent_since(&self, now: Timestamp) -> Option<Timestamp> {
        let since = self.answered_at.unwrap_or(self.asked_at);
        (self.failure.is_some() && now.duration_since(since) >= PATIENCE).then_some(since)
    }
}

impl View {
    /// An instance by name.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<&InstanceStatus> {
        self.instances.iter().map(AsRef::as_ref).find(|status| status.instance.name == name)
    }

    /// The instances of one service.
    pub fn of(&self, service: Service) -> impl Iterator<Item = &InstanceStatus> {
        self.instances
            .iter()
            .map(AsRef::as_ref)
            .filter(move |status| status.instance.service == service)
    }

    /// Who has not answered for a while, control plane first.
    #[must_use]
    pub fn silent(&self) -> Vec<(&str, &Source, Timestamp)> {
        let mut found: Vec<_> = self
            .sources
            .iter()
            .filter_map(|(name, source)| {
                Some((name.as_str(), source, source.silent_since(self.at)?))
            })
            .collect();
        found.sort_by_key(|(name, source, _)| {
            (place(source.service) < 2, place(source.service), *name)
        });
        found
    }

    /// Since when the registry has been silent, so that what it listed is only remembered.
    #[must_use]
    pub fn stale_since(&self) -> Option<Timestamp> {
        self.sources
            .values()
            .filter(|source| source.service == Service::Registry)
            .find_map(|source| source.silent_since(self.at))
    }

    /// How an instance looks: as the registry says, or as it said last.
    #[must_use]
    pub fn look(&self, status: &InstanceStatus) -> Look {
        match self.stale_since() {
            None => look::state(status.state),
            Some(_) if status.instance.service == Service::Registry => look::SILENT,
            Some(_) => look::was(status.state),
        }
    }

    /// Clients that are not served, worst first: by the rule that `shoal doctor`, `top` and
    /// `status` go by, too. What somebody said who does not answer any more is not of now.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let heard =
            |name: &str| self.sources.get(name).is_none_or(|source| source.failure.is_none());
        let mut served = Served::default();
        for (name, stats) in self.balancers.iter().filter(|(name, _)| heard(name)) {
            let used = |pool: &&traffic::Backend| {
                stats.frontends.iter().any(|frontend| frontend.backend == pool.name)
            };
            served
                .backends
                .extend(stats.backends.iter().filter(used).map(|pool| of_backend(name, pool)));
            let sum = stats
                .frontends
                .iter()
                .fold(Traffic::default(), |sum, frontend| sum.plus(frontend.last_minute));
            served.balancers.push((name.clone(), sum));
            served.addresses.extend(stats.addresses.iter().cloned());
        }
        served.nodes = self
            .nodes
            .iter()
            .filter(|(name, _)| heard(name))
            .map(|(name, stats)| (name.clone(), stats.last_minute))
            .collect();
        alarm::alarms(&served)
    }

    /// Whether clients would not be served any more without this instance. A node that every
    /// balancer finds unwell serves nobody.
    #[must_use]
    pub fn is_last(&self, name: &str) -> bool {
        leaving::is_last(
            self.instances
                .iter()
                .map(AsRef::as_ref)
                .filter(|status| !self.is_shunned(&status.instance.name)),
            name,
        )
    }

    fn is_shunned(&self, name: &str) -> bool {
        let pools = self.balancers.values().flat_map(|stats| &stats.backends);
        let mut seen = pools
            .flat_map(|pool| &pool.servers)
            .filter(|server| server.discovered && server.name == name)
            .peekable();
        seen.peek().is_some() && seen.all(|server| server.standing == Standing::Unwell)
    }

    /// Whether anybody lists this server under that name and it has a page.
    #[must_use]
    pub fn has_page(&self, name: &str) -> bool {
        self.instance(name).is_some()
    }
}

fn of_backend(balancer: &str, pool: &traffic::Backend) -> Backend {
    let count = |wanted: &[Standing]| {
        pool.servers.iter().filter(|server| wanted.contains(&server.standing)).count()
    };
    Backend {
        name: pool.name.clone(),
        balancer: balancer.to_owned(),
        usable: count(&[Standing::Usable, Standing::Last, Standing::Unknown]),
        unwell: count(&[Standing::Unwell]),
        excluded: count(&[Standing::Excluded]),
    }
}

/// The order in which a request passes the services; the control plane after it.
#[must_use]
pub const fn place(service: Service) -> usize {
    match service {
        Service::Balancer => 0,
        Service::ProxyNode => 1,
        Service::Registry => 2,
        Service::ConfigService => 3,
        Service::HealthChecker => 4,
        Service::BackupService => 5,
        Service::Console => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_of_those_who_answer() {
        let mut view = crate::sample::view();
        assert_eq!(view.alarms(), []);
        for stats in view.balancers.values_mut() {
            let stats = Arc::make_mut(stats);
            stats.backends[0]
                .servers
                .iter_mut()
                .for_each(|server| server.standing = Standing::Excluded);
            stats.frontends[0].last_minute = Traffic { seconds: 60, requests: 30, failed: 30 };
        }
        let alarms = view.alarms();
        let said: Vec<_> =
            alarms.iter().map(|alarm| (alarm.severity, alarm.text.as_str())).collect();
        assert!(
            said.len() == 2
                && said.iter().all(|(severity, _)| *severity == alarm::Severity::Critical),
            "{said:?}"
        );
        assert!(
            said[0].1.contains("no usable server, 3 drained")
                && said[1].1.starts_with("60 of 60 requests"),
            "{said:?}"
        );
        view.balancers.remove("balancer-2");
        view.sources.get_mut("balancer-1").unwrap().failure = Some("refused".into());
        assert_eq!(view.alarms(), []);
    }

    #[test]
    fn the_last_one_is_known() {
        let mut view = crate::sample::view();
        assert!(!view.is_last("proxy-node-1"));
        for stats in view.balancers.values_mut() {
            let stats = Arc::make_mut(stats);
            stats.backends[0].servers[1..]
                .iter_mut()
                .for_each(|server| server.standing = Standing::Unwell);
        }
        assert!(
            view.is_last("proxy-node-1") && !view.is_last("proxy-node-2"),
            "balancers know that the others are unwell"
        );
    }

    #[test]
    fn silence_is_told_after_a_while() {
        let now = Timestamp::from_second(1_000).unwrap();
        let ago = |seconds| now - SignedDuration::from_secs(seconds);
        let source = |answered, failure: Option<&str>| Source {
            service: Service::Registry,
            answered_at: answered,
            asked_at: ago(60),
            failure: failure.map(str::to_owned),
        };
        for (source, expected) in [
            (source(Some(ago(1)), None), None),
            (source(Some(ago(1)), Some("refused")), None),
            (source(Some(ago(30)), Some("refused")), Some(ago(30))),
            // An answer that is old because nobody asked is no silence.
            (source(Some(ago(30)), None), None),
            (source(None, Some("refused")), Some(ago(60))),
        ] {
            assert_eq!(source.silent_since(now), expected, "{source:?}");
        }
    }
}

//! Everything the page is made of, at one moment: what the gatherer publishes and the pages read. Plain values.

use std::{collections::BTreeMap, sync::Arc};

use cluster::{InstanceStatus, PoolGuard, Service};
use jiff::{SignedDuration, Timestamp};

use crate::{
    configuration::Configuration,
    events::Event,
    history::History,
    traffic::{BalancerStats, Finding, NodeStats},
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
    /// Newest first.
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
        self.instances.iter().map(AsRef::as_ref).filter(move |status| status.instance.service == service)
    }

    /// Who has not answered for a while, control plane first.
    #[must_use]
    pub fn silent(&self) -> Vec<(&str, &Source, Timestamp)> {
        let mut found: Vec<_> =
            self.sources.iter().filter_map(|(name, source)| Some((name.as_str(), source, source.silent_since(self.at)?))).collect();
        found.sort_by_key(|(name, source, _)| (place(source.service) < 2, place(source.service), *name));
        found
    }

    /// Whether anybody lists this server under that name and it has a page.
    #[must_use]
    pub fn has_page(&self, name: &str) -> bool {
        self.instance(name).is_some()
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

//! Whom to probe: the checks of the bundle times the instances of the registry.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cluster::{InstanceId, InstanceStatus, Service, State};
use cluster_config::document::checks::Check;

use crate::assignment;

/// One check of one instance.
pub type Key = (String, InstanceId);

/// What is probed and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub check: Arc<Check>,
    /// Name of the instance.
    pub name: String,
    /// The endpoint, `host:port`.
    pub address: String,
    /// How many checkers look at it.
    pub assigned: u32,
}

impl Wanted {
    /// What the schedule needs to know: the interval, and a phase that is this checker's own.
    #[must_use]
    pub fn pace(&self, checker: &str) -> (Duration, u64) {
        (
            self.check.interval,
            assignment::score(checker, &format!("{}/{}", self.check.name, self.name)),
        )
    }
}

/// Everything that `checker` has to probe. Instances that are starting, stopping or out of service
/// because somebody asked are left alone: nothing that a probe could say about them would count.
#[must_use]
pub fn wanted<'a>(
    checker: &str,
    checks: &[Arc<Check>],
    instances: impl Iterator<Item = &'a InstanceStatus> + Clone,
) -> BTreeMap<Key, Wanted> {
    let live = |status: &&InstanceStatus| {
        !matches!(status.state, State::Lost | State::Draining | State::Maintenance)
    };
    let of = |service: Service| {
        instances.clone().filter(move |status| status.instance.service == service)
    };
    let checkers: Vec<String> = of(Service::HealthChecker)
        .filter(live)
        .map(|status| status.instance.name.clone())
        .collect();
    let probed = |status: &&InstanceStatus| {
        !matches!(status.state, State::Starting | State::Draining | State::Maintenance)
    };
    let mut wanted = BTreeMap::new();
    for check in checks {
        for status in instances
            .clone()
            .filter(|status| status.instance.service.as_str() == check.service)
            .filter(probed)
        {
            let (mine, assigned) = assignment::assigned(checker, &checkers, &status.instance.name);
            let Some(address) = status.instance.endpoints.get(&check.endpoint).filter(|_| mine)
            else {
                continue;
            };
            let entry = Wanted {
                check: Arc::clone(check),
                name: status.instance.name.clone(),
                address: address.clone(),
                assigned,
            };
            wanted.insert((check.name.clone(), status.instance.id), entry);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use cluster::{AdminState, Instance};
    use cluster_config::document::checks::Probe;
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn status(service: Service, number: u128, state: State) -> InstanceStatus {
        let instance = Instance {
            service,
            name: format!("{service}-{number}"),
            id: InstanceId(Uuid::from_u128(number)),
            generation: 1,
            endpoints: BTreeMap::from([("proxy".into(), format!("10.0.0.{number}:3128"))]),
            datacenter: String::new(),
            zone: String::new(),
            tags: Vec::new(),
            weight: 1,
            version: "0".into(),
            applied_revision: String::new(),
            applied_hash: String::new(),
        };
        InstanceStatus {
            instance,
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

    fn check(endpoint: &str) -> Arc<Check> {
        Arc::new(Check {
            name: "port".into(),
            service: "proxy-node".into(),
            endpoint: endpoint.into(),
            probe: Probe::Tcp,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        })
    }

    #[test]
    fn who_is_probed() {
        let rows = [
            (State::Usable, true),
            (State::Suspect, true),
            (State::Critical, true),
            (State::Lost, true),
            (State::Starting, false),
            (State::Draining, false),
            (State::Maintenance, false),
        ];
        for (state, probed) in rows {
            let instances =
                [status(Service::ProxyNode, 1, state), status(Service::Balancer, 2, State::Usable)];
            let wanted = wanted("health-checker-9", &[check("proxy")], instances.iter());
            assert_eq!(wanted.len(), usize::from(probed), "{state:?}");
        }
    }

    #[test]
    fn an_instance_without_the_endpoint_is_left_alone() {
        let instances = [status(Service::ProxyNode, 1, State::Usable)];
        assert!(wanted("health-checker-9", &[check("relay")], instances.iter()).is_empty());
    }

    #[test]
    fn live_checkers_count_as_assigned() {
        let instances = [
            status(Service::ProxyNode, 1, State::Usable),
            status(Service::HealthChecker, 2, State::Usable),
            status(Service::HealthChecker, 3, State::Usable),
            status(Service::HealthChecker, 4, State::Lost),
        ];
        let wanted = wanted("health-checker-2", &[check("proxy")], instances.iter());
        assert_eq!(wanted.values().map(|wanted| wanted.assigned).collect::<Vec<_>>(), [2]);
    }
}

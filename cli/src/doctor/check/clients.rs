//! Are clients served? By the rule that console, top and status go by, too.

use cluster::{
    Service,
    alarm::{self, Served},
};

use super::performance;
use crate::{
    alarm::served,
    doctor::{
        facts::Facts,
        finding::{Finding, Severity},
    },
};

const CHECK: &str = "clients";

/// Backends without a usable server, and requests of the last minute that failed.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut served = of(facts);
    // A check of its own says more of them.
    served.parents.clear();
    // Said with its cause where that is known.
    if performance::failing(facts).is_some() {
        served.nodes.clear();
    }
    let mut found: Vec<_> = alarm::alarms(&served).into_iter().map(finding).collect();
    if facts.registry.is_ok()
        && facts.processes.iter().all(|process| process.service != Service::Balancer)
        && !facts.processes.is_empty()
    {
        let remedy = "start one: `shoal serve balancer`; see `shoal status`";
        found.push(Finding::new(
            Severity::Info,
            CHECK,
            "cluster",
            "no balancer is registered: clients come to the nodes themselves or not at all",
            remedy,
        ));
    }
    found
}

/// What the rule goes by.
pub fn of(facts: &Facts) -> Served {
    served(
        facts.balancers.iter().map(|(name, stats)| (name.as_str(), stats)),
        facts.nodes.iter().map(|(name, stats)| (name.as_str(), stats)),
    )
}

fn finding(alarm: alarm::Alarm) -> Finding {
    let severity = match alarm.severity {
        alarm::Severity::Warning => Severity::Warning,
        alarm::Severity::Critical => Severity::Critical,
    };
    let subjects =
        if alarm.subjects.is_empty() { vec!["cluster".to_owned()] } else { alarm.subjects };
    Finding { severity, check: CHECK, subjects, finding: alarm.text, remedy: alarm.remedy }
}

#[cfg(test)]
mod tests {
    use proto::{
        balancer::{Backend, Frontend, LastMinute, Server, Standing, Stats},
        proxy::GetStatsResponse,
    };

    use super::*;
    use crate::doctor::facts::tests::{facts, process};

    fn balancer(standing: Standing, requests: u64, failed: u64) -> (String, Stats) {
        let server = Server { standing: standing.into(), discovered: true, ..Server::default() };
        let frontend = Frontend {
            backend: "squid".into(),
            last_minute: Some(LastMinute { seconds: 60, requests, failed }),
            ..Frontend::default()
        };
        let backend = Backend { name: "squid".into(), servers: vec![server], ..Backend::default() };
        (
            "b-1".to_owned(),
            Stats { frontends: vec![frontend], backends: vec![backend], ..Stats::default() },
        )
    }

    fn found(balancers: Vec<(String, Stats)>, errors: u64) -> Vec<(Severity, String)> {
        let last_minute = Some(proto::proxy::LastMinute { seconds: 60, requests: 100, errors });
        let nodes =
            vec![("n-1".to_owned(), GetStatsResponse { last_minute, ..Default::default() })];
        let facts = Facts { balancers, nodes, ..facts(vec![process(Service::Balancer, "b-1")]) };
        check(&facts).into_iter().map(|it| (it.severity, it.finding)).collect()
    }

    #[test]
    fn clients_that_get_errors_are_critical() {
        assert!(found(vec![balancer(Standing::Usable, 100, 0)], 0).is_empty());
        let drained = found(vec![balancer(Standing::Excluded, 20, 20)], 0);
        assert_eq!(drained.len(), 2, "{drained:?}");
        assert!(drained.iter().all(|(severity, _)| *severity == Severity::Critical), "{drained:?}");
        assert!(
            drained[0].1.contains("backend squid has no usable server")
                && drained[1].1.starts_with("20 of 20 requests"),
            "{drained:?}"
        );
        assert_eq!(found(vec![balancer(Standing::Usable, 100, 0)], 60)[0].0, Severity::Critical);
        assert_eq!(found(vec![balancer(Standing::Usable, 100, 0)], 20)[0].0, Severity::Warning);
    }
}

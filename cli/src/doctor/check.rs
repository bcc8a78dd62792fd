//! The troubleshooting list. Every part is a function from facts to findings.

mod certificate;
mod clients;
mod clock;
mod configuration;
mod health;
mod logs;
mod parents;
mod performance;
mod process;
mod protection;
mod relation;
mod resource;

use super::{facts::Facts, finding::Finding};

/// A part of the list.
type Check = fn(&Facts) -> Vec<Finding>;

/// All parts, in the order in which somebody would go through them.
pub const LIST: [(&str, Check); 14] = [
    ("clients", clients::check),
    ("processes", process::processes),
    ("ports", process::ports),
    ("configuration", configuration::check),
    ("logs", logs::check),
    ("resources", resource::check),
    ("performance", performance::check),
    ("clocks", clock::check),
    ("synchronisation", relation::synchronisation),
    ("relations", relation::balancers),
    ("parents", parents::check),
    ("health checks", health::check),
    ("certificates", certificate::check),
    ("backups", protection::check),
];

/// Goes through the whole list.
pub fn all(facts: &Facts) -> Vec<Finding> {
    LIST.iter().flat_map(|(_, check)| check(facts)).collect()
}

#[cfg(test)]
mod tests {
    use cluster::Service;

    use super::*;
    use crate::doctor::{
        facts::tests::{facts, process},
        finding::Severity,
    };

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        let data_plane = [
            (Service::Registry, "registry-1"),
            (Service::ProxyNode, "proxy-node-1"),
            (Service::Balancer, "balancer-1"),
        ];
        let checkers = ["h-1", "h-2", "h-3"].map(|name| (Service::HealthChecker, name));
        let facts = facts(
            data_plane
                .into_iter()
                .chain(checkers)
                .map(|(service, name)| process(service, name))
                .collect(),
        );
        let found = all(&facts);
        assert!(found.iter().all(|finding| finding.severity == Severity::Info), "{found:#?}");
    }
}

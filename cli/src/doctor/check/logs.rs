//! Does anybody complain in its log, and has anything been lost on the way into one?

use crate::doctor::{
    facts::{Facts, Process},
    finding::{Finding, Severity::Warning, counted},
};

const CHECK: &str = "logs";

/// Counters that should stay at 0: metric, what it says, what to do.
const LOSSES: [(&str, &str, &str); 8] = [
    (
        "shoal_proxy_access_records_dropped_total",
        "access records were dropped",
        "give the disk of its data dir more room or speed: requests are not slowed, their records are lost",
    ),
    (
        "shoal_balancer_access_records_dropped_total",
        "access records were dropped",
        "give the disk of its data dir more room or speed: requests are not slowed, their records are lost",
    ),
    (
        "shoal_balancer_observations_dropped_total",
        "observations about servers were dropped",
        "the balancer has too little processor time for its control side: give it more",
    ),
    (
        "shoal_health_checker_dropped_opinions_total",
        "opinions were dropped before the registry had them",
        "see whether it reaches the registry",
    ),
    ("shoal_registry_store_failures_total", "writes to its database failed", "see its log, and the disk of its data dir"),
    ("shoal_config_writes_failed_total", "writes to its database failed", "see its log, and the disk of its data dir"),
    (
        chassis::metrics::TASK_PANICS,
        "panic(s) of background tasks, which were started again",
        "this is a defect: please report it with the log's lines of target panic",
    ),
    (chassis::metrics::PANICS, "panic(s)", "this is a defect: please report it with the log's lines of target panic"),
];

/// Goes through every process's counters.
pub fn check(facts: &Facts) -> Vec<Finding> {
    facts.processes.iter().flat_map(|process| losses(process).chain(complaints(process))).collect()
}

fn losses(process: &Process) -> impl Iterator<Item = Finding> + '_ {
    let metrics = process.metrics.as_ref().ok();
    LOSSES.iter().filter_map(move |(metric, what, remedy)| {
        let count = metrics?.count(metric).filter(|count| *count > 0)?;
        let tasks = [metrics?.labels(metric, "task"), metrics?.labels(metric, "thread")].concat();
        let tasks = if tasks.is_empty() { String::new() } else { format!(" ({})", tasks.join(", ")) };
        Some(Finding::new(Warning, CHECK, &process.name, format!("{count} {what}{tasks}, since it started"), *remedy))
    })
}

fn complaints(process: &Process) -> Option<Finding> {
    let errors = process.metrics.as_ref().ok()?.with(chassis::metrics::LOGGED, "level", "error").filter(|errors| *errors > 0)?;
    let text = format!("it has logged {} since it started", counted(errors, "error"));
    Some(Finding::new(Warning, CHECK, &process.name, text, format!("see ERROR in {}", process.log_hint())))
}

#[cfg(test)]
mod tests {
    use cluster::Service;

    use super::*;
    use crate::{
        doctor::facts::tests::{facts, process},
        exposition::Exposition,
    };

    #[test]
    fn table() {
        for (text, expected) in [
            ("", None),
            ("shoal_proxy_access_records_dropped_total 0\nshoal_task_panics_total{task=\"x\"} 0\n", None),
            ("shoal_proxy_access_records_dropped_total 12\n", Some("12 access records were dropped, since")),
            ("shoal_task_panics_total{task=\"prober\"} 1\n", Some("1 panic(s) of background tasks, which were started again (prober)")),
            ("shoal_registry_store_failures_total 3\n", Some("3 writes to its database failed")),
            ("shoal_log_lines_total{level=\"error\"} 2\nshoal_log_lines_total{level=\"warn\"} 9\n", Some("logged 2 errors since")),
            ("shoal_log_lines_total{level=\"warn\"} 9\n", None),
        ] {
            let mut node = process(Service::ProxyNode, "n-1");
            node.metrics = Ok(Exposition::parse(text));
            let found = check(&facts(vec![node]));
            assert_eq!(found.len(), usize::from(expected.is_some()), "{text}: {found:?}");
            assert!(found.iter().all(|it| it.severity == Warning && expected.is_some_and(|part| it.finding.contains(part))), "{found:?}");
        }
    }
}

//! Does anybody complain in its log, and has anything been lost on the way into one? Of the last
//! hour: what is longer ago is over.

use std::{collections::BTreeMap, time::Duration};

use crate::doctor::{
    facts::{Complaint, Facts, Process},
    finding::{
        Finding,
        Severity::{Info, Warning},
        counted,
    },
};

const CHECK: &str = "logs";
/// Older than this is no trouble of now, in seconds.
const LATELY: f64 = 3600.0;
/// Of a log line, in characters.
const QUOTED: usize = 200;

/// Counters that should stay at 0: metric, what it says, what to do.
const LOSSES: [(&str, &str, &str); 4] = [
    (
        proxy_node::metrics::LOG_DROPPED,
        "access records were dropped",
        "give the disk of its data dir more room or speed: requests are not slowed, their records \
         are lost",
    ),
    (
        balancer::metrics::RECORDS_DROPPED,
        "access records were dropped",
        "give the disk of its data dir more room or speed: requests are not slowed, their records \
         are lost",
    ),
    (
        balancer::metrics::OBSERVATIONS_DROPPED,
        "observations about servers were dropped",
        "the balancer has too little processor time for its control side: give it more",
    ),
    (
        health_checker::metrics::DROPPED_OPINIONS,
        "opinions were dropped before the registry had them",
        "see whether it reaches the registry",
    ),
];

/// Goes through every process's counters and complaints.
pub fn check(facts: &Facts) -> Vec<Finding> {
    facts
        .processes
        .iter()
        .flat_map(|process| losses(process, facts).chain(complaints(process)))
        .collect()
}

/// Counters tell no time: what a process lost that started within the hour was lost within the
/// hour, the rest may be long over.
fn losses<'a>(process: &'a Process, facts: &Facts) -> impl Iterator<Item = Finding> + use<'a> {
    let metrics = process.metrics.as_ref().ok();
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double")]
    let running = metrics
        .and_then(|metrics| metrics.get(chassis::metrics::STARTED))
        .map(|started| facts.now.as_second() as f64 - started);
    let severity = if running.is_none_or(|running| running < LATELY) { Warning } else { Info };
    LOSSES.iter().filter_map(move |(metric, what, remedy)| {
        let count = metrics?.count(metric).filter(|count| *count > 0)?;
        let since = running.map_or_else(String::new, |running| {
            format!(" ({} ago)", ago(Duration::from_secs_f64(running.max(0.0))))
        });
        Some(Finding::new(
            severity,
            CHECK,
            &process.name,
            format!("{count} {what}, since it started{since}"),
            *remedy,
        ))
    })
}

fn ago(age: Duration) -> String {
    crate::cluster::age(jiff::SignedDuration::try_from(age).unwrap_or_default())
}

/// The errors that it has logged in the last hour, the newest of each kind in its own words. A
/// panic is a defect of the program.
fn complaints(process: &Process) -> Vec<Finding> {
    let Some(told) = &process.complaints else { return older(process).into_iter().collect() };
    let mut kinds: BTreeMap<&str, (usize, &Complaint)> = BTreeMap::new();
    for complaint in &told.errors {
        // Newest first: the one that is quoted is the first of its kind.
        kinds
            .entry(if complaint.target == "panic" { "panic" } else { "error" })
            .or_insert((0, complaint))
            .0 += 1;
    }
    let finding = |(kind, (count, newest)): (&str, (usize, &Complaint))| {
        let (log, more) = (process.log_hint(), if told.more { " or more" } else { "" });
        let line: String = newest.text.chars().take(QUOTED).collect();
        let what = counted(
            u64::try_from(count).unwrap_or(u64::MAX),
            if kind == "panic" { "panic" } else { "error" },
        );
        let text = format!(
            "it has logged {what}{more} in the last hour, the newest {} ago: {}: {line}",
            ago(newest.age),
            newest.target
        );
        let remedy = match kind {
            "panic" => format!(
                "this is a defect: please report it with the lines of target panic in {log}"
            ),
            _ => format!("see ERROR in {log}; it is not said any more an hour after the last one"),
        };
        Finding::new(Warning, CHECK, &process.name, text, remedy)
    };
    kinds.into_iter().map(finding).collect()
}

/// A process of an older version tells how many there were, and no more.
fn older(process: &Process) -> Option<Finding> {
    let errors = process
        .metrics
        .as_ref()
        .ok()?
        .with(chassis::metrics::LOGGED, "level", "error")
        .filter(|errors| *errors > 0)?;
    let text = format!("it has logged {} since it started", counted(errors, "error"));
    Some(Finding::new(
        Info,
        CHECK,
        &process.name,
        text,
        format!("see ERROR in {}", process.log_hint()),
    ))
}

#[cfg(test)]
mod tests {
    use chassis::scrape::Metrics;
    use cluster::Service;

    use super::*;
    use crate::doctor::{
        facts::{
            Complaints,
            tests::{facts, now, process},
        },
        finding::Severity,
    };

    #[test]
    fn counters() {
        let started =
            |ago: i64| format!("{} {}\n", chassis::metrics::STARTED, now().as_second() - ago);
        let dropped = "shoal_balancer_observations_dropped_total 12\n";
        for (text, expected) in [
            (String::new(), None),
            ("shoal_balancer_observations_dropped_total 0\n".into(), None),
            (
                dropped.into(),
                Some((Warning, "12 observations about servers were dropped, since it started")),
            ),
            (
                format!("{dropped}{}", started(600)),
                Some((Warning, "since it started (10 min ago)")),
            ),
            (format!("{dropped}{}", started(86_400)), Some((Info, "since it started (24 h ago)"))),
            ("shoal_log_lines_total{level=\"error\"} 2\n".into(), None),
        ] {
            let mut node = process(Service::ProxyNode, "n-1");
            node.metrics = Ok(Metrics::parse(&text));
            let found: Vec<_> =
                check(&facts(vec![node])).into_iter().map(|it| (it.severity, it.finding)).collect();
            assert_eq!(found.len(), usize::from(expected.is_some()), "{text}: {found:?}");
            assert!(
                found.iter().all(|(severity, said)| expected
                    .is_some_and(|(wanted, part)| *severity == wanted && said.contains(part))),
                "{found:?}"
            );
        }
    }

    #[test]
    fn complaints_are_quoted_with_their_age() {
        let complaint = |age, target: &str, text: &str| Complaint {
            age: Duration::from_secs(age),
            target: target.into(),
            text: text.into(),
        };
        let found = |errors, more| -> Vec<(Severity, String)> {
            let mut node = process(Service::ProxyNode, "n-1");
            node.complaints = Some(Complaints { errors, more });
            check(&facts(vec![node])).into_iter().map(|it| (it.severity, it.finding)).collect()
        };
        assert!(found(vec![], false).is_empty());
        let errors = vec![
            complaint(300, "registry::owner", "the database cannot be written"),
            complaint(900, "x", "older"),
            complaint(1000, "panic", "boom"),
        ];
        let said = found(errors, true);
        assert_eq!(said.len(), 2, "{said:?}");
        let expected = "it has logged 2 errors or more in the last hour, the newest 5 min ago: \
            registry::owner: the database cannot be written";
        assert_eq!(said[0], (Warning, expected.to_owned()));
        assert!(
            said[1].1.contains("1 panic or more") && said[1].1.contains("16 min ago: panic: boom"),
            "{said:?}"
        );
        assert!(found(vec![complaint(1, "x", &"y".repeat(500))], false)[0].1.len() < 300);
        // Of an older version there is only a count.
        let mut old = process(Service::ProxyNode, "n-1");
        old.complaints = None;
        old.metrics = Ok(Metrics::parse("shoal_log_lines_total{level=\"error\"} 2\n"));
        let found = check(&facts(vec![old]));
        assert!(
            found.len() == 1
                && found[0].severity == Info
                && found[0].finding.contains("logged 2 errors since"),
            "{found:?}"
        );
    }
}

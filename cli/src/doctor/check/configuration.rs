//! Does everybody run the released revision, and was any refused?

mod drift;

use std::collections::BTreeSet;

use cluster::Service;

use self::drift::{failed_rollout, not_in_step};
use crate::doctor::{
    facts::{Configuration, Facts, Process},
    finding::{
        Finding,
        Severity::{Critical, Info, Warning},
        counted,
    },
};

const CHECK: &str = "configuration";

const FOLLOWS: &str = "wait a moment: it gets the released one by itself; if that does not end, \
    see `shoal config drift` and its log";

/// Goes through all of it.
pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = service(facts);
    found.extend(facts.processes.iter().filter_map(refused));
    found.extend(facts.processes.iter().filter_map(unconfirmed));
    found.extend(versions(facts));
    found
}

fn follows(process: &&Process) -> bool {
    matches!(process.service, Service::ProxyNode | Service::Balancer | Service::HealthChecker)
}

fn service(facts: &Facts) -> Vec<Finding> {
    let configuration = match &facts.configuration {
        Some(Ok(configuration)) => configuration,
        Some(Err(why)) => {
            let remedy = match facts.way_back() {
                Some(_) => {
                    "see whether it runs, and its log; if its database is damaged: move that file \
                     aside, start it, `shoal backup restore latest`"
                }
                None => {
                    "see whether it runs, and its log; every process keeps the configuration that \
                     it has meanwhile"
                }
            };
            let text = format!("no config-service answers ({why}): nothing can be changed");
            return [Finding::new(Critical, CHECK, "config-service", text, remedy)]
                .into_iter()
                .chain(among_themselves(facts))
                .collect();
        }
        // Without the registry nobody knows whether there is one.
        None if facts.registry.is_err() => return Vec::new(),
        None => {
            let text = "the registry lists no config-service: nothing can be changed";
            return vec![Finding::new(
                Critical,
                CHECK,
                "config-service",
                text,
                "start one: `shoal serve config-service`, see its --help",
            )];
        }
    };
    let mut found: Vec<_> = nothing_released(facts, configuration).into_iter().collect();
    found.extend(configuration.drift.iter().map(|drift| not_in_step(facts, drift)));
    let in_drift: BTreeSet<_> = configuration.drift.iter().map(|drift| &drift.name).collect();
    for process in facts
        .processes
        .iter()
        .filter(follows)
        .filter(|process| !in_drift.contains(&process.name) && !process.is_away())
    {
        let Some(applied) = process.listed.as_ref().map(|status| &status.instance.applied_revision)
        else {
            continue;
        };
        if !configuration.released.is_empty()
            && !applied.is_empty()
            && *applied != configuration.released
        {
            let text =
                format!("it runs revision {applied}, released is {}", configuration.released);
            found.push(Finding::new(Warning, CHECK, &process.name, text, FOLLOWS));
        }
    }
    found.extend(configuration.failed_rollout.as_ref().map(failed_rollout));
    found
}

fn nothing_released(facts: &Facts, configuration: &Configuration) -> Option<Finding> {
    if !configuration.released.is_empty() {
        return None;
    }
    let running = facts
        .processes
        .iter()
        .filter(follows)
        .filter_map(|process| Some(&process.listed.as_ref()?.instance.applied_revision));
    let text = match running.filter(|revision| !revision.is_empty()).count() {
        0 => "no revision is released: nodes that join get nothing".to_owned(),
        running => format!(
            "no revision is released, although {running} processes run one: the config-service has \
             lost its history"
        ),
    };
    let remedy = match facts.way_back() {
        Some(backup) => format!(
            "`shoal backup restore latest`: of {:.0}; it shows what would change, and asks",
            backup.made
        ),
        None => "apply a bundle with `shoal config apply DIR`".to_owned(),
    };
    Some(Finding::new(Critical, CHECK, "config-service", text, remedy))
}

/// Without the config-service nobody knows what is released, but all should run the same.
fn among_themselves(facts: &Facts) -> Option<Finding> {
    let applied = facts
        .processes
        .iter()
        .filter(follows)
        .filter_map(|process| Some(&process.listed.as_ref()?.instance.applied_revision));
    let different: BTreeSet<_> = applied.filter(|revision| !revision.is_empty()).collect();
    (different.len() > 1).then(|| {
        let list: Vec<_> = different.into_iter().map(String::as_str).collect();
        Finding::new(
            Warning,
            CHECK,
            "config-service",
            format!("different revisions are in force: {}", list.join(", ")),
            "see `shoal config drift` when a config-service answers",
        )
    })
}

fn refused(process: &Process) -> Option<Finding> {
    let count = process
        .metrics
        .as_ref()
        .ok()?
        .with(chassis::metrics::CONFIGURATIONS, "result", "rejected")
        .filter(|count| *count > 0)?;
    let remedy =
        format!("`shoal config rollout` and {} say why; it keeps what it has", process.log_hint());
    Some(Finding::new(
        Warning,
        CHECK,
        &process.name,
        format!("it has refused {} since it started", counted(count, "configuration")),
        remedy,
    ))
}

fn unconfirmed(process: &Process) -> Option<Finding> {
    let confirmed =
        process.metrics.as_ref().ok()?.count(chassis::metrics::CONFIGURATION_CONFIRMED)?;
    let remedy = "wait: it is confirmed after 60 s of serving; until then a crash goes back to the \
        one before";
    (confirmed == 0 && process.listed.is_some()).then(|| {
        Finding::new(
            Info,
            CHECK,
            &process.name,
            "its configuration is in force and not confirmed yet",
            remedy,
        )
    })
}

fn versions(facts: &Facts) -> Option<Finding> {
    let versions: BTreeSet<_> = facts
        .processes
        .iter()
        .filter_map(|process| Some(process.listed.as_ref()?.instance.version.as_str()))
        .collect();
    (versions.len() > 1).then(|| {
        let list: Vec<_> = versions.into_iter().collect();
        let text = format!("different versions of Shoal run: {}", list.join(", "));
        Finding::new(
            Info,
            CHECK,
            "cluster",
            text,
            "finish the upgrade: see VERSION in `shoal node list --service …`",
        )
    })
}

#[cfg(test)]
mod tests {
    use chassis::scrape::Metrics;
    use proto::config::Cause;

    use super::*;
    use crate::doctor::{
        facts::{
            Backup, Backups, Drift, FailedRollout,
            tests::{facts, now, process},
        },
        finding::Severity,
    };

    fn found(change: impl FnOnce(&mut Facts)) -> Vec<(Severity, String)> {
        let mut facts =
            facts(vec![process(Service::ProxyNode, "n-1"), process(Service::Balancer, "b-1")]);
        change(&mut facts);
        check(&facts)
            .into_iter()
            .map(|it| (it.severity, format!("{}: {}", it.subjects.join(","), it.finding)))
            .collect()
    }

    fn drift(name: &str, cause: Cause, why: &str) -> Vec<Drift> {
        vec![Drift { name: name.to_owned(), cause, why: why.to_owned() }]
    }

    fn failed(refused: Option<Cause>, why: &str) -> Option<FailedRollout> {
        let refused = refused.map(|cause| ("n-1".to_owned(), cause));
        Some(FailedRollout { revision: "7".to_owned(), refused, why: why.to_owned() })
    }

    fn remedy(change: impl FnOnce(&mut Configuration)) -> String {
        let mut facts = facts(vec![process(Service::ProxyNode, "n-1")]);
        let configuration = facts.configuration.as_mut().unwrap().as_mut().unwrap();
        change(configuration);
        check(&facts).pop().unwrap().remedy
    }

    #[test]
    fn every_cause_has_its_remedy() {
        for (cause, part) in [
            (Cause::Disk, "make room"),
            (Cause::Crashed, "`shoal config retry n-1`"),
            (Cause::NotConnected, "reaches the config-service"),
            (Cause::NoAnswer, "wait a moment"),
            (Cause::Unspecified, "mend"),
        ] {
            let told = remedy(|it| it.drift = drift("n-1", cause, "words"));
            assert!(told.contains(part), "{cause:?}: {told}");
        }
        for (refused, part) in [
            (Some(Cause::Disk), "the bundle is right"),
            (Some(Cause::Crashed), "`shoal config retry n-1`"),
            (Some(Cause::Unspecified), "mend the bundle"),
            (None, "when it is well"),
        ] {
            let told = remedy(|it| it.failed_rollout = failed(refused, "words"));
            assert!(told.contains(part), "{refused:?}: {told}");
        }
        let away = |it: &mut Facts| {
            it.processes[0].listed.as_mut().unwrap().state = cluster::State::Lost;
            it.processes[0].listed.as_mut().unwrap().instance.applied_revision = "0000".into();
            it.configuration.as_mut().unwrap().as_mut().unwrap().drift =
                drift("n-1", Cause::NotConnected, "not connected: later");
        };
        says(&found(away), &[(Info, "not in step: not connected")]);
    }

    #[test]
    fn a_lost_history_comes_back_from_a_backup() {
        let backup = Backup { made: now(), cluster_id: String::new() };
        let backups = Some(Ok(Backups { newest: Some(backup), damaged: vec![] }));
        for configuration in [Ok(Configuration::default()), Err("refused".into())] {
            let facts = Facts {
                configuration: Some(configuration),
                backups: backups.clone(),
                ..facts(vec![])
            };
            let found = check(&facts);
            assert!(found[0].remedy.contains("`shoal backup restore latest`"), "{found:?}");
            let without = check(&Facts { backups: None, ..facts });
            assert!(!without[0].remedy.contains("restore"), "{without:?}");
        }
    }

    fn says(found: &[(Severity, String)], expected: &[(Severity, &str)]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for ((severity, text), (wanted, part)) in found.iter().zip(expected) {
            assert!(severity == wanted && text.contains(part), "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn table() {
        says(&found(|_| {}), &[]);
        says(&found(|it| it.configuration = None), &[(Critical, "lists no config-service")]);
        // Nobody was asked: nothing is known.
        says(&found(|it| (it.registry, it.configuration) = (Err("refused".into()), None)), &[]);
        says(
            &found(|it| it.configuration = Some(Err("refused".into()))),
            &[(Critical, "no config-service answers (refused)")],
        );
        says(
            &found(|it| it.configuration = Some(Ok(Configuration::default()))),
            &[(Critical, "although 2 processes run one")],
        );
        let other = |it: &mut Facts| {
            it.processes[0].listed.as_mut().unwrap().instance.applied_revision = "0000".into()
        };
        says(&found(other), &[(Warning, "n-1: it runs revision 0000, released is 4f2a")]);
        says(
            &found(|it| {
                other(it);
                it.configuration = Some(Err("refused".into()));
            }),
            &[
                (Critical, "no config-service"),
                (Warning, "different revisions are in force: 0000, 4f2a"),
            ],
        );
        let drifting = |it: &mut Facts| {
            other(it);
            it.configuration.as_mut().unwrap().as_mut().unwrap().drift =
                drift("n-1", Cause::Unspecified, "it rejected 4f2a: no port");
        };
        says(&found(drifting), &[(Warning, "n-1: not in step: it rejected 4f2a: no port")]);
        let failing = |it: &mut Facts| {
            it.configuration.as_mut().unwrap().as_mut().unwrap().failed_rollout =
                failed(Some(Cause::Unspecified), "n-1 rejected it");
        };
        says(
            &found(failing),
            &[(Warning, "the last rollout, of revision 7, failed: n-1 rejected it")],
        );
        let metrics = |text: &'static str| {
            move |it: &mut Facts| it.processes[1].metrics = Ok(Metrics::parse(text))
        };
        says(
            &found(metrics("shoal_configurations_total{result=\"rejected\"} 2\n")),
            &[(Warning, "b-1: it has refused 2 configurations")],
        );
        says(
            &found(metrics(
                "shoal_configurations_total{result=\"applied\"} 2\n\
                 shoal_configuration_confirmed 1\n",
            )),
            &[],
        );
        says(&found(metrics("shoal_configuration_confirmed 0\n")), &[(Info, "not confirmed yet")]);
        says(
            &found(|it| it.processes[0].listed.as_mut().unwrap().instance.version = "2".into()),
            &[(Info, "different versions of Shoal run: 1, 2")],
        );
    }
}

//! Does everybody run the released revision, and was any refused?

use std::collections::BTreeSet;

use cluster::Service;

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{Critical, Info, Warning},
    },
};

const CHECK: &str = "configuration";
const APPLY: &str = "apply it again with `shoal config apply`, or see `shoal config drift`";

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
            let remedy = "see whether it runs and its log; every process keeps the configuration that it has meanwhile";
            let text = format!("no config-service answers ({why}): nothing can be changed");
            return [Finding::new(Critical, CHECK, "config-service", text, remedy)].into_iter().chain(among_themselves(facts)).collect();
        }
        None => {
            let text = "the registry lists no config-service: nothing can be changed";
            return vec![Finding::new(Critical, CHECK, "config-service", text, "start one with `shoal serve config-service`")];
        }
    };
    let mut found = Vec::new();
    if configuration.released.is_empty() {
        let remedy = "apply a bundle with `shoal config apply DIR`";
        found.push(Finding::new(Critical, CHECK, "config-service", "no revision is released: nodes that join get nothing", remedy));
    }
    for (name, why) in &configuration.drift {
        let why = if why.is_empty() { "it does not run what it was assigned" } else { why };
        found.push(Finding::new(Warning, CHECK, name, format!("not in step: {why}"), APPLY));
    }
    let in_drift: BTreeSet<_> = configuration.drift.iter().map(|(name, _)| name).collect();
    for process in facts.processes.iter().filter(follows).filter(|process| !in_drift.contains(&process.name)) {
        let Some(applied) = process.listed.as_ref().map(|status| &status.instance.applied_revision) else { continue };
        if !configuration.released.is_empty() && !applied.is_empty() && *applied != configuration.released {
            let text = format!("it runs revision {applied}, released is {}", configuration.released);
            found.push(Finding::new(Warning, CHECK, &process.name, text, APPLY));
        }
    }
    if let Some((revision, why)) = &configuration.failed_rollout {
        let remedy = "mend the bundle and apply it again: `shoal config rollout` shows each node's answer";
        found.push(Finding::new(
            Warning,
            CHECK,
            "config-service",
            format!("the last rollout, of revision {revision}, failed: {why}"),
            remedy,
        ));
    }
    found
}

/// Without the config-service nobody knows what is released, but all should run the same.
fn among_themselves(facts: &Facts) -> Option<Finding> {
    let applied = facts.processes.iter().filter(follows).filter_map(|process| Some(&process.listed.as_ref()?.instance.applied_revision));
    let different: BTreeSet<_> = applied.filter(|revision| !revision.is_empty()).collect();
    (different.len() > 1).then(|| {
        let list: Vec<_> = different.into_iter().map(String::as_str).collect();
        Finding::new(Warning, CHECK, "config-service", format!("different revisions are in force: {}", list.join(", ")), APPLY)
    })
}

fn refused(process: &Process) -> Option<Finding> {
    let count = process.metrics.as_ref().ok()?.with(chassis::metrics::CONFIGURATIONS, "result", "rejected").filter(|count| *count > 0)?;
    let remedy = format!("`shoal config rollout` and {} say why; it keeps what it has", process.log_hint());
    Some(Finding::new(Warning, CHECK, &process.name, format!("it has refused {count} configuration(s) since it started"), remedy))
}

fn unconfirmed(process: &Process) -> Option<Finding> {
    let confirmed = process.metrics.as_ref().ok()?.count(chassis::metrics::CONFIGURATION_CONFIRMED)?;
    let remedy = "wait: it is confirmed after 60 s of serving; until then a crash goes back to the one before";
    (confirmed == 0 && process.listed.is_some())
        .then(|| Finding::new(Info, CHECK, &process.name, "its configuration is in force and not confirmed yet", remedy))
}

fn versions(facts: &Facts) -> Option<Finding> {
    let versions: BTreeSet<_> =
        facts.processes.iter().filter_map(|process| Some(process.listed.as_ref()?.instance.version.as_str())).collect();
    (versions.len() > 1).then(|| {
        let list: Vec<_> = versions.into_iter().collect();
        let text = format!("different versions of Shoal run: {}", list.join(", "));
        Finding::new(Info, CHECK, "cluster", text, "finish the upgrade: see VERSION in `shoal node list --service …`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        doctor::{
            facts::{
                Configuration,
                tests::{facts, process},
            },
            finding::Severity,
        },
        exposition::Exposition,
    };

    fn found(change: impl FnOnce(&mut Facts)) -> Vec<(Severity, String)> {
        let mut facts = facts(vec![process(Service::ProxyNode, "n-1"), process(Service::Balancer, "b-1")]);
        change(&mut facts);
        check(&facts).into_iter().map(|it| (it.severity, format!("{}: {}", it.subjects.join(","), it.finding))).collect()
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
        says(&found(|it| it.configuration = Some(Err("refused".into()))), &[(Critical, "no config-service answers (refused)")]);
        says(&found(|it| it.configuration = Some(Ok(Configuration::default()))), &[(Critical, "no revision is released")]);
        let other = |it: &mut Facts| it.processes[0].listed.as_mut().unwrap().instance.applied_revision = "0000".into();
        says(&found(other), &[(Warning, "n-1: it runs revision 0000, released is 4f2a")]);
        says(
            &found(|it| {
                other(it);
                it.configuration = Some(Err("refused".into()));
            }),
            &[(Critical, "no config-service"), (Warning, "different revisions are in force: 0000, 4f2a")],
        );
        let drift = |it: &mut Facts| {
            other(it);
            it.configuration.as_mut().unwrap().as_mut().unwrap().drift = vec![("n-1".into(), "it rejected 4f2a: no port".into())];
        };
        says(&found(drift), &[(Warning, "n-1: not in step: it rejected 4f2a: no port")]);
        let failed = |it: &mut Facts| {
            it.configuration.as_mut().unwrap().as_mut().unwrap().failed_rollout = Some(("7".into(), "n-1 rejected it".into()));
        };
        says(&found(failed), &[(Warning, "the last rollout, of revision 7, failed: n-1 rejected it")]);
        let metrics = |text: &'static str| move |it: &mut Facts| it.processes[1].metrics = Ok(Exposition::parse(text));
        says(&found(metrics("shoal_configurations_total{result=\"rejected\"} 2\n")), &[(Warning, "b-1: it has refused 2")]);
        says(&found(metrics("shoal_configurations_total{result=\"applied\"} 2\nshoal_configuration_confirmed 1\n")), &[]);
        says(&found(metrics("shoal_configuration_confirmed 0\n")), &[(Info, "not confirmed yet")]);
        says(
            &found(|it| it.processes[0].listed.as_mut().unwrap().instance.version = "2".into()),
            &[(Info, "different versions of Shoal run: 1, 2")],
        );
    }
}

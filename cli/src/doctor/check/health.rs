//! Is everybody looked after by enough health-checkers?

use std::collections::BTreeSet;

use cluster::{Service, State};

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{Info, Warning},
    },
};

const CHECK: &str = "health checks";

/// Checkers, checks, and opinions about every node.
pub fn check(facts: &Facts) -> Vec<Finding> {
    if facts.registry.is_err() {
        // Nobody knows who is there.
        return Vec::new();
    }
    let well = |process: &&Process| {
        process
            .listed
            .as_ref()
            .is_some_and(|status| matches!(status.state, State::Usable | State::Suspect))
            && process.answers()
    };
    let checkers = facts
        .processes
        .iter()
        .filter(|process| process.service == Service::HealthChecker)
        .filter(well)
        .count();
    let mut found: Vec<_> = number(checkers).into_iter().collect();
    let checks = facts.checkers.iter().map(|(_, checks)| *checks).max();
    // What a checker lists is checks of instances: without a node there is nothing to list,
    // whatever the bundle asks for.
    let nodes = facts
        .processes
        .iter()
        .filter(|process| process.service == Service::ProxyNode)
        .filter(well)
        .count();
    if checks == Some(0) && nodes > 0 {
        let remedy = "see checks in `shoal config show --file cluster.yaml`; for instance: checks: \
            [{name: through-proxy, type: proxy, url: built-in, \
                      interval: 10s}]";
        found.push(Finding::new(
            Info,
            CHECK,
            "cluster",
            "no health-checker has anything to check: the bundle asks for no checks of proxy-nodes",
            remedy,
        ));
    }
    if checkers > 0 && checks.is_some_and(|checks| checks > 0) {
        let nodes = facts
            .processes
            .iter()
            .filter(|process| process.service == Service::ProxyNode)
            .filter(well);
        found.extend(nodes.filter_map(|node| opinions(node, facts)));
    }
    found
}

fn number(checkers: usize) -> Option<Finding> {
    let (severity, text) = match checkers {
        0 => {
            (Warning, "no health-checker is there: only the balancers' own checks tell who is well")
        }
        1 => (
            Warning,
            "only one health-checker is there: at least two have to agree before a node is taken \
             out",
        ),
        2 => (
            Info,
            "two health-checkers are there: with one of them gone no node is taken out any more",
        ),
        _ => return None,
    };
    Some(Finding::new(
        severity,
        CHECK,
        "health-checker",
        text,
        "run three or more, on different machines: `shoal serve health-checker`",
    ))
}

fn opinions(node: &Process, facts: &Facts) -> Option<Finding> {
    let status = node.listed.as_ref()?;
    // Who just registered has not been looked at yet.
    if facts.now.duration_since(status.registered_at) < jiff::SignedDuration::from_secs(60) {
        return None;
    }
    let fresh = || status.opinions.iter().filter(|opinion| opinion.is_fresh(facts.now));
    let heard: BTreeSet<_> = fresh().map(|opinion| opinion.checker.as_str()).collect();
    let assigned = fresh().map(|opinion| opinion.assigned).max().unwrap_or(0);
    let missing = usize::try_from(assigned).unwrap_or(usize::MAX).saturating_sub(heard.len());
    let remedy = "see `shoal check list`: which checker has not reported, and why";
    if heard.is_empty() {
        return Some(Finding::new(
            Warning,
            CHECK,
            &node.name,
            "no health-checker has a fresh opinion of it: it counts as well",
            remedy,
        ));
    }
    (missing > 0).then(|| {
        let text =
            format!("{missing} of its {assigned} health-checkers have no fresh opinion of it");
        Finding::new(Warning, CHECK, &node.name, text, remedy)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cluster::{Opinion, Verdict};
    use jiff::SignedDuration;

    use super::*;
    use crate::doctor::facts::tests::{facts, now, process};

    /// A cluster of so many checkers and one node with these opinions: checker, age in seconds,
    /// assigned.
    fn found(
        checkers: usize,
        checks: usize,
        opinions: &[(&str, i64, u32)],
    ) -> Vec<(String, String)> {
        let mut node = process(Service::ProxyNode, "n-1");
        let status = node.listed.as_mut().unwrap();
        status.registered_at = now() - SignedDuration::from_secs(600);
        let opinion = |(checker, age, assigned): &(&str, i64, u32)| Opinion {
            checker: (*checker).to_owned(),
            check: "c".into(),
            target_id: status.instance.id,
            target_name: "n-1".into(),
            verdict: Verdict::Passing,
            observed_at: now() - SignedDuration::from_secs(*age),
            ttl: Duration::from_secs(30),
            detail: String::new(),
            assigned: *assigned,
        };
        status.opinions = opinions.iter().map(opinion).collect();
        let names: Vec<_> = (1..=checkers).map(|number| format!("h-{number}")).collect();
        let processes =
            names.iter().map(|name| process(Service::HealthChecker, name)).chain([node]);
        let mut facts = facts(processes.collect());
        facts.checkers = names.into_iter().map(|name| (name, checks)).collect();
        check(&facts).into_iter().map(|it| (it.subjects.join(","), it.finding)).collect()
    }

    #[test]
    fn table() {
        let all = [("h-1", 1, 3), ("h-2", 1, 3), ("h-3", 1, 3)];
        assert!(found(3, 1, &all).is_empty());
        assert!(found(0, 1, &all)[0].1.contains("no health-checker"));
        assert!(found(1, 1, &[("h-1", 1, 1)])[0].1.contains("only one"));
        assert!(found(2, 1, &all)[0].1.contains("two health-checkers"));
        assert_eq!(
            found(3, 1, &all[..2]),
            [(
                "n-1".to_owned(),
                "1 of its 3 health-checkers have no fresh opinion of it".to_owned()
            )]
        );
        assert_eq!(
            found(3, 1, &[("h-1", 1, 3), ("h-2", 1, 3), ("h-3", 60, 3)]).len(),
            1,
            "an expired one does not count"
        );
        assert!(found(3, 1, &[])[0].1.contains("no health-checker has a fresh opinion"));
        assert!(found(3, 0, &[])[0].1.contains("no checks"));
        assert_eq!(found(3, 0, &[]).len(), 1);
        // Without a node nothing is known of the bundle's checks.
        let mut nobody =
            facts(["h-1", "h-2", "h-3"].map(|name| process(Service::HealthChecker, name)).into());
        nobody.checkers = vec![("h-1".into(), 0)];
        assert!(check(&nobody).is_empty());
    }

    #[test]
    fn who_just_came_has_no_opinions_yet() {
        let processes =
            ["h-1", "h-2", "h-3"].map(|name| process(Service::HealthChecker, name)).into_iter();
        let mut facts = facts(processes.chain([process(Service::ProxyNode, "n-1")]).collect());
        facts.checkers = vec![("h-1".into(), 1)];
        assert!(check(&facts).is_empty());
    }
}

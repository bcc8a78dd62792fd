//! Are the processes there, do they answer, and do their ports take connections?

use cluster::{InstanceStatus, State};

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{self, Critical, Info, Warning},
    },
};

const CHECK: &str = "processes";

/// Everybody is listed, answers, is ready, and may serve.
pub fn processes(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(why) = &facts.registry {
        let remedy = "see whether it runs and its log; balancers and nodes go on with what they have, but nothing new is seen";
        found.push(Finding::new(Critical, CHECK, "registry", format!("the registry does not answer: {why}"), remedy));
    }
    if facts.registry.is_ok() && facts.processes.is_empty() {
        let remedy = "start processes with --registry, --ca, --cert and --key of this cluster";
        found.push(Finding::new(Critical, CHECK, "registry", "the registry lists nobody", remedy));
    }
    found.extend(facts.processes.iter().flat_map(|process| answers(process, facts.registry.is_ok())));
    found.extend(facts.processes.iter().filter_map(standing));
    found
}

/// What can be seen of a process without asking anybody else.
fn answers(process: &Process, registry_answers: bool) -> Option<Finding> {
    let finding = |severity, text: String, remedy: String| Some(Finding::new(severity, CHECK, &process.name, text, remedy));
    let log = process.log_hint();
    if process.listed.is_none() && registry_answers {
        let text = if process.answers() { "it runs, and the registry does not list it" } else { "it should run, and is nowhere" };
        return finding(Critical, text.to_owned(), format!("see {log}, and --registry of the process"));
    }
    match (&process.grpc, &process.ready) {
        (Err(grpc), Err(admin)) => {
            // Asked for by somebody, or already said by what the registry makes of it: still, nothing of it answers.
            let severity = if is_leaving(process.listed.as_ref()) { Info } else { Critical };
            let text = format!("it does not answer: gRPC: {grpc}; admin HTTP: {admin}");
            finding(severity, text, format!("see whether it runs, is stopped (SIGSTOP) or hangs, see {log}, and start it again"))
        }
        (Err(why), Ok(_)) => finding(
            Critical,
            format!("its gRPC port does not answer: {why}"),
            format!("see {log}; it answers admin HTTP, so the process runs"),
        ),
        (Ok(_), Err(why)) => finding(
            Warning,
            format!("its admin HTTP port does not answer from here: {why}"),
            "open the port for probes and scrapers, or see whether the process is overloaded".to_owned(),
        ),
        (Ok(_), Ok(Err(why))) => {
            let severity = if is_leaving(process.listed.as_ref()) { Info } else { Warning };
            finding(
                severity,
                format!("it is not ready: {why}"),
                format!("wait until it has started or drained; if that does not end, see {log}"),
            )
        }
        (Ok(false), Ok(Ok(()))) => finding(
            Warning,
            "gRPC health says that it does not serve, although /readyz says ready".to_owned(),
            format!("see {log}, and start it again"),
        ),
        (Ok(true), Ok(Ok(()))) => None,
    }
}

fn is_leaving(listed: Option<&InstanceStatus>) -> bool {
    listed.is_some_and(|status| matches!(status.state, State::Draining | State::Maintenance))
}

/// What the registry makes of it.
fn standing(process: &Process) -> Option<Finding> {
    let status = process.listed.as_ref()?;
    let (severity, text, remedy): (Severity, &str, String) = match status.state {
        State::Usable => return None,
        State::Starting => {
            (Warning, "it is starting and may not serve yet", format!("wait a moment; if that does not end, see {}", process.log_hint()))
        }
        State::Suspect => (
            Warning,
            "one health-checker finds it unwell: it is picked last",
            "see `shoal check list`: is it the node, or that checker's network?".to_owned(),
        ),
        State::Critical => (
            Critical,
            "most of its health-checkers find it unwell: it gets no requests",
            format!("see `shoal check list` and {}", process.log_hint()),
        ),
        State::Lost => (
            Critical,
            "its lease has lapsed: the registry has not heard of it for longer than it may be silent",
            "see whether the process and its network are alive; it comes back by itself once it reaches the registry".to_owned(),
        ),
        State::Draining => (Info, "it drains, as was asked for", format!("when it is done with: `shoal node enable {}`", process.name)),
        State::Maintenance => {
            (Info, "it is in maintenance, as was asked for", format!("when it is done with: `shoal node enable {}`", process.name))
        }
    };
    let reasons = if status.reasons.is_empty() { String::new() } else { format!(" ({})", status.reasons.join("; ")) };
    Some(Finding::new(severity, CHECK, &process.name, format!("{text}{reasons}"), remedy))
}

/// The ports that others use take connections.
pub fn ports(facts: &Facts) -> Vec<Finding> {
    let closed = facts.processes.iter().filter(|process| process.answers()).flat_map(|process| {
        process.ports.iter().filter_map(move |(purpose, address, open)| {
            let why = open.as_ref().err()?;
            let text = format!("its {purpose} port {address} takes no connections from here: {why}");
            let remedy =
                format!("see whether something (a firewall, another address) is between here and there, and {}", process.log_hint());
            Some(Finding::new(Warning, "ports", &process.name, text, remedy))
        })
    });
    closed.collect()
}

#[cfg(test)]
mod tests {
    use cluster::Service;

    use super::*;
    use crate::doctor::facts::tests::{facts, process};

    /// What is wrong with a process, and what is found.
    type Case = (Box<dyn FnOnce(&mut Process)>, &'static [(Severity, &'static str)]);

    fn found(change: impl FnOnce(&mut Process)) -> Vec<(Severity, String)> {
        let mut node = process(Service::ProxyNode, "n-1");
        change(&mut node);
        let facts = facts(vec![node]);
        processes(&facts).into_iter().chain(ports(&facts)).map(|it| (it.severity, it.finding)).collect()
    }

    #[test]
    fn table() {
        let no = || Err("no answer".to_owned());
        let cases: Vec<Case> = vec![
            (Box::new(|_| {}), &[]),
            (Box::new(move |it| it.grpc = no()), &[(Critical, "gRPC port does not answer: no answer")]),
            (Box::new(move |it| it.ready = Err("x".into())), &[(Warning, "admin HTTP port")]),
            (Box::new(|it| it.ready = Ok(Err("starting".into()))), &[(Warning, "not ready: starting")]),
            (Box::new(|it| it.grpc = Ok(false)), &[(Warning, "although /readyz")]),
            (
                Box::new(|it| (it.grpc, it.ready) = (Err("a".into()), Err("b".into()))),
                &[(Critical, "does not answer: gRPC: a; admin HTTP: b")],
            ),
            (
                Box::new(|it| {
                    (it.grpc, it.ready) = (Err("a".into()), Err("b".into()));
                    it.listed.as_mut().unwrap().state = State::Maintenance;
                }),
                &[(Info, "does not answer"), (Info, "in maintenance")],
            ),
            (Box::new(|it| it.listed = None), &[(Critical, "the registry does not list it")]),
            (
                Box::new(|it| {
                    it.listed = None;
                    (it.grpc, it.ready) = (Err("a".into()), Err("b".into()));
                }),
                &[(Critical, "should run, and is nowhere")],
            ),
            (Box::new(|it| it.listed.as_mut().unwrap().state = State::Lost), &[(Critical, "lease has lapsed")]),
            (Box::new(|it| it.listed.as_mut().unwrap().state = State::Critical), &[(Critical, "find it unwell")]),
            (Box::new(|it| it.listed.as_mut().unwrap().state = State::Suspect), &[(Warning, "one health-checker")]),
            (Box::new(|it| it.listed.as_mut().unwrap().state = State::Starting), &[(Warning, "starting")]),
            (Box::new(|it| it.listed.as_mut().unwrap().state = State::Draining), &[(Info, "drains")]),
            (
                Box::new(|it| {
                    it.ports = vec![("proxy".into(), "h:1".into(), Ok(())), ("relay".into(), "h:2".into(), Err("refused".into()))]
                }),
                &[(Warning, "relay port h:2")],
            ),
        ];
        for (change, expected) in cases {
            let found = found(change);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for ((severity, text), (wanted, part)) in found.iter().zip(expected) {
                assert!(severity == wanted && text.contains(part), "{found:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn a_registry_that_is_away_is_one_finding() {
        let mut node = process(Service::ProxyNode, "n-1");
        node.listed = None;
        let facts = Facts { registry: Err("refused".into()), ..facts(vec![node]) };
        let found = processes(&facts);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].severity == Critical && found[0].finding.contains("refused"));
        let nobody = processes(&self::facts(vec![]));
        assert_eq!(nobody[0].finding, "the registry lists nobody");
    }
}

//! Are the processes there, do they answer, and do their ports take connections?

use chassis::silence::Kind;
use cluster::State;

use crate::doctor::{
    facts::{Facts, Open, Port, Process},
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
        let unseen = if facts.processes.is_empty() {
            "; it alone knows who else is there, so that nothing else was looked at"
        } else {
            ""
        };
        let remedy = "see whether it runs, its log, and --registry, and start it again; balancers \
            and nodes serve meanwhile with what they remember, but \
                      nobody new is seen and nothing can be changed";
        found.push(Finding::new(
            Critical,
            CHECK,
            "registry",
            format!("the registry does not answer ({why}){unseen}"),
            remedy,
        ));
    }
    if facts.registry.is_ok() && facts.processes.is_empty() {
        let remedy = "start processes with --registry, --ca, --cert and --key of this cluster";
        found.push(Finding::new(Critical, CHECK, "registry", "the registry lists nobody", remedy));
    }
    found.extend(facts.processes.iter().flat_map(|process| {
        match gone(process, facts.registry.is_ok()) {
            Some(finding) => vec![finding],
            None => answers(process, facts).into_iter().chain(standing(process)).collect(),
        }
    }));
    found
}

/// Nothing of it answers: one finding, with what the registry makes of it.
fn gone(process: &Process, registry_answers: bool) -> Option<Finding> {
    let finding = |severity, text: String, remedy: String| {
        Some(Finding::new(severity, CHECK, &process.name, text, remedy))
    };
    let (silence, log) = (process.silence()?, process.log_hint());
    let again = if silence.kind() == Kind::Refused {
        format!("nothing listens there: start it again, and see {log} for why it ended")
    } else {
        format!(
            "it is stopped (SIGSTOP), hangs, or its machine or network is down: see {log}, and \
             start it again"
        )
    };
    if process.listed.is_none() && registry_answers {
        return finding(Critical, format!("it should run, and is nowhere ({silence})"), again);
    }
    if process.was_stopped() {
        // Said by itself, so that nothing was lost; whether it should be back, nobody here knows.
        let text = format!("it was stopped and is not back ({silence})");
        return finding(
            Warning,
            text,
            format!(
                "if it should run, start it again and see {log}; otherwise it leaves the list by \
                 itself"
            ),
        );
    }
    match process.state() {
        Some(State::Draining | State::Maintenance) => {
            let text = format!(
                "it does not answer ({silence}), and was taken out by an operator{}",
                reasons(process)
            );
            finding(Info, text, format!("when it is back: `shoal node enable {}`", process.name))
        }
        Some(State::Lost) => {
            finding(Critical, format!("it does not answer ({silence}){}", reasons(process)), again)
        }
        _ => finding(Critical, format!("it does not answer ({silence})"), again),
    }
}

/// What can be seen of a process that answers without asking anybody else.
fn answers(process: &Process, facts: &Facts) -> Option<Finding> {
    let finding = |severity, text: String, remedy: String| {
        Some(Finding::new(severity, CHECK, &process.name, text, remedy))
    };
    let log = process.log_hint();
    if process.listed.is_none() && facts.registry.is_ok() {
        let text = "it runs, and the registry does not list it".to_owned();
        return finding(Critical, text, format!("see {log}, and --registry of the process"));
    }
    match (&process.grpc, &process.ready) {
        // Another finding says it, with what to do.
        (Err(_), Ok(_))
            if process
                .certificate
                .iter()
                .flatten()
                .any(|certificate| certificate.not_after <= facts.now) =>
        {
            None
        }
        (Err(why), Ok(_)) => finding(
            Critical,
            format!("its gRPC port does not answer ({why}), and its admin HTTP port does"),
            format!("see {log}: the process runs, but nobody can ask it or be told by it"),
        ),
        (Ok(_), Err(why)) => finding(
            Warning,
            format!("its admin HTTP port does not answer from here ({why})"),
            "open the port for probes and scrapers, or see whether the process is overloaded"
                .to_owned(),
        ),
        (Ok(_), Ok(Err(why))) => {
            let severity = if is_leaving(process) { Info } else { Warning };
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
        _ => None,
    }
}

fn is_leaving(process: &Process) -> bool {
    matches!(process.state(), Some(State::Draining | State::Maintenance))
}

/// ` (why; and why)`, from the registry.
fn reasons(process: &Process) -> String {
    let reasons =
        process.listed.as_ref().map(|status| status.reasons.join("; ")).unwrap_or_default();
    if reasons.is_empty() { reasons } else { format!("; {reasons}") }
}

/// What the registry makes of a process that answers.
fn standing(process: &Process) -> Option<Finding> {
    let status = process.listed.as_ref()?;
    let (name, log) = (&process.name, process.log_hint());
    let enable = || format!("when it is done with: `shoal node enable {name}`");
    let (severity, text, remedy): (Severity, &str, String) = match status.state {
        _ if status.withheld_state.is_some() => (
            Warning,
            "it would be taken out, and its loss is held back with those of others",
            format!(
                "see why the registry or the checkers do not reach it, and {log}; if it is gone: \
                 `shoal node accept-losses {}`",
                process.service
            ),
        ),
        State::Usable => return None,
        State::Starting => (
            Warning,
            "it is starting and may not serve yet",
            format!("wait a moment; if that does not end, see {log}"),
        ),
        State::Suspect => (
            Warning,
            "too few health-checkers to take it out find it unwell: it is picked last",
            "see `shoal check list`: is it the node, or the network of those checkers?".to_owned(),
        ),
        State::Critical => (
            Critical,
            "most of its health-checkers find it unwell: it gets no requests",
            format!("see `shoal check list` and {log}"),
        ),
        State::Lost => (
            Critical,
            "it answers here, and the registry has not heard of it for longer than it may be \
             silent",
            format!(
                "see whether it reaches the registry (--registry, the network between them) and \
                 {log}; it comes back by itself then"
            ),
        ),
        State::Draining if process.was_stopped() => (
            Info,
            "it stops, and finishes what it has",
            format!("none, if it was meant; see {log}"),
        ),
        State::Draining => (Info, "it drains, as an operator asked for", enable()),
        State::Maintenance => (Info, "it is in maintenance, as an operator asked for", enable()),
    };
    Some(Finding::new(severity, CHECK, name, format!("{text}{}", reasons(process)), remedy))
}

/// The ports that others use take connections. One that nothing answers from here may be closed to
/// us on purpose, by a firewall or a network policy: then those who use it know better, and the
/// process says itself that it is well.
pub fn ports(facts: &Facts) -> Vec<Finding> {
    let closed = facts.processes.iter().filter(|process| process.answers()).flat_map(|process| {
        process.ports.iter().filter_map(move |port| {
            let Port { purpose, address, open } = port;
            let log = process.log_hint();
            let (severity, why, remedy) = match open {
                Open::Yes => return None,
                Open::Refused if process.was_stopped() => return None,
                Open::Refused => (
                    Warning,
                    "nothing listens there",
                    format!("see whether it is announced where it listens, and {log}"),
                ),
                Open::Unreached(_)
                    if process.ready == Ok(Ok(())) && process.state() == Some(State::Usable) =>
                {
                    return None;
                }
                Open::Unreached(why) => (
                    Info,
                    why.as_str(),
                    format!(
                        "none, if a firewall is meant to keep this machine out; else see {log}"
                    ),
                ),
            };
            let text =
                format!("its {purpose} port {address} takes no connections from here: {why}");
            Some(Finding::new(severity, "ports", &process.name, text, remedy))
        })
    });
    closed.collect()
}

#[cfg(test)]
mod tests {
    use cluster::{AdminState, Service};

    use super::*;
    use crate::doctor::facts::tests::{certificate, facts, process};

    /// What is wrong with a process, and what is found.
    type Case = (Box<dyn FnOnce(&mut Process)>, &'static [(Severity, &'static str)]);

    fn found(change: impl FnOnce(&mut Process)) -> Vec<(Severity, String)> {
        let mut node = process(Service::ProxyNode, "n-1");
        change(&mut node);
        let facts = facts(vec![node]);
        processes(&facts).into_iter().map(|it| (it.severity, it.finding)).collect()
    }

    fn silent(it: &mut Process) {
        (it.grpc, it.ready) = (Err("no answer in time".into()), Err("no answer in time".into()));
    }

    fn in_state(state: State, reasons: &[&str]) -> impl FnOnce(&mut Process) {
        let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
        move |it| {
            let status = it.listed.as_mut().unwrap();
            (status.state, status.reasons) = (state, reasons);
        }
    }

    fn both(
        one: impl FnOnce(&mut Process) + 'static,
        other: impl FnOnce(&mut Process) + 'static,
    ) -> Box<dyn FnOnce(&mut Process)> {
        Box::new(|it| {
            one(it);
            other(it);
        })
    }

    fn asked_for(state: State) -> impl FnOnce(&mut Process) {
        move |it| {
            let status = it.listed.as_mut().unwrap();
            (status.state, status.admin_state) = (state, AdminState::Drain);
        }
    }

    #[test]
    fn table() {
        let cases: Vec<Case> = vec![
            (Box::new(|_| {}), &[]),
            (
                Box::new(|it| it.grpc = Err("refused".into())),
                &[(Critical, "gRPC port does not answer (refused)")],
            ),
            (Box::new(|it| it.ready = Err("x".into())), &[(Warning, "admin HTTP port")]),
            (
                Box::new(|it| it.ready = Ok(Err("starting".into()))),
                &[(Warning, "not ready: starting")],
            ),
            (Box::new(|it| it.grpc = Ok(false)), &[(Warning, "although /readyz")]),
            (
                both(
                    |it| it.grpc = Err("expired".into()),
                    |it| it.certificate = Ok(Some(certificate(-1, 300))),
                ),
                &[], // the certificate is the finding
            ),
            (Box::new(silent), &[(Critical, "it does not answer (no answer in time)")]),
            (
                Box::new(|it| (it.grpc, it.ready) = (Err("a".into()), Err("b".into()))),
                &[(Critical, "does not answer (gRPC: a; admin HTTP: b)")],
            ),
            // One fault, one finding.
            (
                both(silent, in_state(State::Lost, &["its lease lapsed at noon"])),
                &[(Critical, "(no answer in time); its lease lapsed at noon")],
            ),
            (both(silent, asked_for(State::Maintenance)), &[(Info, "taken out by an operator")]),
            // It said good-bye: nobody drains it.
            (
                both(silent, in_state(State::Draining, &["it was stopped"])),
                &[(Warning, "it was stopped and is not back")],
            ),
            (Box::new(in_state(State::Draining, &[])), &[(Info, "it stops, and finishes")]),
            (
                Box::new(asked_for(State::Draining)),
                &[(Info, "it drains, as an operator asked for")],
            ),
            (Box::new(|it| it.listed = None), &[(Critical, "the registry does not list it")]),
            (both(silent, |it| it.listed = None), &[(Critical, "should run, and is nowhere")]),
            (
                Box::new(in_state(State::Lost, &[])),
                &[(Critical, "answers here, and the registry has not heard")],
            ),
            (
                Box::new(in_state(State::Critical, &["w"])),
                &[(Critical, "find it unwell: it gets no requests; w")],
            ),
            (Box::new(in_state(State::Suspect, &[])), &[(Warning, "too few health-checkers")]),
            (
                both(in_state(State::Suspect, &[]), |it| {
                    it.listed.as_mut().unwrap().withheld_state = Some(State::Lost)
                }),
                &[(Warning, "its loss is held back")],
            ),
            (
                both(in_state(State::Usable, &[]), |it| {
                    it.listed.as_mut().unwrap().withheld_state = Some(State::Critical)
                }),
                &[(Warning, "its loss is held back")],
            ),
            (Box::new(in_state(State::Starting, &[])), &[(Warning, "starting")]),
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
    fn ports_are_tried_from_where_doctor_runs() {
        let port = |open: Open| {
            move |it: &mut Process| {
                it.ports = vec![Port { purpose: "proxy".into(), address: "h:1".into(), open }]
            }
        };
        let silent = || port(Open::Unreached("no answer in time".into()));
        let is = |change: Box<dyn FnOnce(&mut Process)>, expected: &[(Severity, &str)]| {
            let mut node = process(Service::ProxyNode, "n-1");
            change(&mut node);
            let found: Vec<_> =
                ports(&facts(vec![node])).into_iter().map(|it| (it.severity, it.finding)).collect();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(
                found
                    .iter()
                    .zip(expected)
                    .all(|((severity, text), (wanted, part))| severity == wanted
                        && text.contains(part)),
                "{found:?}"
            );
        };
        is(Box::new(port(Open::Yes)), &[]);
        is(
            Box::new(port(Open::Refused)),
            &[(Warning, "proxy port h:1 takes no connections from here: nothing listens there")],
        );
        is(Box::new(silent()), &[]);
        is(both(silent(), in_state(State::Critical, &[])), &[(Info, "no answer in time")]);
        is(
            both(silent(), |it| it.ready = Ok(Err("starting".into()))),
            &[(Info, "no answer in time")],
        );
        is(both(port(Open::Refused), in_state(State::Draining, &[])), &[]);
    }

    #[test]
    fn a_registry_that_is_away_is_one_finding() {
        let mut node = process(Service::ProxyNode, "n-1");
        node.listed = None;
        let facts = Facts { registry: Err("refused".into()), ..facts(vec![node]) };
        let found = processes(&facts);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].severity == Critical && found[0].finding.contains("(refused)"));
        let alone = processes(&Facts { processes: vec![], ..facts });
        assert!(
            alone.len() == 1 && alone[0].finding.contains("nothing else was looked at"),
            "{alone:?}"
        );
        let nobody = processes(&self::facts(vec![]));
        assert_eq!(nobody[0].finding, "the registry lists nobody");
    }
}

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
mod tests;

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
        (Box::new(|it| it.ready = Ok(Err("starting".into()))), &[(Warning, "not ready: starting")]),
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
        (Box::new(asked_for(State::Draining)), &[(Info, "it drains, as an operator asked for")]),
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
    is(both(silent(), |it| it.ready = Ok(Err("starting".into()))), &[(Info, "no answer in time")]);
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

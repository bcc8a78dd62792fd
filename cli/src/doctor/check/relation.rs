//! Do the processes hear one another, and do they see the nodes alike?

use std::collections::BTreeMap;

use cluster::{InstanceStatus, Service, State};
use proto::balancer::{Server, Standing};

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{Critical, Warning},
    },
};

/// What a process says of its own ties, 1 while they hold: metric, what is wrong, what to do.
const TIES: [(&str, &str, &str); 3] = [
    (
        chassis::metrics::REGISTERED,
        "its lease at the registry is not kept alive",
        "see whether it reaches the registry (--registry, the network between them) and the registry's log",
    ),
    (
        chassis::metrics::MEMBERSHIP_LIVE,
        "it goes by the membership that it remembers, because it does not hear the registry",
        "see whether it reaches the registry; it goes on serving meanwhile",
    ),
    (
        chassis::metrics::CONFIGURATION_LIVE,
        "it does not hear the config-service, and keeps the configuration that it has",
        "see whether the config-service runs, and whether it is reached from there",
    ),
];

/// Every process hears registry and config-service; no pool's losses are held back.
pub fn synchronisation(facts: &Facts) -> Vec<Finding> {
    let check = "synchronisation";
    let mut found: Vec<_> = facts.processes.iter().flat_map(|process| ties(process, check)).collect();
    let guards = facts.registry.iter().flat_map(|register| &register.guards).filter(|guard| guard.holding);
    found.extend(guards.map(|guard| {
        let text = format!(
            "losses are held back as implausible ({} of {} well; held: {}): {}",
            guard.well,
            guard.members,
            guard.held.join(", "),
            guard.explanation
        );
        let remedy =
            format!("if they are real: `shoal node accept-losses {}`; if not, see why the registry cannot hear them", guard.service);
        Finding::new(Critical, check, guard.service.as_str(), text, remedy)
    }));
    found
}

fn ties(process: &Process, check: &'static str) -> Vec<Finding> {
    let Ok(metrics) = &process.metrics else { return Vec::new() };
    let broken = TIES.iter().filter(|(metric, ..)| metrics.count(metric) == Some(0));
    broken.map(|(_, text, remedy)| Finding::new(Warning, check, &process.name, *text, *remedy)).collect()
}

/// The balancers use the nodes that the registry finds usable, and no others.
pub fn balancers(facts: &Facts) -> Vec<Finding> {
    let listed: BTreeMap<_, _> = facts
        .processes
        .iter()
        .filter(|process| process.service == Service::ProxyNode)
        .filter_map(|process| Some((process.name.as_str(), process.listed.as_ref()?)))
        .collect();
    let mut found = Vec::new();
    for (balancer, stats) in &facts.balancers {
        for backend in &stats.backends {
            if backend.panic {
                let text = format!(
                    "backend {} panics: fewer servers are well than its threshold asks for, so that unwell ones are used too",
                    backend.name
                );
                found.push(Finding::new(
                    Critical,
                    "relations",
                    balancer,
                    text,
                    "see the findings about its nodes; bring some back, or take dead ones out of the bundle",
                ));
            }
            if backend.servers.is_empty() {
                let text = format!("backend {} has no server at all", backend.name);
                found.push(Finding::new(
                    Critical,
                    "relations",
                    balancer,
                    text,
                    "see `shoal node list` and balancer.backends in the bundle",
                ));
            }
            found.extend(
                backend
                    .servers
                    .iter()
                    .filter_map(|server| server_of(balancer, server, listed.get(server.name.as_str()).copied(), facts.registry.is_ok())),
            );
        }
    }
    found
}

fn server_of(balancer: &str, server: &Server, listed: Option<&InstanceStatus>, registry_answers: bool) -> Option<Finding> {
    let finding = |text: String, remedy: &str| Some(Finding::new(Warning, "relations", balancer, text, remedy));
    let (name, reasons) = (&server.name, server.reasons.join("; "));
    if server.drift {
        let text = format!("it keeps an admin state or weight of {name} of its own, which the registry does not know");
        return finding(text, "set it again with `shoal node …` now that the registry answers");
    }
    if !server.discovered {
        return (server.standing() == Standing::Unwell).then(|| {
            let text = format!("its server {name} ({}) is unwell: {reasons}", server.address);
            Finding::new(Warning, "relations", balancer, text, "see whether that server runs and can be reached from the balancer")
        });
    }
    match (listed.map(|status| status.state), server.standing()) {
        (None, _) if registry_answers => finding(
            format!("it knows {name}, which the registry does not list"),
            "wait a moment: it hears of changes at once; if that does not end, see its log",
        ),
        (Some(State::Usable), Standing::Unwell) => finding(
            format!("it finds {name} unwell, which the registry finds usable: {reasons}"),
            "see the network between the balancer and the node, and `shoal explain URL`",
        ),
        (Some(State::Usable), Standing::Excluded) => finding(
            format!("it excludes {name}, which the registry finds usable: {reasons}"),
            "see `shoal explain URL`; a weight of 0 takes no requests either",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cluster::PoolGuard;
    use proto::balancer::{Backend, Stats};

    use super::*;
    use crate::{
        doctor::facts::{
            Register,
            tests::{facts, process},
        },
        exposition::Exposition,
    };

    fn server(name: &str, standing: Standing) -> Server {
        Server { name: name.into(), standing: standing.into(), discovered: true, reasons: vec!["why".into()], ..Server::default() }
    }

    fn found(state: State, servers: Vec<Server>, panic: bool) -> Vec<String> {
        let mut node = process(Service::ProxyNode, "n-1");
        node.listed.as_mut().unwrap().state = state;
        let backend = Backend { name: "back".into(), servers, panic, ..Backend::default() };
        let stats = Stats { backends: vec![backend], ..Stats::default() };
        let facts = Facts { balancers: vec![("b-1".into(), stats)], ..facts(vec![node]) };
        balancers(&facts).into_iter().map(|it| it.finding).collect()
    }

    #[test]
    fn what_balancers_and_registry_see() {
        let one = |state, standing| found(state, vec![server("n-1", standing)], false);
        assert!(one(State::Usable, Standing::Usable).is_empty());
        assert!(one(State::Usable, Standing::Last).is_empty());
        assert!(one(State::Lost, Standing::Unwell).is_empty() && one(State::Draining, Standing::Excluded).is_empty(), "they agree");
        assert!(one(State::Usable, Standing::Unwell)[0].contains("finds n-1 unwell, which the registry finds usable: why"));
        assert!(one(State::Usable, Standing::Excluded)[0].contains("excludes n-1"));
        assert!(found(State::Usable, vec![server("n-9", Standing::Usable)], false)[0].contains("n-9, which the registry does not list"));
        assert!(found(State::Usable, vec![], false)[0].contains("no server at all"));
        assert!(found(State::Usable, vec![server("n-1", Standing::Usable)], true)[0].contains("panics"));
        let drift = Server { drift: true, ..server("n-1", Standing::Excluded) };
        assert!(found(State::Usable, vec![drift], false)[0].contains("of its own"));
        let fixed = |standing| Server { discovered: false, ..server("squid", standing) };
        assert!(found(State::Usable, vec![fixed(Standing::Usable)], false).is_empty());
        assert!(found(State::Usable, vec![fixed(Standing::Unwell)], false)[0].contains("its server squid"));
    }

    #[test]
    fn ties_and_guards() {
        let with = |text: &str| {
            let mut node = process(Service::ProxyNode, "n-1");
            node.metrics = Ok(Exposition::parse(text));
            synchronisation(&facts(vec![node])).into_iter().map(|it| it.finding).collect::<Vec<_>>()
        };
        assert!(with("shoal_registered 1\nshoal_membership_live 1\nshoal_configuration_live 1\n").is_empty());
        assert!(with("").is_empty());
        assert!(with("shoal_registered 0\n")[0].contains("lease"));
        assert_eq!(with("shoal_membership_live 0\nshoal_configuration_live 0\n").len(), 2);
        let guard = PoolGuard {
            service: Service::ProxyNode,
            holding: true,
            held: vec!["n-1".into()],
            members: 1,
            well: 0,
            explanation: "all at once".into(),
        };
        let guarded = Facts { registry: Ok(Register { guards: vec![guard] }), ..facts(vec![]) };
        let found = synchronisation(&guarded);
        assert!(found[0].severity == Critical && found[0].remedy.contains("accept-losses proxy-node"), "{found:?}");
    }
}

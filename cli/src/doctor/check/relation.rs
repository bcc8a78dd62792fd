//! Do the processes hear one another, and do they see the nodes alike?

use cluster::{Service, State};
use proto::balancer::{ReasonSource, Server, Standing, Stats};

use crate::doctor::{
    facts::{Facts, Process},
    finding::{
        Finding,
        Severity::{Critical, Warning},
    },
};

const CHECK: &str = "relations";

/// What a process says of its own ties, 1 while they hold: metric, what is wrong, what to do.
const TIES: [(&str, &str, &str); 3] = [
    (
        chassis::metrics::REGISTERED,
        "its lease at the registry is not kept alive",
        "see whether it reaches the registry (--registry, the network between them) and the \
         registry's log",
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
    let mut found: Vec<_> =
        facts.processes.iter().flat_map(|process| ties(process, check)).collect();
    let guards =
        facts.registry.iter().flat_map(|register| &register.guards).filter(|guard| guard.holding);
    found.extend(guards.map(|guard| {
        let text = format!(
            "losses are held back as implausible ({} of {} well; held: {}): {}",
            guard.well,
            guard.members,
            guard.held.join(", "),
            guard.explanation
        );
        let remedy = format!(
            "if they are real: `shoal node accept-losses {}`; if not, see why the registry \
                cannot hear them",
            guard.service
        );
        Finding::new(Critical, check, guard.service.as_str(), text, remedy)
    }));
    found
}

fn ties(process: &Process, check: &'static str) -> Vec<Finding> {
    if process.was_stopped() {
        // It has let go of them itself.
        return Vec::new();
    }
    let Ok(metrics) = &process.metrics else { return Vec::new() };
    let broken = TIES.iter().filter(|(metric, ..)| metrics.count(metric) == Some(0));
    broken
        .map(|(_, text, remedy)| Finding::new(Warning, check, &process.name, *text, *remedy))
        .collect()
}

/// The balancers use the nodes that the registry finds usable, and no others.
pub fn balancers(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> =
        facts.balancers.iter().flat_map(|(balancer, stats)| backends(balancer, stats)).collect();
    let servers = || {
        facts.balancers.iter().flat_map(|(balancer, stats)| {
            servers(stats).map(move |server| (balancer.as_str(), server))
        })
    };
    for (balancer, server) in servers() {
        found.extend(one_view(balancer, server, facts));
    }
    let nodes = facts.processes.iter().filter(|process| process.service == Service::ProxyNode);
    for node in nodes.filter(|node| node.state() == Some(State::Usable)) {
        let seen: Vec<_> =
            servers().filter(|(_, server)| server.discovered && server.name == node.name).collect();
        found.extend(unwell(node, &seen));
    }
    found
}

fn servers(stats: &Stats) -> impl Iterator<Item = &Server> {
    stats.backends.iter().flat_map(|backend| &backend.servers)
}

fn backends(balancer: &str, stats: &Stats) -> Vec<Finding> {
    let finding = |text, remedy: &str| Finding::new(Critical, CHECK, balancer, text, remedy);
    let mut found = Vec::new();
    for backend in &stats.backends {
        if backend.panic {
            let text = format!(
                "backend {} panics: fewer servers are well than its threshold asks for, so that \
                 unwell ones are used too",
                backend.name
            );
            found.push(finding(
                text,
                "see the findings about its nodes; bring some back, or take \
                dead ones out of the bundle",
            ));
        }
    }
    found
}

/// What one balancer has against one server, whatever the others think.
fn one_view(balancer: &str, server: &Server, facts: &Facts) -> Option<Finding> {
    let finding =
        |text: String, remedy: &str| Some(Finding::new(Warning, CHECK, balancer, text, remedy));
    let (name, reasons) = (&server.name, server.reasons.join("; "));
    if server.drift {
        let text = format!(
            "it keeps an admin state or weight of {name} of its own, which the registry does not \
             know"
        );
        return finding(text, "set it again with `shoal node …` now that the registry answers");
    }
    if !server.discovered {
        return (server.standing() == Standing::Unwell).then(|| {
            let text = format!("its server {name} ({}) is unwell: {reasons}", server.address);
            Finding::new(
                Warning,
                CHECK,
                balancer,
                text,
                "see whether that server runs and can be reached from the balancer",
            )
        });
    }
    match (facts.process(name).and_then(Process::state), server.standing()) {
        (None, _) if facts.registry.is_ok() => finding(
            format!("it knows {name}, which the registry does not list"),
            "wait a moment: it hears of changes at once; if that does not end, see its log",
        ),
        (Some(State::Usable), Standing::Excluded) => finding(
            format!("it excludes {name}, which the registry finds usable: {reasons}"),
            "see `shoal explain URL`; a weight of 0 takes no requests either",
        ),
        _ => None,
    }
}

/// A node that the registry finds usable, and balancers do not. When none of them uses it, it is
/// out, whoever calls it usable.
fn unwell(node: &Process, seen: &[(&str, &Server)]) -> Option<Finding> {
    let (against, others): (Vec<_>, Vec<_>) =
        seen.iter().partition(|(_, server)| server.standing() == Standing::Unwell);
    let (_, server) = against.first()?;
    let mut names: Vec<_> = against.iter().map(|(balancer, _)| *balancer).collect();
    names.dedup();
    let (severity, who) = match (others.is_empty(), names.as_slice()) {
        (true, [one]) => {
            (Critical, format!("it gets no requests: {one}, the only balancer, finds it unwell"))
        }
        (true, _) => (Critical, "it gets no requests: every balancer finds it unwell".to_owned()),
        (false, some) => (Warning, format!("{} finds it unwell, others do not", some.join(", "))),
    };
    // A balancer tells the registry's view beside its own; that one is known here.
    let own = server
        .explained
        .iter()
        .filter(|reason| reason.source() != ReasonSource::Registry)
        .map(|reason| reason.text.as_str());
    let own: Vec<_> = own.collect();
    let refused = node
        .metrics
        .as_ref()
        .ok()
        .and_then(|metrics| metrics.count(proxy_node::metrics::WRONG_PROOFS))
        .unwrap_or(0);
    if refused == 0 {
        let text = format!("{who}, although the registry finds it usable ({})", own.join("; "));
        return Some(Finding::new(
            severity,
            CHECK,
            &node.name,
            text,
            format!("see the network between them, and {}", node.log_hint()),
        ));
    }
    let text = format!(
        "{who}: it has refused {refused} of their connections, because they were opened with \
         another cluster key than it has ({})",
        own.join("; ")
    );
    let odd = if others.is_empty() {
        node.name.as_str()
    } else {
        names.first().copied().unwrap_or_default()
    };
    let remedy = format!(
        "compare the files of --cluster-key (`sha256sum`): {odd} has another than the rest; put \
         theirs in place and start it again"
    );
    Some(Finding::new(severity, CHECK, &node.name, text, remedy))
}

#[cfg(test)]
mod tests {
    use chassis::scrape::Metrics;
    use cluster::PoolGuard;
    use proto::balancer::{Backend, Reason, Stats};

    use super::*;
    use crate::doctor::facts::{
        Register,
        tests::{facts, process},
    };

    fn server(name: &str, standing: Standing) -> Server {
        Server {
            name: name.into(),
            standing: standing.into(),
            discovered: true,
            reasons: vec!["why".into()],
            ..Server::default()
        }
    }

    fn findings(state: State, servers: Vec<Server>, panic: bool) -> Vec<Finding> {
        let mut node = process(Service::ProxyNode, "n-1");
        node.listed.as_mut().unwrap().state = state;
        let backend = Backend { name: "back".into(), servers, panic, ..Backend::default() };
        let stats = Stats { backends: vec![backend], ..Stats::default() };
        let facts = Facts { balancers: vec![("b-1".into(), stats)], ..facts(vec![node]) };
        balancers(&facts)
    }

    fn found(state: State, servers: Vec<Server>, panic: bool) -> Vec<String> {
        findings(state, servers, panic).into_iter().map(|it| it.finding).collect()
    }

    #[test]
    fn what_balancers_and_registry_see() {
        let one = |state, standing| found(state, vec![server("n-1", standing)], false);
        assert!(one(State::Usable, Standing::Usable).is_empty());
        assert!(one(State::Usable, Standing::Last).is_empty());
        assert!(
            one(State::Lost, Standing::Unwell).is_empty()
                && one(State::Draining, Standing::Excluded).is_empty(),
            "they agree"
        );
        assert!(
            one(State::Usable, Standing::Unwell)[0]
                .contains("b-1, the only balancer, finds it unwell, although")
        );
        assert!(one(State::Usable, Standing::Excluded)[0].contains("excludes n-1"));
        assert!(
            found(State::Usable, vec![server("n-9", Standing::Usable)], false)[0]
                .contains("n-9, which the registry does not list")
        );
        assert!(
            found(State::Usable, vec![server("n-1", Standing::Usable)], true)[0].contains("panics")
        );
        let drift = Server { drift: true, ..server("n-1", Standing::Excluded) };
        assert!(found(State::Usable, vec![drift], false)[0].contains("of its own"));
        let fixed = |standing| Server { discovered: false, ..server("squid", standing) };
        assert!(found(State::Usable, vec![fixed(Standing::Usable)], false).is_empty());
        assert!(
            found(State::Usable, vec![fixed(Standing::Unwell)], false)[0]
                .contains("its server squid")
        );
    }

    /// What two balancers make of a node that the registry finds usable, and that has refused so
    /// many proofs.
    fn seen_by_two(standings: [Standing; 2], refused: u64) -> Vec<Finding> {
        let mut node = process(Service::ProxyNode, "n-1");
        node.metrics =
            Ok(Metrics::parse(&format!("{} {refused}\n", proxy_node::metrics::WRONG_PROOFS)));
        let stats = |standing: Standing| {
            let says = |source: ReasonSource, text: &str| Reason {
                source: source.into(),
                text: text.to_owned(),
            };
            let own = "own evidence: check failed: closed without an answer";
            let explained =
                vec![says(ReasonSource::Balancer, own), says(ReasonSource::Registry, "usable")];
            let reasons = vec![own.to_owned(), "registry: usable".to_owned()];
            let servers = vec![Server { reasons, explained, ..server("n-1", standing) }];
            Stats {
                backends: vec![Backend { name: "back".into(), servers, ..Backend::default() }],
                ..Stats::default()
            }
        };
        let [one, other] = standings.map(stats);
        balancers(&Facts {
            balancers: vec![("b-1".into(), one), ("b-2".into(), other)],
            ..facts(vec![node])
        })
    }

    #[test]
    fn a_node_that_no_balancer_uses_is_out() {
        use Standing::{Unwell, Usable};
        assert!(seen_by_two([Usable, Usable], 9).is_empty(), "refused once, and all is well now");
        let found = seen_by_two([Unwell, Unwell], 0);
        assert_eq!(
            (found.len(), found[0].severity, found[0].subjects.as_slice()),
            (1, Critical, &["n-1".to_owned()][..])
        );
        assert!(
            found[0].finding.contains("every balancer finds it unwell")
                && found[0]
                    .finding
                    .ends_with("(own evidence: check failed: closed without an answer)"),
            "{found:?}"
        );
        assert_eq!(
            findings(State::Usable, vec![server("n-1", Unwell)], false)[0].severity,
            Critical,
            "nor does the only one"
        );
        let found = seen_by_two([Unwell, Usable], 0);
        assert!(
            found[0].severity == Warning
                && found[0].finding.starts_with("b-1 finds it unwell, others do not"),
            "{found:?}"
        );
    }

    #[test]
    fn another_cluster_key_is_named() {
        use Standing::{Unwell, Usable};
        let found = seen_by_two([Unwell, Unwell], 12);
        assert!(
            found[0].finding.contains("refused 12 of their connections")
                && found[0].finding.contains("another cluster key"),
            "{found:?}"
        );
        assert!(
            found[0].remedy.contains("--cluster-key")
                && found[0].remedy.contains("n-1 has another"),
            "{found:?}"
        );
        let found = seen_by_two([Unwell, Usable], 12);
        assert!(found[0].remedy.contains("b-1 has another"), "{found:?}");
    }

    #[test]
    fn ties_and_guards() {
        let with = |text: &str| {
            let mut node = process(Service::ProxyNode, "n-1");
            node.metrics = Ok(Metrics::parse(text));
            synchronisation(&facts(vec![node])).into_iter().map(|it| it.finding).collect::<Vec<_>>()
        };
        assert!(
            with("shoal_registered 1\nshoal_membership_live 1\nshoal_configuration_live 1\n")
                .is_empty()
        );
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
        let guarded = Facts {
            registry: Ok(Register { guards: vec![guard], ..Register::default() }),
            ..facts(vec![])
        };
        let found = synchronisation(&guarded);
        assert!(
            found[0].severity == Critical && found[0].remedy.contains("accept-losses proxy-node"),
            "{found:?}"
        );
    }
}

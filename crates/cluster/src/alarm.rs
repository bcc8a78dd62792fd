//! What no face of the cluster may keep quiet about: clients that are not served, and addresses
//! that nobody holds or too many do. One rule for doctor, console, `shoal top` and `shoal status`.
//! Pure.

mod addresses;

use crate::recent::Traffic;

pub use addresses::{Holder, Role};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Some clients are not served.
    Warning,
    /// Most are not, or none will be.
    Critical,
}

/// One backend, as one balancer sees its servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// Name in the bundle.
    pub name: String,
    /// Who sees it so.
    pub balancer: String,
    /// Servers that get requests, those that are picked last among them.
    pub usable: usize,
    /// Servers that are tried because nothing else is left.
    pub unwell: usize,
    /// Servers that operators took out.
    pub excluded: usize,
}

/// The parent proxies of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parents {
    /// Whose they are.
    pub node: String,
    /// Addresses of those that do not answer.
    pub dead: Vec<String>,
    /// How many there are.
    pub all: usize,
}

/// Everything that the rule goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Backends that frontends use, of every balancer.
    pub backends: Vec<Backend>,
    /// What the balancers answered in the last minute; failed: no server could, so that they
    /// answered themselves.
    pub balancers: Vec<(String, Traffic)>,
    /// What the nodes answered in the last minute; failed: with an error of their own (names,
    /// origins, parents).
    pub nodes: Vec<(String, Traffic)>,
    /// Who holds which of the addresses that move between balancers.
    pub addresses: Vec<Holder>,
    /// Of every node that has some.
    pub parents: Vec<Parents>,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// How bad it is.
    pub severity: Severity,
    /// Instances that tell it.
    pub subjects: Vec<String>,
    /// In one sentence.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// Failures that say nothing about a share, whatever they are part of.
const FEW: u64 = 10;

/// All alarms, worst first.
#[must_use]
pub fn alarms(served: &Served) -> Vec<Alarm> {
    let mut found = without_servers(&served.backends);
    found.extend(refused(&served.balancers));
    found.extend(failing(&served.nodes));
    found.extend(addresses::alarms(&served.addresses));
    found.extend(without_parents(&served.parents));
    found.sort_by_key(|alarm| std::cmp::Reverse(alarm.severity));
    found
}

/// Backends without a usable server: the same one, of several balancers, is one alarm.
fn without_servers(backends: &[Backend]) -> Vec<Alarm> {
    let mut found: Vec<Alarm> = Vec::new();
    for backend in backends.iter().filter(|backend| backend.usable == 0) {
        let Backend { name, balancer, unwell, excluded, .. } = backend;
        let (text, remedy) = match (unwell, excluded) {
            (0, 0) => (
                format!("backend {name} has no server at all: every client gets 503"),
                "see `shoal node list` and balancer.backends in the bundle".to_owned(),
            ),
            (0, _) => (
                format!(
                    "backend {name} has no usable server, {excluded} drained or disabled: every \
                     client gets 503"
                ),
                "bring one back: `shoal node enable NAME`, see `shoal node list`".to_owned(),
            ),
            (unwell, excluded) => {
                let out = if *excluded > 0 {
                    format!(", {excluded} drained or disabled")
                } else {
                    String::new()
                };
                (
                    format!(
                        "backend {name} has no usable server ({unwell} unwell{out}): requests are \
                         tried on unwell ones"
                    ),
                    "see why they are unwell: `shoal status`, `shoal check list`, their logs"
                        .to_owned(),
                )
            }
        };
        match found.iter_mut().find(|alarm| alarm.text == text) {
            Some(alarm) => alarm.subjects.push(balancer.clone()),
            None => found.push(Alarm {
                severity: Severity::Critical,
                subjects: vec![balancer.clone()],
                text,
                remedy,
            }),
        }
    }
    found
}

fn sum(of: &[(String, Traffic)]) -> Traffic {
    of.iter().fold(Traffic::default(), |sum, (_, traffic)| sum.plus(*traffic))
}

/// Who has failed, the worst first.
fn who(of: &[(String, Traffic)]) -> Vec<String> {
    let mut failed: Vec<_> = of.iter().filter(|(_, traffic)| traffic.failed > 0).collect();
    failed.sort_by_key(|(name, traffic)| (std::cmp::Reverse(traffic.failed), name.clone()));
    failed.into_iter().map(|(name, _)| name.clone()).collect()
}

fn minute(traffic: Traffic) -> String {
    let Traffic { requests, failed, .. } = traffic;
    format!("{failed} of {requests} requests of the last minute")
}

/// Requests that balancers had to answer themselves. Of one balancer alone it counts as well: its
/// clients use no other.
fn refused(balancers: &[(String, Traffic)]) -> Option<Alarm> {
    let severity = |traffic: Traffic| match traffic {
        _ if traffic.fails(10, FEW) => Some(Severity::Critical),
        _ if traffic.fails(1, FEW) => Some(Severity::Warning),
        _ => None,
    };
    let all = sum(balancers);
    let worst = balancers
        .iter()
        .filter_map(|(_, traffic)| severity(*traffic))
        .chain(severity(all))
        .max()?;
    Some(Alarm {
        severity: worst,
        subjects: who(balancers),
        text: format!("{} got an error of the balancer: no server could answer them", minute(all)),
        remedy: "see `shoal top` and `shoal explain URL`: which servers are left, and why not the \
            others"
            .to_owned(),
    })
}

/// Requests that nodes answered with an error of their own: half of them is more than one broken
/// origin explains.
fn failing(nodes: &[(String, Traffic)]) -> Option<Alarm> {
    let all = sum(nodes);
    let severity = match all {
        _ if all.fails(50, FEW) => Severity::Critical,
        _ if all.fails(10, FEW) => Severity::Warning,
        _ => return None,
    };
    Some(Alarm {
        severity,
        subjects: who(nodes),
        text: format!(
            "{} got an error of a proxy-node: names, origins or parents that fail",
            minute(all)
        ),
        remedy: "see `shoal logs --top status --since 1m` and `shoal logs --top domain --since \
            1m`: is it one origin, or all?"
            .to_owned(),
    })
}

/// Parents that do not answer: the same ones, of several nodes, are one alarm.
fn without_parents(parents: &[Parents]) -> Vec<Alarm> {
    let mut found: Vec<Alarm> = Vec::new();
    for Parents { node, dead, all } in parents.iter().filter(|it| !it.dead.is_empty()) {
        let (severity, what) = if dead.len() == *all {
            (Severity::Critical, "all parent proxies are dead, and so is what goes through them")
        } else {
            (Severity::Warning, "parent proxies are dead, and others are asked instead")
        };
        let text = format!("{what}: {}", dead.join(", "));
        match found.iter_mut().find(|alarm| alarm.text == text) {
            Some(alarm) => alarm.subjects.push(node.clone()),
            None => found.push(Alarm {
                severity,
                subjects: vec![node.clone()],
                text,
                remedy: "see `shoal doctor`: since when, and how they failed last".to_owned(),
            }),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(balancer: &str, usable: usize, unwell: usize, excluded: usize) -> Backend {
        Backend { name: "squid".into(), balancer: balancer.into(), usable, unwell, excluded }
    }

    #[test]
    fn a_backend_without_a_usable_server_is_critical() {
        for (servers, said) in [
            ((1, 0, 2), None),
            ((1, 2, 0), None),
            ((0, 0, 0), Some("no server at all")),
            ((0, 0, 3), Some("no usable server, 3 drained or disabled: every client gets 503")),
            ((0, 2, 1), Some("(2 unwell, 1 drained or disabled)")),
            ((0, 3, 0), Some("(3 unwell): requests are tried")),
        ] {
            let (usable, unwell, excluded) = servers;
            let backends =
                ["b-1", "b-2"].map(|name| backend(name, usable, unwell, excluded)).to_vec();
            let found = alarms(&Served { backends, ..Served::default() });
            let texts: Vec<_> = found
                .iter()
                .map(|alarm| (alarm.severity, alarm.subjects.len(), alarm.text.as_str()))
                .collect();
            match said {
                None => assert!(found.is_empty(), "{found:?}"),
                Some(said) => {
                    assert!(
                        matches!(texts[..], [(Severity::Critical, 2, text)] if text.contains(said)),
                        "{said}: {texts:?}"
                    );
                    assert!(!found[0].remedy.is_empty());
                }
            }
        }
    }

    #[test]
    fn parents_that_do_not_answer() {
        let of = |node: &str, dead: &[&str], all| Parents {
            node: node.into(),
            dead: dead.iter().map(|it| (*it).to_owned()).collect(),
            all,
        };
        let parents = vec![
            of("n-1", &["a:1"], 2),
            of("n-2", &["a:1", "b:1"], 2),
            of("n-3", &["a:1", "b:1"], 2),
            of("n-4", &[], 2),
        ];
        let found = alarms(&Served { parents, ..Served::default() });
        let told: Vec<_> = found.iter().map(|it| (it.severity, it.subjects.join(" "))).collect();
        assert_eq!(
            told,
            [(Severity::Critical, "n-2 n-3".to_owned()), (Severity::Warning, "n-1".to_owned())]
        );
        assert!(found[0].text.ends_with(": a:1, b:1"), "{}", found[0].text);
    }

    #[test]
    fn shares_of_the_last_minute() {
        use Severity::{Critical, Warning};
        let traffic = |requests, failed| Traffic { seconds: 60, requests, failed };
        let worst = |served: &Served| alarms(served).first().map(|alarm| alarm.severity);
        for (requests, failed, balancer, node) in [
            (0, 0, None, None),
            (9, 9, None, None),
            (1000, 9, None, None),
            (1000, 10, Some(Warning), None),
            (1001, 10, None, None),
            (1000, 99, Some(Warning), None),
            (1000, 100, Some(Critical), Some(Warning)),
            (1000, 499, Some(Critical), Some(Warning)),
            (1000, 500, Some(Critical), Some(Critical)),
            (10, 10, Some(Critical), Some(Critical)),
        ] {
            let of = |name: &str| vec![(name.to_owned(), traffic(requests, failed))];
            assert_eq!(
                worst(&Served { balancers: of("b-1"), ..Served::default() }),
                balancer,
                "balancer: {failed} of {requests}"
            );
            assert_eq!(
                worst(&Served { nodes: of("n-1"), ..Served::default() }),
                node,
                "node: {failed} of {requests}"
            );
        }
        // A small balancer beside a large one, whose clients get nothing.
        let balancers =
            vec![("b-1".to_owned(), traffic(100_000, 0)), ("b-2".to_owned(), traffic(20, 20))];
        let found = alarms(&Served { balancers, ..Served::default() });
        assert_eq!(
            (found[0].severity, found[0].subjects.as_slice()),
            (Critical, &["b-2".to_owned()][..])
        );
        assert!(found[0].text.starts_with("20 of 100020 requests of the last minute"), "{found:?}");
        // What is little for each is enough of all together; the worst of them counts; and who
        // fails most is named first.
        let few = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), traffic(10, 6))).collect::<Vec<_>>()
        };
        assert_eq!(worst(&Served { balancers: few(&["b-1"]), ..Served::default() }), None);
        assert_eq!(
            worst(&Served { balancers: few(&["b-1", "b-2"]), ..Served::default() }),
            Some(Critical)
        );
        let balancers =
            vec![("b-1".to_owned(), traffic(100_000, 1000)), ("b-2".to_owned(), traffic(20, 20))];
        assert_eq!(worst(&Served { balancers, ..Served::default() }), Some(Critical));
        let nodes = ["n-1", "n-2", "n-3"]
            .into_iter()
            .zip([20, 0, 30])
            .map(|(name, failed)| (name.to_owned(), traffic(40, failed)))
            .collect();
        assert_eq!(alarms(&Served { nodes, ..Served::default() })[0].subjects, ["n-3", "n-1"]);
    }

    #[test]
    fn different_things_are_different_alarms_and_the_worst_comes_first() {
        let traffic = |requests, failed| Traffic { seconds: 60, requests, failed };
        let backends = vec![
            backend("b-1", 0, 0, 1),
            Backend { name: "others".into(), ..backend("b-1", 0, 0, 1) },
        ];
        let balancers = vec![("b-1".to_owned(), traffic(1000, 10))];
        let nodes = vec![("n-1".to_owned(), traffic(1000, 500))];
        let found = alarms(&Served { backends, balancers, nodes, ..Served::default() });
        let told: Vec<_> = found
            .iter()
            .map(|alarm| (alarm.severity, alarm.text.split_whitespace().nth(1).unwrap_or_default()))
            .collect();
        let (worst, rest) = told.split_at(3);
        assert_eq!(
            worst,
            [
                (Severity::Critical, "squid"),
                (Severity::Critical, "others"),
                (Severity::Critical, "of")
            ]
        );
        assert_eq!(
            (rest, found[2].subjects.as_slice()),
            (&[(Severity::Warning, "of")][..], &["n-1".to_owned()][..])
        );
    }
}

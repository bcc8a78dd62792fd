//! What the balancers and the nodes say, and how it is shown.

use proto::balancer::{ExplainPickResponse, Standing};
use serde::Serialize;

use crate::output::{self, Cell, Column, View, column, sentences};

/// What every balancer and every node says about one request.
#[derive(Debug, Default, Serialize)]
pub(super) struct Explanation {
    pub(super) request: String,
    pub(super) balancers: Vec<Pick>,
    pub(super) nodes: Vec<Node>,
    /// What the nodes do not agree about; empty when they agree.
    pub(super) disagreement: String,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Pick {
    pub(super) name: String,
    /// The server that would get it now; empty when there is none.
    pub(super) server: String,
    pub(super) backend: String,
    pub(super) candidates: Vec<Candidate>,
    pub(super) steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) standing: &'static str,
    pub(super) reasons: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) allowed: bool,
    pub(super) rule: String,
    pub(super) revision: String,
    pub(super) cache: String,
    pub(super) route: String,
    /// The node that the object belongs to; empty where owners are off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) owner: String,
    pub(super) steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

impl Pick {
    pub(super) fn new(name: String, answer: ExplainPickResponse) -> Self {
        let candidates = answer.candidates.into_iter().map(|server| Candidate {
            standing: standing_name(server.standing()),
            name: server.name,
            address: server.address,
            reasons: server.reasons,
        });
        Self {
            name,
            server: answer.server,
            backend: answer.backend,
            candidates: candidates.collect(),
            steps: answer.explanation,
            failure: None,
        }
    }
}

/// The name of a standing, as every page and message has it.
pub fn standing_name(standing: Standing) -> &'static str {
    match standing {
        Standing::Unspecified => "unknown",
        Standing::Usable => "usable",
        Standing::Last => "last",
        Standing::Unwell => "unwell",
        Standing::Excluded => "excluded",
    }
}

/// Nodes may differ in what they hold, but not in what they allow.
pub(super) fn disagreement(nodes: &[Node]) -> String {
    let mut answers = nodes.iter().filter(|node| node.failure.is_none());
    let Some(first) = answers.next() else { return String::new() };
    let differs = |node: &&Node| {
        (node.allowed, &node.rule, &node.revision) != (first.allowed, &first.rule, &first.revision)
    };
    let others: Vec<_> = answers
        .filter(differs)
        .map(|node| format!("{} says {}", node.name, decision(node)))
        .collect();
    if others.is_empty() {
        return String::new();
    }
    format!(
        "{} says {}, but {}: see `shoal config drift`",
        first.name,
        decision(first),
        others.join(", ")
    )
}

pub(super) fn decision(node: &Node) -> String {
    if node.rule.is_empty() {
        return format!("answered by the node itself, revision {}", node.revision);
    }
    let verb = if node.allowed { "allowed" } else { "denied" };
    format!("{verb} by {} of revision {}", node.rule, node.revision)
}

impl View for Explanation {
    fn text(&self) -> String {
        let mut lines = vec![output::fitted(&self.request, "    ")];
        // What becomes of it comes first, why it does after it.
        lines.extend(verdicts(&self.balancers, &self.nodes));
        if !self.disagreement.is_empty() {
            lines.push(format!("  !  the nodes disagree: {}", self.disagreement));
        }
        lines.extend(alike(self.balancers.iter().map(|pick| (pick.name.as_str(), pick.lines()))));
        lines.extend(alike(self.nodes.iter().map(|node| (node.name.as_str(), node.lines()))));
        lines.join("\n")
    }
}

/// What becomes of the request, in a line for all who say the same: the nodes first, as they
/// decide.
pub(super) fn verdicts(balancers: &[Pick], nodes: &[Node]) -> Vec<String> {
    let mut found: Vec<(String, Vec<&str>)> = Vec::new();
    let told = nodes.iter().map(|node| (node.name.as_str(), node.verdict()));
    for (name, verdict) in
        told.chain(balancers.iter().map(|pick| (pick.name.as_str(), pick.verdict())))
    {
        let Some(verdict) = verdict else { continue };
        match found.iter_mut().find(|(known, _)| *known == verdict) {
            Some((_, names)) => names.push(name),
            None => found.push((verdict, vec![name])),
        }
    }
    found
        .into_iter()
        .map(|(verdict, names)| {
            output::fitted(&format!("  => {verdict} ({})", names.join(", ")), "     ")
        })
        .collect()
}

/// Those who say the same say it once.
pub(super) fn alike<'a>(sayings: impl Iterator<Item = (&'a str, Vec<String>)>) -> Vec<String> {
    let mut groups: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
    for (name, lines) in sayings {
        match groups.iter_mut().find(|(_, said)| *said == lines) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], lines)),
        }
    }
    groups
        .into_iter()
        .flat_map(|(names, lines)| [format!("\n{}:", names.join(", "))].into_iter().chain(lines))
        .collect()
}

pub(super) const CANDIDATES: &[Column] = &[
    column("     IN THIS ORDER", 0),
    column("ADDRESS", 1),
    column("STANDING", 0),
    sentences("REASONS"),
];

impl Pick {
    pub(super) fn lines(&self) -> Vec<String> {
        if let Some(failure) = &self.failure {
            return vec![format!("  {failure}")];
        }
        let mut lines: Vec<_> = steps(&self.steps).collect();
        let rows = self.candidates.iter().map(|one| {
            let mut row =
                [format!("     {}", one.name), one.address.clone()].map(Cell::new).to_vec();
            row.extend([output::coloured(one.standing), Cell::new(one.reasons.join("; "))]);
            row
        });
        if !self.candidates.is_empty() {
            lines.push(output::table(CANDIDATES, rows));
        }
        lines
    }

    pub(super) fn verdict(&self) -> Option<String> {
        let Self { server, backend, .. } = self;
        match &self.failure {
            Some(_) => None,
            None if server.is_empty() => Some(format!(
                "nobody would get it: backend {backend} has no server left, the client gets 503"
            )),
            None => Some(format!("would be sent to {server} of backend {backend}")),
        }
    }
}

impl Node {
    pub(super) fn lines(&self) -> Vec<String> {
        if let Some(failure) = &self.failure {
            return vec![format!("  {failure}")];
        }
        steps(&self.steps).collect()
    }

    pub(super) fn verdict(&self) -> Option<String> {
        if self.failure.is_some() {
            return None;
        }
        let route = match (self.allowed, self.cache.as_str()) {
            (false, _) => String::new(),
            (true, "hit") => ", would be answered from the cache".to_owned(),
            (true, _) if self.route.is_empty() => {
                ", would fail: there is nowhere to send it".to_owned()
            }
            (true, _) => format!(", would go to {}", self.route),
        };
        Some(format!("{}{route}", decision(self)))
    }
}

pub(super) fn steps(steps: &[String]) -> impl Iterator<Item = String> {
    steps
        .iter()
        .enumerate()
        .map(|(number, step)| output::fitted(&format!("  {}. {step}", number + 1), "     "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Request;

    #[test]
    fn requests_as_a_proxy_gets_them() {
        for (url, method, expected) in [
            ("http://a.test/x", None, Some("GET http://a.test/x")),
            ("http://a.test/x", Some("post"), Some("POST http://a.test/x")),
            ("https://a.test/x?y", None, Some("CONNECT a.test:443")),
            ("https://a.test:8443/x", None, Some("CONNECT a.test:8443")),
            ("http://a.test/", Some("CONNECT"), Some("CONNECT a.test:80")),
            ("a.test:443", Some("CONNECT"), Some("CONNECT a.test:443")),
            ("https://[2001:db8::1]/", None, Some("CONNECT [2001:db8::1]:443")),
            ("a.test", Some("CONNECT"), None),
            ("a.test/x", None, None),
        ] {
            let request = Request::new(url, method)
                .ok()
                .map(|request| format!("{} {}", request.method, request.target));
            assert_eq!(request.as_deref(), expected, "{url} {method:?}");
        }
    }

    #[test]
    fn the_verdict_comes_first() {
        let node = |name: &str, allowed| Node {
            name: name.into(),
            allowed,
            rule: if allowed { "allow all" } else { "deny blocked" }.into(),
            revision: "r1".into(),
            route: "origin a.test:80".into(),
            steps: vec!["a step".into()],
            ..Node::default()
        };
        let pick = |name: &str, server: &str| Pick {
            name: name.into(),
            server: server.into(),
            backend: "squid".into(),
            ..Pick::default()
        };
        let text = |balancers, nodes| {
            Explanation {
                request: "GET http://a.test/".into(),
                balancers,
                nodes,
                ..Explanation::default()
            }
            .text()
        };
        let said = text(vec![pick("b-1", "n-1")], vec![node("n-1", true), node("n-2", true)]);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "GET http://a.test/",
                "  => allowed by allow all of revision r1, would go to origin a.test:80 (n-1, n-2)",
                "  => would be sent to n-1 of backend squid (b-1)"
            ]
        );
        assert!(said.contains("\nn-1, n-2:\n  1. a step"), "{said}");
        let said = text(
            vec![pick("b-1", ""), pick("b-2", "")],
            vec![node("n-1", false), Node { failure: Some("down".into()), ..node("n-2", true) }],
        );
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(
            lines[1..3],
            [
                "  => denied by deny blocked of revision r1 (n-1)",
                "  => nobody would get it: backend squid has no server left, the client gets 503 \
                 (b-1, b-2)"
            ]
        );
        assert!(said.contains("n-2:\n  down"), "{said}");
    }

    #[test]
    fn the_same_is_said_once() {
        let said = |line: &str| vec![line.to_owned()];
        let lines = alike(
            [("node-1", said("yes")), ("node-2", said("no")), ("node-3", said("yes"))].into_iter(),
        );
        assert_eq!(lines, ["\nnode-1, node-3:", "yes", "\nnode-2:", "no"]);
    }

    #[test]
    fn disagreement_is_told() {
        let node = |name: &str, allowed, rule: &str| Node {
            name: name.into(),
            allowed,
            rule: rule.into(),
            revision: "r1".into(),
            ..Node::default()
        };
        let broken =
            Node { name: "node-3".into(), failure: Some("down".into()), ..Node::default() };
        assert_eq!(
            disagreement(&[
                node("node-1", true, "allow all"),
                node("node-2", true, "allow all"),
                broken.clone()
            ]),
            ""
        );
        let told = disagreement(&[
            node("node-1", true, "allow all"),
            node("node-2", false, "deny blocked"),
            broken,
        ]);
        assert!(
            told.contains("node-1 says allowed")
                && told.contains("node-2 says denied by deny blocked"),
            "{told}"
        );
    }
}

//! Do the parent proxies live, through which nodes send what they have not?

use proto::proxy::{GetStatsResponse, ParentStats};

use crate::doctor::{
    facts::Facts,
    finding::{
        Finding,
        Severity::{Critical, Warning},
    },
};

const CHECK: &str = "parents";

/// Of every node that answers.
pub fn check(facts: &Facts) -> Vec<Finding> {
    facts
        .nodes
        .iter()
        .flat_map(|(node, stats)| {
            dead(node, stats).into_iter().chain(without_credentials(node, stats))
        })
        .collect()
}

fn dead(node: &str, stats: &GetStatsResponse) -> Vec<Finding> {
    let dead: Vec<&ParentStats> = stats.parents.iter().filter(|parent| !parent.alive).collect();
    let remedy = |parents: &str| {
        format!(
            "see whether {parents} runs, and is reached from that node (curl -x); nodes try dead \
             parents every few seconds and use them again by themselves"
        )
    };
    if dead.is_empty() {
        return Vec::new();
    }
    let told: Vec<String> = dead.iter().map(|parent| describe(parent)).collect();
    if dead.len() == stats.parents.len() {
        let (text, parents) = match dead.as_slice() {
            [_] => (
                format!(
                    "its only parent proxy is dead, and so is what it has to fetch: {}",
                    told.join("; ")
                ),
                "it",
            ),
            _ => (
                format!(
                    "all its {} parent proxies are dead, and so is what it has to fetch: {}",
                    dead.len(),
                    told.join("; ")
                ),
                "one of them",
            ),
        };
        return vec![Finding::new(Critical, CHECK, node, text, remedy(parents))];
    }
    let left = stats.parents.len() - dead.len();
    let finding = |told: &String| {
        let text = format!(
            "a parent proxy is dead, and what it had goes to the {left} that {}: {told}",
            if left == 1 { "lives" } else { "live" }
        );
        Finding::new(Warning, CHECK, node, text, remedy("it"))
    };
    told.iter().map(finding).collect()
}

/// Which, since when, and how it failed last.
fn describe(parent: &ParentStats) -> String {
    let since =
        parent.dead_since.and_then(|since| jiff::Timestamp::from_second(since.seconds).ok());
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    format!("{}{since}; {}", parent.address, parent.last_failure)
}

fn without_credentials(node: &str, stats: &GetStatsResponse) -> Vec<Finding> {
    let problem = |parent: &ParentStats| {
        let why = Some(&parent.credentials_problem).filter(|why| !why.is_empty())?;
        let text =
            format!("its parent proxy {} is asked without credentials: {why}", parent.address);
        Some(Finding::new(
            Warning,
            CHECK,
            node,
            text,
            "put them where `login` of the parent says, readable for the node; it reads them again \
             by itself",
        ))
    };
    stats.parents.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{facts::tests::facts, finding::Severity};

    fn parent(address: &str, alive: bool) -> ParentStats {
        let dead_since =
            (!alive).then_some(prost_types::Timestamp { seconds: 1_799_999_000, nanos: 0 });
        let last_failure = if alive { String::new() } else { "it refused the connection".into() };
        ParentStats {
            address: address.into(),
            alive,
            dead_since,
            requests: 3,
            failures: 2,
            last_failure,
            ..Default::default()
        }
    }

    fn found(parents: Vec<ParentStats>) -> Vec<(Severity, String)> {
        let stats = GetStatsResponse { parents, ..Default::default() };
        let facts = Facts { nodes: vec![("proxy-node-1".into(), stats)], ..facts(Vec::new()) };
        check(&facts).into_iter().map(|finding| (finding.severity, finding.finding)).collect()
    }

    #[test]
    fn some_dead_is_a_warning_and_all_dead_is_critical() {
        assert_eq!(found(vec![parent("a:1", true), parent("b:1", true)]), []);
        let told = |address: &str| {
            format!("{address} since 2027-01-15T07:43:20Z; it refused the connection")
        };
        assert_eq!(
            found(vec![parent("a:1", false), parent("b:1", true), parent("c:1", false)]),
            [
                (
                    Warning,
                    format!(
                        "a parent proxy is dead, and what it had goes to the 1 that lives: {}",
                        told("a:1")
                    )
                ),
                (
                    Warning,
                    format!(
                        "a parent proxy is dead, and what it had goes to the 1 that lives: {}",
                        told("c:1")
                    )
                ),
            ]
        );
        assert_eq!(
            found(vec![parent("a:1", false)]),
            [(
                Critical,
                format!(
                    "its only parent proxy is dead, and so is what it has to fetch: {}",
                    told("a:1")
                )
            )]
        );
        let both = format!(
            "all its 2 parent proxies are dead, and so is what it has to fetch: {}; {}",
            told("a:1"),
            told("b:1")
        );
        assert_eq!(found(vec![parent("a:1", false), parent("b:1", false)]), [(Critical, both)]);
    }

    #[test]
    fn credentials_that_cannot_be_read_are_told() {
        let unreadable = ParentStats {
            credentials_problem: "file:/etc/x: no such file".into(),
            ..parent("a:1", true)
        };
        let text = "its parent proxy a:1 is asked without credentials: file:/etc/x: no such file"
            .to_owned();
        assert_eq!(found(vec![unreadable]), [(Warning, text)]);
    }
}

//! `shoal cache purge`: into the registry's log, and then until every node has done it.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use cluster::{InstanceStatus, State};
use proto::{
    proxy::PurgeRequest as AtOne,
    purge::Purge,
    registry::{ListPurgesRequest, ListPurgesResponse, PurgeRequest},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    cluster::{Cluster, ask_all, call},
    output::{self, Cell, Format, View, column, sentences},
};

/// How often the registry is asked who has done it.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Purged {
    /// Its place in the registry's log; absent where it is not in it.
    position: Option<u64>,
    nodes: Vec<NodePurged>,
}

#[derive(Serialize)]
struct NodePurged {
    name: String,
    done: bool,
    /// Objects that it removed or marked; absent where that is not known.
    removed: Option<u64>,
    /// What is wrong, for people; empty: nothing.
    problem: String,
}

/// What is asked for, and how long the nodes have for it.
pub(super) struct Order {
    pub(super) purge: Purge,
    pub(super) reason: String,
    pub(super) within: Duration,
}

/// Purges at all nodes, and waits until they have done it.
pub(super) async fn everywhere(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    order: Order,
    format: Format,
) -> Result<()> {
    // Before it is in a log that nobody takes it out of.
    proxy_node::purging::wire::read(&order.purge).map_err(|problem| anyhow!("{problem}"))?;
    let Order { purge, reason, within } = order;
    let mut registry = cluster.registry();
    let request = PurgeRequest { purge: Some(purge), reason };
    let logged = call("the registry", registry.purge(request)).await?.logged.unwrap_or_default();
    let deadline = Instant::now() + within;
    let purged = loop {
        let asked = registry.list_purges(ListPurgesRequest { limit: 1 });
        let listed = call("the registry", asked).await?;
        let of = |node: &InstanceStatus| {
            NodePurged::of(&node.instance.name, node.state, &listed, logged.position)
        };
        let nodes = nodes.iter().map(of).collect();
        let purged = Purged { position: Some(logged.position), nodes };
        if purged.nodes.iter().all(|node| node.done) || Instant::now() >= deadline {
            break purged;
        }
        tokio::time::sleep(LOOK).await;
    };
    cluster.show(&purged, format)?;
    let missing = |done: bool| -> Vec<&str> {
        let these = purged.nodes.iter().filter(|node| node.done == done);
        these.filter(|node| !done || !node.problem.is_empty()).map(|it| &*it.name).collect()
    };
    let (behind, failed) = (missing(false), missing(true));
    if !behind.is_empty() {
        bail!(
            "{} not done it within {} s: {} when they hear of it, and before they trust what they \
             have stored (`shoal cache purges`)",
            names(&behind),
            within.as_secs(),
            if behind.len() == 1 { "it is done there" } else { "they do it" },
        );
    }
    if !failed.is_empty() {
        bail!("{} done it, but not for good: see PROBLEM", names(&failed));
    }
    Ok(())
}

fn names(names: &[&str]) -> String {
    format!("{} {}", names.join(", "), if names.len() == 1 { "has" } else { "have" })
}

impl NodePurged {
    fn of(name: &str, state: State, listed: &ListPurgesResponse, position: u64) -> Self {
        let name = name.to_owned();
        let Some(follower) = listed.followers.iter().find(|it| it.name == name) else {
            let problem = "it does not follow the log: an earlier version, or not heard of since \
                the registry started";
            return Self { name, done: false, removed: None, problem: problem.to_owned() };
        };
        let outcome = follower.outcomes.iter().rev().find(|it| it.position == position);
        let silent = follower.silent_for.unwrap_or_default().seconds;
        let done = follower.applied >= position;
        let problem = match outcome {
            Some(outcome) => outcome.problem.clone(),
            None if done => String::new(),
            None if state == State::Lost => "it is lost".to_owned(),
            None => format!("not heard of for {silent} s"),
        };
        Self { name, done, removed: outcome.map(|outcome| outcome.concerned), problem }
    }
}

/// Purges at one node alone, past the log.
pub(super) async fn at(
    cluster: &Cluster,
    nodes: &[InstanceStatus],
    purge: Purge,
    format: Format,
) -> Result<()> {
    let request = AtOne { purge: Some(purge), ..AtOne::default() };
    let ask = async |node: &InstanceStatus| {
        call(&node.instance.name, cluster.proxy_node(node)?.purge(request.clone())).await
    };
    let answers = ask_all(nodes, ask).await?;
    let nodes = answers.given.into_iter().map(|(name, answer)| NodePurged {
        name,
        done: true,
        removed: Some(answer.removed),
        problem: String::new(),
    });
    cluster.show(&Purged { position: None, nodes: nodes.collect() }, format)?;
    answers.verdict
}

impl View for Purged {
    fn text(&self) -> String {
        let columns =
            [column("NODE", 0), column("DONE", 0), column("REMOVED", 0), sentences("PROBLEM")];
        let rows = self.nodes.iter().map(|node| {
            let removed = node.removed.map_or("-".to_owned(), |removed| removed.to_string());
            let done = if node.done { "yes" } else { "no" };
            vec![
                Cell::new(&node.name),
                Cell::new(done),
                Cell::new(removed),
                Cell::new(&node.problem),
            ]
        });
        output::table(&columns, rows)
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::{PurgeFollower, PurgeOutcome};

    use super::*;

    #[test]
    fn who_has_done_it_and_who_has_not() {
        let follower = |name: &str, applied, problem: &str| PurgeFollower {
            name: name.into(),
            applied,
            silent_for: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
            outcomes: vec![PurgeOutcome {
                position: applied,
                concerned: 3,
                problem: problem.into(),
            }],
            ..PurgeFollower::default()
        };
        let listed = ListPurgesResponse {
            followers: vec![follower("a", 5, ""), follower("b", 4, ""), follower("c", 5, "full")],
            ..ListPurgesResponse::default()
        };
        for (name, state, done, removed, says) in [
            ("a", State::Usable, true, Some(3), ""),
            ("b", State::Usable, false, None, "not heard of for 7 s"),
            ("b", State::Lost, false, None, "it is lost"),
            ("c", State::Usable, true, Some(3), "full"),
            ("d", State::Usable, false, None, "it does not follow the log"),
        ] {
            let found = NodePurged::of(name, state, &listed, 5);
            assert_eq!((found.done, found.removed), (done, removed), "{name}");
            assert!(found.problem.starts_with(says), "{name}: {}", found.problem);
        }
    }
}

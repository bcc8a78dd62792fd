//! How far a rollout is: what people are shown, and what is kept on disk.

use super::{Key, Target};
use cluster_config::Problem;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// State of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The firsts have it, and not all of them have proved it.
    Trying,
    /// The rest are getting it.
    Spreading,
    /// An operator stopped it for now.
    Paused,
    /// Every connected node acknowledged.
    Done,
    /// A node rejected it or did not answer; every node got back what it had.
    Failed,
    /// An operator ended it; every node got back what it had.
    Aborted,
}

impl State {
    /// Whether it goes on by itself or by an operator's word.
    pub const fn running(self) -> bool {
        matches!(self, Self::Trying | Self::Spreading | Self::Paused)
    }
}

/// State of one node in a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not assigned yet.
    Waiting,
    /// Assigned, no answer yet.
    Assigned,
    /// Acknowledged, or nothing differs for it.
    Applied,
    /// Refused.
    Rejected,
    /// Given back what it had.
    Reverted,
    /// Went away.
    Gone,
}

/// One node in a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    /// State.
    pub state: NodeState,
    /// Why it refused.
    pub problems: Vec<Problem>,
    /// What it is to run.
    pub candidate: Target,
    /// What it goes back to.
    pub before: Option<Target>,
    /// Since when it is in this state.
    pub since: Duration,
    /// Whether it was given the candidate, and the candidate differs from what it had.
    pub exposed: bool,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its id.
    pub id: String,
    /// What is rolled out.
    pub revision: String,
    /// What nodes go back to.
    pub previous: Option<String>,
    /// State.
    pub state: State,
    /// In words for people.
    pub explanation: String,
    /// Every node that was connected while it ran.
    pub nodes: BTreeMap<Key, NodeProgress>,
    /// The node of each service that has it first.
    pub firsts: BTreeMap<String, First>,
}

/// The node of a service that has a revision first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First {
    /// Its name.
    pub name: String,
    /// Acknowledged, and stayed for the soak time.
    pub proved: bool,
}

impl Progress {
    /// Whether nodes of a service other than its first may have it.
    pub fn proved(&self, service: &str) -> bool {
        self.firsts.get(service).is_some_and(|first| first.proved)
    }

    /// Whether a node is the first of its service.
    pub fn is_first(&self, key: &Key) -> bool {
        self.firsts.get(&key.service).is_some_and(|first| first.name == key.name)
    }

    pub(super) fn describe(&self) -> String {
        let count = |state: NodeState| self.nodes.values().filter(|node| node.state == state).count();
        let firsts: Vec<&str> = self.firsts.values().filter(|first| !first.proved).map(|first| first.name.as_str()).collect();
        match self.state {
            State::Trying if firsts.is_empty() => "beginning".to_owned(),
            State::Trying => format!("{} has it first; the others wait for that", firsts.join(", ")),
            State::Spreading => format!("{} of {} nodes have it", count(NodeState::Applied), self.nodes.len()),
            State::Done => match (count(NodeState::Applied), count(NodeState::Gone)) {
                (0, 0) => "no node is connected; nodes get it when they join".to_owned(),
                (1, 0) => "the one connected node has it".to_owned(),
                (applied, 0) => format!("all {applied} connected nodes have it"),
                (applied, gone) => format!("{applied} nodes have it; {gone} went away and get it when they are back"),
            },
            State::Paused | State::Failed | State::Aborted => self.explanation.clone(),
        }
    }
}

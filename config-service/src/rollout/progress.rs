//! How far a rollout is: what people are shown, and what is kept on disk.

use super::gate::Member;
use super::plan::{Absent, Gate, Plan, Position, Stage, Who};
use super::{Key, Target};
use cluster_config::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// State of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is in the stage that its position says. Versions without plans wrote how far it was here.
    #[serde(alias = "trying", alias = "spreading")]
    Running,
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
    pub const fn is_under_way(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
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
    Rejected,
    /// Given back what it had.
    Reverted,
    Gone,
}

/// One node in a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    pub state: NodeState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Why it refused.
    pub problems: Vec<Problem>,
    /// What it is to run.
    pub candidate: Target,
    /// What it goes back to.
    pub before: Option<Target>,
    /// Whether it was given the candidate, and the candidate differs from what it had.
    pub exposed: bool,
    /// The stage in which it was given it.
    pub stage: Option<usize>,
    /// It has passed the gate of that stage.
    pub soaked: bool,
    /// Which of its processes acknowledged, and when: that one goes on soaking when only its
    /// connection was lost.
    pub acknowledged: Option<Acknowledged>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    pub process: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub id: String,
    /// What is rolled out.
    pub revision: String,
    /// What nodes go back to.
    pub previous: Option<String>,
    pub state: State,
    /// What it does.
    pub plan: Plan,
    /// Where it is in that.
    pub position: Position,
    /// In words for people.
    pub explanation: String,
    /// Every node that was connected while it ran.
    pub nodes: BTreeMap<Key, NodeProgress>,
}

impl NodeProgress {
    /// What a gate judges.
    pub(super) fn member(&self, connected: bool) -> Member<'_> {
        Member {
            state: self.state,
            since: self.since,
            connected,
            soaked: self.soaked,
            problems: &self.problems,
        }
    }

    /// Enters a state.
    pub(super) fn enter(&mut self, state: NodeState, now: Timestamp) {
        (self.state, self.since) = (state, now);
    }
}

impl Progress {
    /// The stage that it is in; a plan has at least one.
    pub fn stage(&self) -> Option<&Stage> {
        self.plan.stages.get(self.position.stage)
    }

    /// The gate that a node has to pass: that of the stage in which it was given the revision, or
    /// will be.
    pub(super) fn gate_of(&self, node: &NodeProgress) -> Option<&Gate> {
        let stage = node.stage.unwrap_or(self.plan.stages.len().saturating_sub(1));
        self.plan.stages.get(stage).map(|stage| &stage.gate)
    }

    /// Whether a node that goes away now is waited for.
    pub(super) fn awaits(&self, node: &NodeProgress) -> bool {
        node.stage.is_some()
            && !node.soaked
            && self.gate_of(node).is_some_and(|gate| gate.absent == Absent::Awaited)
    }

    pub(super) fn describe(&self) -> String {
        let count =
            |state: NodeState| self.nodes.values().filter(|node| node.state == state).count();
        match self.state {
            State::Running
                if self.stage().is_some_and(|stage| stage.who == Who::OneOfEachService) =>
            {
                let canaries = self
                    .nodes
                    .iter()
                    .filter(|(_, node)| node.stage == Some(self.position.stage) && !node.soaked);
                let canaries: Vec<&str> = canaries.map(|(key, _)| key.name.as_str()).collect();
                if canaries.is_empty() {
                    "beginning".to_owned()
                } else {
                    format!("{} has it first; the others wait for that", canaries.join(", "))
                }
            }
            State::Running => {
                format!("{} of {} nodes have it", count(NodeState::Applied), self.nodes.len())
            }
            State::Done => match (count(NodeState::Applied), count(NodeState::Gone)) {
                (0, 0) => "no node is connected; nodes get it when they join".to_owned(),
                (1, 0) => "the one connected node has it".to_owned(),
                (applied, 0) => format!("all {applied} connected nodes have it"),
                (applied, gone) => format!(
                    "{applied} nodes have it; {gone} went away and get it when they are back"
                ),
            },
            State::Paused | State::Failed | State::Aborted => self.explanation.clone(),
        }
    }
}

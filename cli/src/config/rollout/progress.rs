//! How far a rollout is, as it is printed while it goes on and shown when it is asked for.

use std::collections::BTreeMap;

use anyhow::Result;
use proto::config::{NodeRollout, NodeRolloutState, Rollout, RolloutState};
use serde::Serialize;

use super::super::bundle::Problem;
use crate::output::{self, Cell, Format, View, column, sentences};

/// What has been printed already.
#[derive(Default)]
pub(super) struct Printed {
    pub(super) nodes: BTreeMap<String, NodeRolloutState>,
    pub(super) paused: bool,
}

impl Printed {
    pub(super) fn print(&mut self, rollout: &Rollout, format: Format) -> Result<()> {
        for line in self.news(rollout) {
            output::say(&line, format)?;
        }
        Ok(())
    }

    /// Lines for what is new in `rollout`.
    pub(super) fn news(&mut self, rollout: &Rollout) -> Vec<String> {
        let mut lines = Vec::new();
        for node in &rollout.nodes {
            let state = node.state();
            if self.nodes.insert(node.name.clone(), state) != Some(state)
                && state != NodeRolloutState::Waiting
            {
                lines.extend(answer(node));
            }
        }
        let paused = rollout.state() == RolloutState::Paused;
        if paused && !self.paused {
            lines.push("paused: go on with `shoal config rollout resume`".to_owned());
        }
        self.paused = paused;
        lines
    }
}

/// What one node answered.
pub(super) fn answer(node: &NodeRollout) -> Vec<String> {
    let mut lines = vec![format!("  {:<20} {}", node.name, node_state(node.state()))];
    lines.extend(
        node.problems
            .iter()
            .map(|problem| format!("    {}", Problem::from(problem.clone()).line())),
    );
    lines
}

#[derive(Serialize)]
pub(super) struct Progress {
    pub(super) id: String,
    pub(super) revision: String,
    pub(super) number: u64,
    pub(super) state: &'static str,
    pub(super) explanation: String,
    pub(super) previous_revision: String,
    pub(super) nodes: Vec<NodeProgress>,
}

#[derive(Serialize)]
pub(super) struct NodeProgress {
    pub(super) name: String,
    pub(super) service: String,
    pub(super) state: &'static str,
    pub(super) problems: Vec<Problem>,
}

impl From<Rollout> for Progress {
    fn from(rollout: Rollout) -> Self {
        let state = rollout_state(rollout.state());
        let revision = rollout.revision.unwrap_or_default();
        let nodes = rollout.nodes.into_iter().map(|node| NodeProgress {
            state: node_state(node.state()),
            name: node.name,
            service: node.service,
            problems: node.problems.into_iter().map(Problem::from).collect(),
        });
        Self {
            id: rollout.id,
            revision: revision.id,
            number: revision.number,
            state,
            explanation: rollout.explanation,
            previous_revision: rollout.previous_revision,
            nodes: nodes.collect(),
        }
    }
}

impl View for Progress {
    fn text(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let problems: Vec<_> = node.problems.iter().map(Problem::line).collect();
            vec![
                Cell::new(&node.name),
                Cell::new(&node.service),
                output::coloured(node.state),
                Cell::new(problems.join("\n")),
            ]
        });
        let heading = format!(
            "Rollout of revision {} ({}): {}. {}",
            self.number, self.revision, self.state, self.explanation
        );
        let heading = output::fitted(heading.trim_end(), "");
        if self.nodes.is_empty() {
            return heading;
        }
        format!(
            "{heading}\n\n{}",
            output::table(
                &[
                    column("NODE", 0),
                    column("SERVICE", 1),
                    column("STATE", 0),
                    sentences("PROBLEMS")
                ],
                rows
            )
        )
    }
}

pub(super) fn rollout_state(state: RolloutState) -> &'static str {
    match state {
        RolloutState::Unspecified => "unknown",
        RolloutState::Trying => "trying",
        RolloutState::Spreading => "spreading",
        RolloutState::Paused => "paused",
        RolloutState::Done => "done",
        RolloutState::Failed => "failed",
        RolloutState::Aborted => "aborted",
    }
}

pub(super) fn node_state(state: NodeRolloutState) -> &'static str {
    match state {
        NodeRolloutState::Unspecified => "unknown",
        NodeRolloutState::Waiting => "waiting",
        NodeRolloutState::Assigned => "assigned",
        NodeRolloutState::Applied => "applied",
        NodeRolloutState::Rejected => "rejected",
        NodeRolloutState::Reverted => "reverted",
        NodeRolloutState::Gone => "gone",
    }
}

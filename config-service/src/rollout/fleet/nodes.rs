//! What nodes say, and how they take their places in a rollout.

use super::Fleet;
use crate::rollout::progress::{Acknowledged, NodeProgress, NodeState};
use crate::rollout::{Action, Hello, Key, Node, Rendering, Target};
use cluster_config::{Place, Problem, problem::Cause};
use jiff::Timestamp;

impl Fleet {
    /// A node connects. It is told at once when it shall run something else than it does.
    pub fn hello(&mut self, hello: Hello, now: Timestamp) -> Vec<Action> {
        let Hello { key, session, process, applied, rejected, released, candidate } = hello;
        let before = self.rollout.clone();
        let unrenderable = released
            .as_ref()
            .and_then(|rendering| rendering.as_ref().err().cloned())
            .unwrap_or_default();
        let released = released.and_then(Result::ok);
        let refused = self.nodes.remove(&key).and_then(|node| node.refused);
        let node = Node {
            session: Some(session),
            process,
            applied,
            assigned: released,
            refused,
            rejected,
            unrenderable,
        };
        self.nodes.insert(key.clone(), node);
        let mut actions = Vec::new();
        if let Some(rendering) = candidate {
            self.rejoin(&key, rendering, now);
        }
        self.advance(now, &mut actions);
        self.settle(&key, &mut actions);
        if self.rollout != before && !actions.contains(&Action::Changed) {
            actions.push(Action::Changed);
        }
        actions
    }

    /// Sends a node what it shall run, unless it runs that, was just sent something, or will not
    /// take it.
    fn settle(&self, key: &Key, actions: &mut Vec<Action>) {
        let Some(node) = self.nodes.get(key) else { return };
        let Some(target) = &node.assigned else { return };
        let sent = actions
            .iter()
            .any(|action| matches!(action, Action::Assign { key: to, .. } if to == key));
        if node.applied.as_ref() != Some(target)
            && !node.rejected.contains_key(&target.hash)
            && !sent
        {
            actions.push(Action::Assign { key: key.clone(), target: target.clone() });
        }
    }

    /// A node's connection ends.
    pub fn gone(&mut self, key: &Key, session: u64, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.session == Some(session))
        else {
            return actions;
        };
        node.session = None;
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.state.is_under_way())
        {
            let awaited = rollout.nodes.get(key).is_some_and(|progress| rollout.awaits(progress));
            if let Some(progress) = rollout.nodes.get_mut(key) {
                match progress.state {
                    // It may be down because of what it got: it keeps its place, and the time to
                    // answer runs on.
                    NodeState::Assigned if awaited => {}
                    NodeState::Applied if awaited => progress.enter(NodeState::Assigned, now),
                    _ => progress.enter(NodeState::Gone, now),
                }
                actions.push(Action::Changed);
            }
        }
        self.advance(now, &mut actions);
        actions
    }

    /// A node runs something else for a reason of its own.
    pub fn applied(&mut self, key: &Key, session: u64, target: Target) {
        if let Some(node) = self.nodes.get_mut(key).filter(|node| node.session == Some(session)) {
            node.applied = Some(target);
        }
    }

    /// A node answers an assignment. Answers to anything but its newest are late and mean nothing
    /// for a rollout.
    pub fn acknowledged(
        &mut self,
        key: &Key,
        session: u64,
        target: &Target,
        problems: Vec<Problem>,
        now: Timestamp,
    ) -> Vec<Action> {
        if self.answered(key, session, target, problems, now) {
            self.conclude(now)
        } else {
            Vec::new()
        }
    }

    /// Takes an answer and draws no conclusion yet; whether one is to be drawn. Of many answers
    /// that came together, one conclusion is as good as one after each of them, and costs as much
    /// as a single one.
    #[must_use]
    pub fn answered(
        &mut self,
        key: &Key,
        session: u64,
        target: &Target,
        problems: Vec<Problem>,
        now: Timestamp,
    ) -> bool {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.session == Some(session))
        else {
            return false;
        };
        let newest = node.assigned.as_ref() == Some(target);
        if problems.is_empty() {
            node.applied = Some(target.clone());
            node.refused = None;
        } else {
            node.refused = Some((target.clone(), problems.clone()));
        }
        let Some(rollout) =
            self.rollout.as_mut().filter(|rollout| rollout.state.is_under_way() && newest)
        else {
            return false;
        };
        let Some(progress) =
            rollout.nodes.get_mut(key).filter(|progress| progress.candidate == *target)
        else {
            return false;
        };
        if progress.state != NodeState::Assigned {
            return false;
        }
        if problems.is_empty() {
            progress.enter(NodeState::Applied, now);
            progress.acknowledged = Some(Acknowledged { process: node.process.clone(), at: now });
        } else {
            progress.enter(NodeState::Rejected, now);
        }
        progress.problems = problems;
        true
    }

    /// A node takes its place in the rollout, as it would when the rollout begins.
    pub(super) fn enlist(&mut self, key: &Key, rendering: Rendering, now: Timestamp) {
        let (Some(node), Some(rollout)) = (self.nodes.get(key), self.rollout.as_mut()) else {
            return;
        };
        let (candidate, mut problems) = match rendering {
            Ok(target) => (target, Vec::new()),
            Err(problems) => {
                (Target { revision: rollout.revision.clone(), hash: String::new() }, problems)
            }
        };
        if let Some(reason) = node.rejected.get(&candidate.hash) {
            let message = format!("the node will not take this again: {reason}");
            let remedy = format!(
                "commit a revision that differs for it, or have it tried once more with `shoal \
                 config retry {}`",
                key.name
            );
            let problem = Problem::error(Place::default(), message, remedy);
            problems.push(problem.because(Cause::Crashed));
        }
        let state = if problems.is_empty() { NodeState::Waiting } else { NodeState::Rejected };
        let before = node.assigned.clone();
        let (stage, soaked, acknowledged) = (None, false, None);
        let progress = NodeProgress {
            state,
            since: now,
            problems,
            candidate,
            before,
            exposed: false,
            stage,
            soaked,
            acknowledged,
        };
        rollout.nodes.insert(key.clone(), progress);
    }

    /// A node is back, or new, while a rollout runs.
    fn rejoin(&mut self, key: &Key, rendering: Rendering, now: Timestamp) {
        let known = self.under_way().and_then(|rollout| rollout.nodes.get(key)).cloned();
        self.enlist(key, rendering, now);
        let Some(known) = known.filter(|known| known.exposed) else { return };
        let (Some(node), Some(rollout)) = (self.nodes.get_mut(key), self.rollout.as_mut()) else {
            return;
        };
        let Some(progress) = rollout.nodes.get_mut(key) else { return };
        (progress.exposed, progress.stage, progress.soaked) = (true, known.stage, known.soaked);
        if progress.state == NodeState::Rejected {
            return;
        }
        // It had been given the candidate: it either runs it, or gets it again; a time to answer
        // that runs already goes on.
        node.assigned = Some(progress.candidate.clone());
        let runs_it =
            node.applied.as_ref().is_some_and(|applied| applied.hash == progress.candidate.hash);
        if runs_it {
            progress.enter(NodeState::Applied, now);
            // A process that was there all the time has gone on soaking: only its connection was
            // lost.
            let same = known.acknowledged.filter(|acknowledged| {
                acknowledged.process == node.process && !node.process.is_empty()
            });
            if let Some(Acknowledged { at, .. }) = &same {
                progress.since = (*at).min(now);
            }
            progress.acknowledged =
                same.or_else(|| Some(Acknowledged { process: node.process.clone(), at: now }));
        } else {
            let since = if known.state == NodeState::Assigned { known.since } else { now };
            progress.enter(NodeState::Assigned, since);
        }
    }
}

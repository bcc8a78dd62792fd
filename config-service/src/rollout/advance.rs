//! What follows for a running rollout from what is known: one step after another, idempotent.

use super::fleet::{Fleet, Node};
use super::gate::Verdict;
use super::plan::Who;
use super::progress::{NodeProgress, NodeState, Progress, State};
use super::{Action, Key};
use jiff::Timestamp;
use std::collections::BTreeMap;

impl Fleet {
    pub(super) fn advance(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let before = self.rollout.clone();
        let Some(rollout) = self.under_way() else { return };
        let state = rollout.state;
        if let Some(why) = self.failure(rollout, now) {
            self.end(State::Failed, why, actions);
            return;
        }
        if state == State::Paused {
            return;
        }
        self.judge(now);
        // What opens one gate may open the next.
        while self.open_gate(now) {}
        self.assign(now, actions);
        self.finish(actions);
        if let Some(rollout) = &mut self.rollout {
            rollout.explanation = rollout.describe();
        }
        if self.rollout != before && !actions.contains(&Action::Changed) {
            actions.push(Action::Changed);
        }
    }

    fn is_connected(&self, key: &Key) -> bool {
        self.nodes.get(key).is_some_and(|node| node.session.is_some())
    }

    fn verdict(
        &self,
        rollout: &Progress,
        key: &Key,
        node: &NodeProgress,
        now: Timestamp,
    ) -> Verdict {
        match rollout.gate_of(node) {
            Some(gate) => gate.judge(&node.member(self.is_connected(key)), now),
            None => Verdict::Passed,
        }
    }

    fn failure(&self, rollout: &Progress, now: Timestamp) -> Option<String> {
        rollout.nodes.iter().find_map(|(key, node)| match self.verdict(rollout, key, node, now) {
            // Time does not pass for a rollout that is paused.
            Verdict::Fails(_)
                if rollout.state == State::Paused && node.state != NodeState::Rejected =>
            {
                None
            }
            Verdict::Fails(why) => Some(format!("{} {} {why}", key.service, key.name)),
            _ => None,
        })
    }

    /// A node for which nothing changes but the revision's name cannot be harmed by it.
    fn is_no_op(node: &Node, progress: &NodeProgress) -> bool {
        node.applied.as_ref().is_some_and(|applied| applied.hash == progress.candidate.hash)
    }

    /// Takes down who has passed its gate, and who is waited for no longer.
    fn judge(&mut self, now: Timestamp) {
        let Some(rollout) = &self.rollout else { return };
        let open = rollout
            .nodes
            .iter()
            .filter(|(_, node)| !(node.soaked && node.state == NodeState::Applied));
        let judged = open.map(|(key, node)| (key, self.verdict(rollout, key, node, now)));
        let judged: Vec<(Key, Verdict)> = judged
            .filter(|(_, verdict)| matches!(verdict, Verdict::Passed | Verdict::PassedOver))
            .map(|(key, verdict)| (key.clone(), verdict))
            .collect();
        let Some(rollout) = &mut self.rollout else { return };
        for (key, verdict) in judged {
            let Some(node) = rollout.nodes.get_mut(&key) else { continue };
            if verdict == Verdict::PassedOver {
                node.enter(NodeState::Gone, now);
            } else {
                node.soaked |= node.stage.is_some() && node.state == NodeState::Applied;
            }
        }
    }

    /// Goes on to the next stage if nobody holds up this one; whether it did.
    fn open_gate(&mut self, now: Timestamp) -> bool {
        self.choose();
        let Some(rollout) = &mut self.rollout else { return false };
        let stage = rollout.position.stage;
        let held = rollout.nodes.values().any(|node| node.stage == Some(stage) && !node.soaked);
        if held || rollout.plan.is_last(stage) {
            return false;
        }
        (rollout.position.stage, rollout.position.since) = (stage + 1, now);
        true
    }

    /// Chooses who belongs to the stages that have begun. A service that joins late begins with the
    /// first stage, too.
    fn choose(&mut self) {
        let Some(rollout) = &mut self.rollout else { return };
        let waiting =
            |node: &NodeProgress| node.state == NodeState::Waiting && node.stage.is_none();
        let mut census = Census::of(rollout);
        let keys: Vec<Key> = rollout
            .nodes
            .iter()
            .filter(|(_, node)| waiting(node))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let Some(connected) = self.nodes.get(&key).filter(|node| node.session.is_some()) else {
                continue;
            };
            let Some(no_op) =
                rollout.nodes.get(&key).map(|progress| Self::is_no_op(connected, progress))
            else {
                continue;
            };
            let begun = rollout.plan.stages.iter().enumerate().take(rollout.position.stage + 1);
            let its = begun.filter(|(index, stage)| match stage.who {
                Who::OneOfEachService => {
                    !no_op
                        && !census.has_member(&key.service, *index)
                        && !census.holds_back(&key.service, *index)
                }
                Who::Everybody => no_op || !census.holds_back(&key.service, *index),
            });
            let stage = its.map(|(index, _)| index).next();
            if let (Some(progress), Some(stage)) = (rollout.nodes.get_mut(&key), stage) {
                progress.stage = Some(stage);
                census.add(&key.service, stage, no_op);
            }
        }
    }

    /// Gives it to those whose turn it is.
    fn assign(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(rollout) = &mut self.rollout else { return };
        let chosen = |node: &NodeProgress| node.state == NodeState::Waiting && node.stage.is_some();
        for (key, progress) in rollout.nodes.iter_mut().filter(|(_, node)| chosen(node)) {
            let Some(node) = self.nodes.get_mut(key).filter(|node| node.session.is_some()) else {
                continue;
            };
            let no_op = Self::is_no_op(node, progress);
            progress.enter(if no_op { NodeState::Applied } else { NodeState::Assigned }, now);
            (progress.exposed, progress.soaked) = (!no_op, no_op);
            node.assigned = Some(progress.candidate.clone());
            if node.applied.as_ref() != Some(&progress.candidate) {
                actions
                    .push(Action::Assign { key: key.clone(), target: progress.candidate.clone() });
            }
        }
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        let Some(rollout) =
            self.rollout.as_mut().filter(|rollout| rollout.plan.is_last(rollout.position.stage))
        else {
            return;
        };
        let through = |node: &NodeProgress| match node.state {
            NodeState::Applied => node.soaked,
            NodeState::Gone => true,
            _ => false,
        };
        if rollout.nodes.values().all(through) {
            rollout.state = State::Done;
            self.released = Some(rollout.revision.clone());
            actions.push(Action::Released(rollout.revision.clone()));
        }
    }

    /// Ends the rollout and gives every node back what it had.
    pub(super) fn end(&mut self, state: State, why: String, actions: &mut Vec<Action>) {
        let Some(rollout) = &mut self.rollout else { return };
        rollout.state = state;
        rollout.explanation = why;
        actions.push(Action::Changed);
        for (key, progress) in &mut rollout.nodes {
            // Whoever is away gets what is released when it is back.
            let Some(node) = self.nodes.get_mut(key) else {
                if progress.exposed && progress.state != NodeState::Rejected {
                    progress.state = NodeState::Reverted;
                }
                continue;
            };
            if node.assigned.as_ref() != Some(&progress.candidate) {
                continue;
            }
            node.assigned = progress.before.clone();
            let Some(before) = &progress.before else { continue };
            // Whoever refused it kept what it had.
            let kept =
                progress.state == NodeState::Rejected && node.applied.as_ref() == Some(before);
            if progress.state != NodeState::Rejected {
                progress.state = NodeState::Reverted;
            }
            if node.session.is_some()
                && before != &progress.candidate
                && !kept
                && !node.rejected.contains_key(&before.hash)
            {
                actions.push(Action::Assign { key: key.clone(), target: before.clone() });
            }
        }
    }
}

/// How many nodes of each service belong to each stage, and how many of those hold it up.
#[derive(Default)]
struct Census(BTreeMap<(String, usize), (usize, usize)>);

impl Census {
    fn of(rollout: &Progress) -> Self {
        let mut census = Self::default();
        for (key, node) in &rollout.nodes {
            if let Some(stage) = node.stage {
                census.add(&key.service, stage, node.soaked);
            }
        }
        census
    }

    fn add(&mut self, service: &str, stage: usize, soaked: bool) {
        let (members, holding) = self.0.entry((service.to_owned(), stage)).or_default();
        *members += 1;
        *holding += usize::from(!soaked);
    }

    fn has_member(&self, service: &str, stage: usize) -> bool {
        self.0.contains_key(&(service.to_owned(), stage))
    }

    /// Whether somebody of the service has yet to pass the gate of an earlier stage.
    fn holds_back(&self, service: &str, stage: usize) -> bool {
        let earlier = (service.to_owned(), 0)..(service.to_owned(), stage);
        self.0.range(earlier).any(|(_, (_, holding))| *holding > 0)
    }
}

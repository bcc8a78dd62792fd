//! What follows for a running rollout from what is known: one step after another, idempotent.

use super::fleet::{Fleet, Node};
use super::progress::{First, NodeProgress, NodeState, Progress, State};
use super::{Action, Key};
use cluster_config::Problem;
use std::time::Duration;

impl Fleet {
    pub(super) fn advance(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(rollout) = self.running() else { return };
        if let Some(why) = self.failure(rollout, now) {
            self.end(State::Failed, why, actions);
            return;
        }
        if rollout.state == State::Paused {
            return;
        }
        let before = self.rollout.clone();
        self.choose_firsts();
        self.prove(now);
        self.assign(now, actions);
        self.finish(actions);
        if let Some(rollout) = &mut self.rollout {
            rollout.explanation = rollout.describe();
        }
        if self.rollout != before && !actions.contains(&Action::Changed) {
            actions.push(Action::Changed);
        }
    }

    fn failure(&self, rollout: &Progress, now: Duration) -> Option<String> {
        for (key, progress) in &rollout.nodes {
            let who = || format!("{} {}", key.service, key.name);
            if progress.state == NodeState::Rejected {
                return Some(format!("{} refused it: {}", who(), progress.problems.first().map(Problem::reason).unwrap_or_default()));
            }
            let late = progress.state == NodeState::Assigned && progress.since + self.times.acknowledge <= now;
            if late && rollout.state != State::Paused {
                let away = self.nodes.get(key).is_none_or(|node| node.session.is_none());
                let what = if away { "went away after it got it, and was not back" } else { "did not answer" };
                return Some(format!("{} {what} within {}", who(), cluster_config::units::format_duration(self.times.acknowledge)));
            }
        }
        None
    }

    /// A node for which nothing changes but the revision's name cannot be harmed by it.
    fn is_no_op(node: &Node, progress: &NodeProgress) -> bool {
        node.applied.as_ref().is_some_and(|applied| applied.hash == progress.candidate.hash)
    }

    fn choose_firsts(&mut self) {
        let Some(rollout) = &mut self.rollout else { return };
        for (key, progress) in rollout.nodes.iter().filter(|(_, progress)| progress.state == NodeState::Waiting) {
            let Some(node) = self.nodes.get(key).filter(|node| node.session.is_some()) else { continue };
            if !rollout.firsts.contains_key(&key.service) && !Self::is_no_op(node, progress) {
                rollout.firsts.insert(key.service.clone(), First { name: key.name.clone(), proved: false });
            }
        }
    }

    fn prove(&mut self, now: Duration) {
        let Some(rollout) = &mut self.rollout else { return };
        for (service, first) in &mut rollout.firsts {
            let key = Key { service: service.clone(), name: first.name.clone() };
            let connected = self.nodes.get(&key).is_some_and(|node| node.session.is_some());
            let progress = rollout.nodes.get(&key);
            let soaked = progress.is_some_and(|node| node.state == NodeState::Applied && node.since + self.times.soak <= now);
            first.proved |= connected && soaked;
        }
        if rollout.state == State::Trying && rollout.firsts.values().all(|first| first.proved) {
            rollout.state = State::Spreading;
        }
    }

    fn assign(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(rollout) = &mut self.rollout else { return };
        let spreading = rollout.state == State::Spreading;
        let firsts = &rollout.firsts;
        for (key, progress) in rollout.nodes.iter_mut().filter(|(_, progress)| progress.state == NodeState::Waiting) {
            let Some(node) = self.nodes.get_mut(key).filter(|node| node.session.is_some()) else { continue };
            let no_op = Self::is_no_op(node, progress);
            let its_turn = match firsts.get(&key.service) {
                Some(first) => first.name == key.name || (spreading && (first.proved || no_op)),
                None => spreading,
            };
            if !its_turn {
                continue;
            }
            progress.state = if no_op { NodeState::Applied } else { NodeState::Assigned };
            progress.exposed = !no_op;
            progress.since = now;
            node.assigned = Some(progress.candidate.clone());
            if node.applied.as_ref() != Some(&progress.candidate) {
                actions.push(Action::Assign { key: key.clone(), target: progress.candidate.clone() });
            }
        }
    }

    fn finish(&mut self, actions: &mut Vec<Action>) {
        let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.state == State::Spreading) else { return };
        let settled = rollout.nodes.values().all(|node| matches!(node.state, NodeState::Applied | NodeState::Gone));
        if settled && rollout.firsts.values().all(|first| first.proved) {
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
            let Some(node) = self.nodes.get_mut(key) else { continue };
            if node.assigned.as_ref() != Some(&progress.candidate) {
                continue;
            }
            node.assigned = progress.before.clone();
            let Some(before) = &progress.before else { continue };
            // Whoever refused it kept what it had.
            let kept = progress.state == NodeState::Rejected && node.applied.as_ref() == Some(before);
            if progress.state != NodeState::Rejected {
                progress.state = NodeState::Reverted;
            }
            if node.session.is_some() && before != &progress.candidate && !kept && !node.rejected.contains_key(&before.hash) {
                actions.push(Action::Assign { key: key.clone(), target: before.clone() });
            }
        }
    }
}

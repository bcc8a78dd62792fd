//! The nodes and the released revision: what is known of everybody, and the events that change it.

use super::gate::Verdict;
use super::plan::Position;
use super::progress::{Acknowledged, NodeProgress, NodeState, Progress, State};
use super::{Action, Control, Error, Hello, Key, Rendering, Start, Target};
use cluster_config::{Place, Problem, problem::Cause};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A node as it was heard of last.
#[derive(Clone, Debug)]
pub struct Node {
    /// The connection; `None`: it is away.
    pub session: Option<u64>,
    pub process: String,
    /// What it says that it runs.
    pub applied: Option<Target>,
    /// What it was told to run.
    pub assigned: Option<Target>,
    /// What it refused last, and why.
    pub refused: Option<(Target, Vec<Problem>)>,
    /// Hashes that it will not take, with the reason.
    pub rejected: BTreeMap<String, String>,
    /// The released revision cannot be rendered for it.
    pub unrenderable: Vec<Problem>,
}

/// Everything that decides what a node gets.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(super) released: Option<String>,
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) rollout: Option<Progress>,
}

impl Fleet {
    /// No node yet, no rollout. `released`: what joining nodes get.
    pub const fn new(released: Option<String>) -> Self {
        Self { released, nodes: BTreeMap::new(), rollout: None }
    }

    /// As after a restart of this service: nobody is connected yet. `rollout` is the newest; one
    /// that was under way goes on where it was. What the nodes did meanwhile they say in their
    /// hellos, and their time to do so begins now.
    pub fn resume(
        released: Option<String>,
        rollout: Option<Progress>,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let mut fleet = Self { rollout, ..Self::new(released) };
        let mut actions = Vec::new();
        let Some(rollout) = fleet.rollout.as_mut().filter(|rollout| rollout.state.is_under_way())
        else {
            return (fleet, actions);
        };
        if rollout.plan.stages.is_empty() {
            let why = "it was begun by a version of the config-service that could not go on after \
                a restart; every node gets back what it had. Start it again";
            fleet.end(State::Failed, why.to_owned(), &mut actions);
            return (fleet, actions);
        }
        let soaking: Vec<Key> = rollout
            .nodes
            .iter()
            .filter(|(_, node)| node.state == NodeState::Applied && rollout.awaits(node))
            .map(|(key, _)| key.clone())
            .collect();
        for (key, node) in &mut rollout.nodes {
            match node.state {
                NodeState::Waiting | NodeState::Assigned => node.since = now,
                NodeState::Applied if soaking.contains(key) => node.enter(NodeState::Assigned, now),
                _ => {}
            }
        }
        actions.push(Action::Changed);
        (fleet, actions)
    }

    /// As after a restore from a backup. A rollout that was under way when that was made has
    /// failed: what the nodes have now is another history.
    pub fn restored(released: Option<String>, rollout: Option<Progress>) -> (Self, Vec<Action>) {
        let mut fleet = Self { rollout, ..Self::new(released) };
        let mut actions = Vec::new();
        if fleet.under_way().is_some() {
            let why = "everything was restored from a backup that was made then; every node gets \
                back what it had. Start it again";
            fleet.end(State::Failed, why.to_owned(), &mut actions);
        }
        (fleet, actions)
    }

    /// Whether an assignment that could not be sent before is still to be sent.
    pub fn still_wants(&self, action: &Action) -> bool {
        let Action::Assign { key, target } = action else { return false };
        self.nodes
            .get(key)
            .is_some_and(|node| node.session.is_some() && node.assigned.as_ref() == Some(target))
    }

    /// What joining nodes get.
    pub fn released(&self) -> Option<&str> {
        self.released.as_deref()
    }

    /// The newest rollout.
    pub fn rollout(&self) -> Option<&Progress> {
        self.rollout.as_ref()
    }

    /// The revision of the running rollout.
    pub fn candidate(&self) -> Option<&str> {
        self.under_way().map(|rollout| rollout.revision.as_str())
    }

    /// Every node that was heard of.
    pub fn nodes(&self) -> &BTreeMap<Key, Node> {
        &self.nodes
    }

    /// Nodes that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &Key> {
        self.nodes.iter().filter(|(_, node)| node.session.is_some()).map(|(key, _)| key)
    }

    pub(super) fn under_way(&self) -> Option<&Progress> {
        self.rollout.as_ref().filter(|rollout| rollout.state.is_under_way())
    }

    /// Begins a rollout. One of the same revision that runs already is left as it is.
    pub fn start(&mut self, start: Start, now: Timestamp) -> Result<Vec<Action>, Error> {
        if let Some(running) = self.under_way() {
            if running.revision == start.revision {
                return Ok(Vec::new());
            }
            return Err(Error::Running {
                id: running.id.clone(),
                revision: running.revision.clone(),
            });
        }
        self.rollout = Some(Progress {
            id: start.id,
            revision: start.revision,
            previous: self.released.clone(),
            state: State::Running,
            plan: start.plan,
            position: Position { stage: 0, since: now },
            explanation: String::new(),
            nodes: BTreeMap::new(),
        });
        let mut actions = vec![Action::Changed];
        for (key, rendering) in start.renderings {
            self.enlist(&key, rendering, now);
        }
        self.advance(now, &mut actions);
        Ok(actions)
    }

    /// Pauses, resumes or aborts the running rollout.
    pub fn control(
        &mut self,
        id: &str,
        control: Control,
        now: Timestamp,
    ) -> Result<Vec<Action>, Error> {
        let Some(rollout) = self
            .rollout
            .as_mut()
            .filter(|rollout| rollout.state.is_under_way() && rollout.id == id)
        else {
            return Err(Error::NotRunning(id.to_owned()));
        };
        let mut actions = Vec::new();
        match control {
            Control::Pause if rollout.state != State::Paused => {
                rollout.state = State::Paused;
                rollout.explanation = "paused by an operator".to_owned();
                actions.push(Action::Changed);
            }
            Control::Resume if rollout.state == State::Paused => {
                rollout.state = State::Running;
                // Time does not pass for a rollout that is paused.
                for node in rollout.nodes.values_mut() {
                    node.since = now;
                    if let Some(acknowledged) = &mut node.acknowledged {
                        acknowledged.at = now;
                    }
                }
                actions.push(Action::Changed);
                self.advance(now, &mut actions);
            }
            Control::Pause | Control::Resume => {}
            Control::Abort => {
                self.end(State::Aborted, "aborted by an operator".to_owned(), &mut actions)
            }
        }
        Ok(actions)
    }

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

    /// What follows from the answers that were taken.
    pub fn conclude(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = vec![Action::Changed];
        self.advance(now, &mut actions);
        actions
    }

    pub fn tick(&mut self, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        self.advance(now, &mut actions);
        actions
    }

    /// When something happens though no event comes.
    pub fn deadline(&self) -> Option<Timestamp> {
        let rollout = self.under_way().filter(|rollout| rollout.state != State::Paused)?;
        let due = |(key, node): (&Key, &NodeProgress)| {
            let connected = self.nodes.get(key).is_some_and(|node| node.session.is_some());
            match rollout.gate_of(node)?.judge(&node.member(connected), Timestamp::MIN) {
                Verdict::Waits(until) => until,
                _ => None,
            }
        };
        rollout.nodes.iter().filter_map(due).min()
    }

    /// A node takes its place in the rollout, as it would when the rollout begins.
    fn enlist(&mut self, key: &Key, rendering: Rendering, now: Timestamp) {
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

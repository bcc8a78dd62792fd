//! The nodes and the released revision: what is known of everybody, and the events that change it.

use super::progress::{NodeProgress, NodeState, Progress, State};
use super::{Action, Control, Hello, Key, Refused, Rendering, Start, Target, Times};
use cluster_config::{Place, Problem};
use std::{collections::BTreeMap, time::Duration};

/// A node as it was heard of last.
#[derive(Clone, Debug)]
pub struct Node {
    /// The connection; `None`: it is away.
    pub session: Option<u64>,
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
    pub(super) times: Times,
    pub(super) released: Option<String>,
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) rollout: Option<Progress>,
}

impl Fleet {
    /// No node yet. `released`: what joining nodes get. `rollout`: the newest; one that was running when the service ended has failed.
    pub fn new(times: Times, released: Option<String>, rollout: Option<Progress>) -> (Self, Vec<Action>) {
        let mut fleet = Self { times, released, nodes: BTreeMap::new(), rollout };
        let mut actions = Vec::new();
        if let Some(rollout) = fleet.rollout.as_mut().filter(|rollout| rollout.state.running()) {
            rollout.state = State::Failed;
            let why = "the config-service was restarted in the middle, or restored from a backup that was made then; every node gets back what it had. Start it again";
            rollout.explanation = why.to_owned();
            rollout.nodes.values_mut().filter(|node| node.exposed).for_each(|node| node.state = NodeState::Reverted);
            actions.push(Action::Changed);
        }
        (fleet, actions)
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
        self.running().map(|rollout| rollout.revision.as_str())
    }

    /// Every node that was heard of.
    pub fn nodes(&self) -> &BTreeMap<Key, Node> {
        &self.nodes
    }

    /// Nodes that are connected.
    pub fn connected(&self) -> impl Iterator<Item = &Key> {
        self.nodes.iter().filter(|(_, node)| node.session.is_some()).map(|(key, _)| key)
    }

    pub(super) fn running(&self) -> Option<&Progress> {
        self.rollout.as_ref().filter(|rollout| rollout.state.running())
    }

    /// Begins a rollout. One of the same revision that runs already is left as it is.
    pub fn start(&mut self, start: Start, now: Duration) -> Result<Vec<Action>, Refused> {
        if let Some(running) = self.running() {
            if running.revision == start.revision {
                return Ok(Vec::new());
            }
            return Err(Refused::Running { id: running.id.clone(), revision: running.revision.clone() });
        }
        self.rollout = Some(Progress {
            id: start.id,
            revision: start.revision,
            previous: self.released.clone(),
            state: State::Trying,
            explanation: String::new(),
            nodes: BTreeMap::new(),
            firsts: BTreeMap::new(),
        });
        let mut actions = vec![Action::Changed];
        for (key, rendering) in start.renderings {
            self.enlist(&key, rendering, now);
        }
        self.advance(now, &mut actions);
        Ok(actions)
    }

    /// Pauses, resumes or aborts the running rollout.
    pub fn control(&mut self, id: &str, control: Control, now: Duration) -> Result<Vec<Action>, Refused> {
        let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.state.running() && rollout.id == id) else {
            return Err(Refused::NotRunning(id.to_owned()));
        };
        let mut actions = Vec::new();
        match control {
            Control::Pause if rollout.state != State::Paused => {
                rollout.state = State::Paused;
                rollout.explanation = "paused by an operator".to_owned();
                actions.push(Action::Changed);
            }
            Control::Resume if rollout.state == State::Paused => {
                let proved = rollout.firsts.values().all(|first| first.proved);
                rollout.state = if proved { State::Spreading } else { State::Trying };
                // Time does not pass for a rollout that is paused.
                rollout.nodes.values_mut().for_each(|node| node.since = now);
                actions.push(Action::Changed);
                self.advance(now, &mut actions);
            }
            Control::Pause | Control::Resume => {}
            Control::Abort => self.end(State::Aborted, "aborted by an operator".to_owned(), &mut actions),
        }
        Ok(actions)
    }

    /// A node connects. It is told at once when it shall run something else than it does.
    pub fn hello(&mut self, hello: Hello, now: Duration) -> Vec<Action> {
        let Hello { key, session, applied, rejected, released, candidate } = hello;
        let unrenderable = released.as_ref().and_then(|rendering| rendering.as_ref().err().cloned()).unwrap_or_default();
        let released = released.and_then(Result::ok);
        let refused = self.nodes.remove(&key).and_then(|node| node.refused);
        let node = Node { session: Some(session), applied, assigned: released, refused, rejected, unrenderable };
        self.nodes.insert(key.clone(), node);
        let mut actions = Vec::new();
        if let Some(rendering) = candidate {
            self.rejoin(&key, rendering, now);
        }
        self.advance(now, &mut actions);
        self.settle(&key, &mut actions);
        actions
    }

    /// Sends a node what it shall run, unless it runs that, was just sent something, or will not take it.
    fn settle(&self, key: &Key, actions: &mut Vec<Action>) {
        let Some(node) = self.nodes.get(key) else { return };
        let Some(target) = &node.assigned else { return };
        let sent = actions.iter().any(|action| matches!(action, Action::Assign { key: to, .. } if to == key));
        if node.applied.as_ref() != Some(target) && !node.rejected.contains_key(&target.hash) && !sent {
            actions.push(Action::Assign { key: key.clone(), target: target.clone() });
        }
    }

    /// A node's connection ends.
    pub fn gone(&mut self, key: &Key, session: u64, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.session == Some(session)) else { return actions };
        node.session = None;
        if let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.state.running()) {
            let unproved_first = rollout.is_first(key) && !rollout.proved(&key.service);
            if let Some(progress) = rollout.nodes.get_mut(key) {
                match progress.state {
                    // It may be down because of what it got: it keeps its place, and the time to answer runs on.
                    NodeState::Assigned if unproved_first => {}
                    NodeState::Applied if unproved_first => (progress.state, progress.since) = (NodeState::Assigned, now),
                    _ => (progress.state, progress.since) = (NodeState::Gone, now),
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

    /// A node answers an assignment. Answers to anything but its newest are late and mean nothing for a rollout.
    pub fn acknowledged(&mut self, key: &Key, session: u64, target: &Target, problems: Vec<Problem>, now: Duration) -> Vec<Action> {
        if self.answered(key, session, target, problems, now) { self.conclude(now) } else { Vec::new() }
    }

    /// Takes an answer and draws no conclusion yet; whether one is to be drawn. Of many answers that came together, one conclusion is as good
    /// as one after each of them, and costs as much as a single one.
    #[must_use]
    pub fn answered(&mut self, key: &Key, session: u64, target: &Target, problems: Vec<Problem>, now: Duration) -> bool {
        let Some(node) = self.nodes.get_mut(key).filter(|node| node.session == Some(session)) else { return false };
        let newest = node.assigned.as_ref() == Some(target);
        if problems.is_empty() {
            node.applied = Some(target.clone());
            node.refused = None;
        } else {
            node.refused = Some((target.clone(), problems.clone()));
        }
        let Some(rollout) = self.rollout.as_mut().filter(|rollout| rollout.state.running() && newest) else { return false };
        let Some(progress) = rollout.nodes.get_mut(key).filter(|progress| progress.candidate == *target) else { return false };
        if progress.state != NodeState::Assigned {
            return false;
        }
        progress.since = now;
        progress.state = if problems.is_empty() { NodeState::Applied } else { NodeState::Rejected };
        progress.problems = problems;
        true
    }

    /// What follows from the answers that were taken.
    pub fn conclude(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = vec![Action::Changed];
        self.advance(now, &mut actions);
        actions
    }

    /// Time passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        self.advance(now, &mut actions);
        actions
    }

    /// When something happens though no event comes.
    pub fn deadline(&self) -> Option<Duration> {
        let rollout = self.running().filter(|rollout| rollout.state != State::Paused)?;
        let due = |(key, node): (&Key, &NodeProgress)| match node.state {
            NodeState::Assigned => Some(node.since + self.times.acknowledge),
            NodeState::Applied if rollout.is_first(key) && !rollout.proved(&key.service) => Some(node.since + self.times.soak),
            _ => None,
        };
        rollout.nodes.iter().filter_map(due).min()
    }

    /// A node takes its place in the rollout, as it would when the rollout begins.
    fn enlist(&mut self, key: &Key, rendering: Rendering, now: Duration) {
        let (Some(node), Some(rollout)) = (self.nodes.get(key), self.rollout.as_mut()) else { return };
        let (candidate, mut problems) = match rendering {
            Ok(target) => (target, Vec::new()),
            Err(problems) => (Target { revision: rollout.revision.clone(), hash: String::new() }, problems),
        };
        if let Some(reason) = node.rejected.get(&candidate.hash) {
            let message = format!("the node will not take this again: {reason}");
            let remedy =
                format!("commit a revision that differs for it, or have it tried once more with `shoal config retry {}`", key.name);
            problems.push(Problem::error(Place::default(), message, remedy));
        }
        let state = if problems.is_empty() { NodeState::Waiting } else { NodeState::Rejected };
        let progress = NodeProgress { state, problems, candidate, before: node.assigned.clone(), since: now, exposed: false };
        rollout.nodes.insert(key.clone(), progress);
    }

    /// A node is back, or new, while a rollout runs.
    fn rejoin(&mut self, key: &Key, rendering: Rendering, now: Duration) {
        let known = self.running().and_then(|rollout| rollout.nodes.get(key)).cloned();
        self.enlist(key, rendering, now);
        let Some(known) = known.filter(|known| known.exposed) else { return };
        let (Some(node), Some(rollout)) = (self.nodes.get_mut(key), self.rollout.as_mut()) else { return };
        let Some(progress) = rollout.nodes.get_mut(key) else { return };
        progress.exposed = true;
        if progress.state == NodeState::Rejected {
            return;
        }
        // It had been given the candidate: it either runs it, or gets it again; a time to answer that runs already goes on.
        node.assigned = Some(progress.candidate.clone());
        let runs_it = node.applied.as_ref().is_some_and(|applied| applied.hash == progress.candidate.hash);
        progress.state = if runs_it { NodeState::Applied } else { NodeState::Assigned };
        if !runs_it && known.state == NodeState::Assigned {
            progress.since = known.since;
        }
    }
}

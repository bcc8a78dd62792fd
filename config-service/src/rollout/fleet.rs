//! The nodes and the released revision: what is known of everybody, and what operators and time
//! change of it; what nodes say is in [`nodes`].

mod nodes;

use super::gate::Verdict;
use super::plan::Position;
use super::progress::{NodeProgress, NodeState, Progress, State};
use super::{Action, Control, Error, Key, Start, Target};
use cluster_config::Problem;
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
}

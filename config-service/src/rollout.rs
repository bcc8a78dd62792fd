//! Who runs what, and how a revision gets to the nodes: a bad one never takes a node down. Pure:
//! events and `now` in, actions out.
//!
//! A rollout follows a [`plan`] of stages. In the first, one node of each service that would run
//! something different (a *canary*) gets the revision alone. A [`gate`] leads to the next: once
//! every canary has acknowledged it and has run it for the soak time (it has *soaked*), the rest
//! get it. A rejection, or no answer in time, stops it, and every node is given back what it had. A
//! canary that goes away before that is waited for, never replaced: it may have gone because of
//! what it was given.
//!
//! What is known of nodes is in [`fleet`], how far the rollout is in [`progress`], and `advance`
//! draws the conclusions. All that decides is kept on disk with each step, before the step is acted
//! on: after a restart, [`Fleet::resume`] goes on where it was.
//!
//! `now` is wall-clock time that does not go backwards while the process lives. Rendering happens
//! outside: whoever reports a hello brings what the node would get.

mod advance;
pub mod fleet;
pub mod gate;
pub mod plan;
pub mod progress;

pub use fleet::{Fleet, Node};
pub use plan::{Plan, Times};
pub use progress::{NodeProgress, NodeState, Progress, State};

use cluster_config::Problem;
use std::collections::BTreeMap;

/// A node: its service and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// As in [`cluster::Service`].
    pub service: String,
    /// Unique in the cluster.
    pub name: String,
}

/// What a node runs or shall run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Id of the revision.
    pub revision: String,
    /// SHA-256 of the rendered document, in hex.
    pub hash: String,
}

/// What a revision is for one node: its hash, or why it cannot be rendered there.
pub type Rendering = Result<Target, Vec<Problem>>;

/// A node that says hello.
#[derive(Clone, Debug)]
pub struct Hello {
    pub key: Key,
    /// Distinguishes the connections of one node; a later one replaces the earlier.
    pub session: u64,
    /// Its process: another after every start. Empty: unknown.
    pub process: String,
    /// What it runs.
    pub applied: Option<Target>,
    /// Hashes that it will not take, with the reason.
    pub rejected: BTreeMap<String, String>,
    /// What the released revision is there; `None`: nothing is released.
    pub released: Option<Rendering>,
    /// What the revision of the running rollout is there; `None`: none runs.
    pub candidate: Option<Rendering>,
}

/// A rollout that is asked for.
#[derive(Clone, Debug)]
pub struct Start {
    pub id: String,
    /// What is rolled out.
    pub revision: String,
    /// In which stages.
    pub plan: Plan,
    /// What it is for every connected node.
    pub renderings: BTreeMap<Key, Rendering>,
}

/// What an operator may do to a running rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Gives it to nobody further.
    Pause,
    Resume,
    /// Gives every node back what it had.
    Abort,
}

/// What is to be done because of an event, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the node its assignment.
    Assign { key: Key, target: Target },
    /// The rollout changed: remember it, tell those who watch.
    Changed,
    /// The revision is now what joining nodes get: remember it before anybody is told.
    Released(String),
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One at a time.
    #[error(
        "rollout {id} of revision {revision} is running: wait for it (`shoal config rollout`), or \
         abort it (`shoal config rollout abort`)"
    )]
    Running { id: String, revision: String },
    /// There is nothing to control.
    #[error("rollout {0} has ended or does not exist")]
    NotRunning(String),
}

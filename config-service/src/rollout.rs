//! Who runs what, and how a revision gets to the nodes: a bad one never takes a node down. Pure: events and `now` in, actions out.
//!
//! One node of each service that would run something different (a *first*) gets the revision alone. Once every first has acknowledged it and
//! stayed for the soak time, the rest get it. A rejection, or no answer in time, stops it, and every node is given back what it had.
//! A first that goes away before that is waited for, never replaced: it may have gone because of what it was given.
//!
//! `now` is any clock that does not go backwards. Rendering happens outside: whoever reports a hello brings what the node would get.

mod advance;
pub mod fleet;
pub mod progress;

pub use fleet::{Fleet, Node};
pub use progress::{NodeProgress, NodeState, Progress, State};

use cluster_config::Problem;
use std::{collections::BTreeMap, time::Duration};

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
    /// Who.
    pub key: Key,
    /// Distinguishes the connections of one node; a later one replaces the earlier.
    pub session: u64,
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
    /// Its id.
    pub id: String,
    /// What is rolled out.
    pub revision: String,
    /// What it is for every connected node.
    pub renderings: BTreeMap<Key, Rendering>,
}

/// What an operator may do to a running rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Gives it to nobody further.
    Pause,
    /// Goes on.
    Resume,
    /// Gives every node back what it had.
    Abort,
}

/// What is to be done because of an event, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the node its assignment.
    Assign {
        /// To whom.
        key: Key,
        /// What.
        target: Target,
    },
    /// The rollout changed: remember it, tell those who watch.
    Changed,
    /// The revision is now what joining nodes get: remember it before anybody is told.
    Released(String),
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// One at a time.
    #[error(
        "rollout {id} of revision {revision} is running: wait for it (`shoal config rollout`), or abort it (`shoal config rollout abort`)"
    )]
    Running {
        /// Its id.
        id: String,
        /// Its revision.
        revision: String,
    },
    /// There is nothing to control.
    #[error("rollout {0} has ended or does not exist")]
    NotRunning(String),
}

/// Times that rollouts go by.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A node answers within this.
    pub acknowledge: Duration,
    /// The firsts have to stay connected this long after they acknowledged.
    pub soak: Duration,
}

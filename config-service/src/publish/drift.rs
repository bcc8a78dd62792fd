//! Who runs what was assigned, and why not.

use cluster_config::problem::Cause;

use crate::rollout::{Fleet, Key, Node, Target};

/// One node, in step or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub key: Key,
    /// What it was told to run.
    pub assigned: Option<Target>,
    /// What it runs.
    pub applied: Option<Target>,
    /// Whether that is the same.
    pub in_step: bool,
    pub why: Why,
}

/// Why a node does not run what it was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It does, and is connected.
    InStep,
    /// It did when it was last connected.
    Left,
    /// The released revision cannot be rendered for it.
    Unrenderable(String),
    /// There is no released revision.
    NothingReleased,
    /// It has just come, for instance.
    NothingAssigned,
    /// It did not survive it; the reason is its own.
    Crashed(String),
    Refused {
        reason: String,
        /// What decides about the remedy.
        cause: Cause,
    },
    /// It is not connected.
    NotConnected,
    /// It has not answered yet.
    NoAnswer,
}

impl std::fmt::Display for Why {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InStep => Ok(()),
            Self::Left => formatter.write_str("not connected; it was in step when it went"),
            Self::Unrenderable(problem) => {
                write!(formatter, "the released revision cannot be rendered for it: {problem}")
            }
            Self::NothingReleased => {
                formatter.write_str("nothing is released yet: start a rollout")
            }
            Self::NothingAssigned => formatter.write_str("nothing is assigned to it"),
            Self::Crashed(reason) => write!(formatter, "it will not take this again: {reason}"),
            Self::Refused { reason, .. } => write!(formatter, "it refused: {reason}"),
            Self::NotConnected => {
                formatter.write_str("not connected: it gets its configuration when it is back")
            }
            Self::NoAnswer => formatter.write_str("assigned; it has not answered yet"),
        }
    }
}

/// Every node that was heard of.
pub fn drift(fleet: &Fleet) -> Vec<Drift> {
    fleet.nodes().iter().map(|(key, node)| of(key, node, fleet.released())).collect()
}

fn of(key: &Key, node: &Node, released: Option<&str>) -> Drift {
    let in_step = node.assigned.is_some() && node.assigned == node.applied;
    let assigned = node.assigned.as_ref();
    let refused = node
        .refused
        .as_ref()
        .filter(|(target, _)| Some(target) == assigned)
        .and_then(|(_, problems)| problems.first());
    let never = assigned.and_then(|target| node.rejected.get(&target.hash));
    let why = match (assigned, refused, never) {
        _ if in_step && node.session.is_some() => Why::InStep,
        _ if in_step => Why::Left,
        (None, ..) if !node.unrenderable.is_empty() => {
            Why::Unrenderable(node.unrenderable[0].to_string())
        }
        (None, ..) if released.is_none() => Why::NothingReleased,
        (None, ..) => Why::NothingAssigned,
        (_, _, Some(reason)) => Why::Crashed(reason.clone()),
        (_, Some(problem), _) => Why::Refused { reason: problem.reason(), cause: problem.cause },
        _ if node.session.is_none() => Why::NotConnected,
        _ => Why::NoAnswer,
    };
    Drift {
        key: key.clone(),
        assigned: node.assigned.clone(),
        applied: node.applied.clone(),
        in_step,
        why,
    }
}

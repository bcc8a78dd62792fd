//! Who runs what was assigned, and why not.

use crate::rollout::{Fleet, Key, Node, Target};

/// One node, in step or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Who.
    pub key: Key,
    /// What it was told to run.
    pub assigned: Option<Target>,
    /// What it runs.
    pub applied: Option<Target>,
    /// Whether that is the same.
    pub in_step: bool,
    /// Why not, in words for people.
    pub explanation: String,
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
    let explanation = match (assigned, refused, never) {
        _ if in_step && node.session.is_some() => String::new(),
        _ if in_step => "not connected; it was in step when it went".to_owned(),
        (None, ..) if !node.unrenderable.is_empty() => {
            format!("the released revision cannot be rendered for it: {}", node.unrenderable[0])
        }
        (None, ..) if released.is_none() => "nothing is released yet: start a rollout".to_owned(),
        (None, ..) => "nothing is assigned to it".to_owned(),
        (_, _, Some(reason)) => format!("it will not take this again: {reason}"),
        (_, Some(problem), _) => format!("it refused: {}", problem.reason()),
        _ if node.session.is_none() => {
            "not connected: it gets its configuration when it is back".to_owned()
        }
        _ => "assigned; it has not answered yet".to_owned(),
    };
    Drift {
        key: key.clone(),
        assigned: node.assigned.clone(),
        applied: node.applied.clone(),
        in_step,
        explanation,
    }
}

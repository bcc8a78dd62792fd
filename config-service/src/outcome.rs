//! What became of a revision, as its rollouts and what is released now tell.

use crate::rollout::{NodeState, State};
use crate::store::Record;

/// What became of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, and never given to a node.
    #[default]
    Committed,
    /// Its rollout is running or paused.
    RollingOut,
    /// What nodes get now.
    Released,
    /// A later one took its place.
    Superseded,
    /// What took its place is the content of an earlier one.
    RolledBack,
    /// A node refused it or did not answer.
    Rejected,
    /// An operator ended its rollout.
    Aborted,
}

/// What took the place of a revision that was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    pub number: u64,
    /// Whether it has the content of a revision that is earlier than the one whose place it took.
    pub is_earlier_content: bool,
}

/// What became of a revision, and the same in words. `rollouts` are its own, oldest first;
/// `successor` is what took its place, if it ever was released.
pub fn judge(
    is_released: bool,
    rollouts: &[Record],
    successor: Option<Successor>,
) -> (Outcome, String) {
    if is_released {
        return (Outcome::Released, String::new());
    }
    let last = rollouts.last();
    if last.is_some_and(|last| last.state.is_under_way()) {
        return (
            Outcome::RollingOut,
            last.map(|last| last.explanation.clone()).unwrap_or_default(),
        );
    }
    if let Some(Successor { number, is_earlier_content }) = successor {
        return if is_earlier_content {
            (Outcome::RolledBack, format!("rolled back by revision {number}"))
        } else {
            (Outcome::Superseded, format!("revision {number} took its place"))
        };
    }
    match last {
        Some(last) if last.state == State::Failed => (Outcome::Rejected, reason(last)),
        Some(last) if last.state == State::Aborted => (Outcome::Aborted, last.explanation.clone()),
        // Released, and something else is now, though nothing says what: a restore.
        Some(_) => (Outcome::Superseded, String::new()),
        None => (Outcome::Committed, String::new()),
    }
}

/// Who refused it, and why.
fn reason(rollout: &Record) -> String {
    let refused = rollout.nodes.iter().find(|node| node.state == NodeState::Rejected);
    let problem = refused.and_then(|node| {
        Some((
            node,
            node.problems.iter().find(|problem| problem.is_error()).or(node.problems.first())?,
        ))
    });
    match problem {
        Some((node, problem)) => format!("rejected by {}: {}", node.name, problem.reason()),
        None => rollout.explanation.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::NodeRecord;
    use cluster_config::{Place, Problem};
    use jiff::Timestamp;

    fn rollout(state: State) -> Record {
        let node = NodeRecord {
            service: "proxy-node".into(),
            name: "proxy-node-2".into(),
            state: if state == State::Failed { NodeState::Rejected } else { NodeState::Applied },
            problems: vec![Problem::error(Place::default(), "port 80 is taken", "choose another")],
            exposed: true,
            since: None,
            hash: String::new(),
            stage: None,
            soaked: false,
            acknowledged: None,
        };
        Record {
            id: "r".into(),
            revision: "b".into(),
            previous: "a".into(),
            state,
            plan: Default::default(),
            position: None,
            explanation: "why".into(),
            started_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
            nodes: vec![node],
        }
    }

    #[test]
    fn every_end_has_its_name() {
        let by = |number, is_earlier_content| Some(Successor { number, is_earlier_content });
        for (is_released, states, successor, outcome, reason) in [
            (true, vec![State::Done], None, Outcome::Released, ""),
            // Rolled out again after it was rejected once.
            (true, vec![State::Failed, State::Done], None, Outcome::Released, ""),
            (false, vec![], None, Outcome::Committed, ""),
            (false, vec![State::Paused], None, Outcome::RollingOut, "why"),
            (
                false,
                vec![State::Failed],
                None,
                Outcome::Rejected,
                "rejected by proxy-node-2: port 80 is taken; choose another",
            ),
            (false, vec![State::Aborted], None, Outcome::Aborted, "why"),
            (
                false,
                vec![State::Done],
                by(7, false),
                Outcome::Superseded,
                "revision 7 took its place",
            ),
            (
                false,
                vec![State::Done],
                by(7, true),
                Outcome::RolledBack,
                "rolled back by revision 7",
            ),
            // The first revision is released without a rollout.
            (false, vec![], by(2, false), Outcome::Superseded, "revision 2 took its place"),
            (false, vec![State::Done], None, Outcome::Superseded, ""),
        ] {
            let rollouts: Vec<_> = states.iter().copied().map(rollout).collect();
            assert_eq!(
                judge(is_released, &rollouts, successor),
                (outcome, reason.to_owned()),
                "{is_released} {states:?} {successor:?}"
            );
        }
    }
}

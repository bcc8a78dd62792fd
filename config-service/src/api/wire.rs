//! Between the domain's types and the messages.

use crate::diff::ListDifference;
use crate::outcome::Outcome;
use crate::publish::{Assignment, drift::Why};
use crate::revision::Revision;
use crate::rollout::{NodeState, State, Target};
use crate::store::Record;
use cluster_config::{FileReference, Place, Problem, Severity, problem::Cause};
use jiff::Timestamp;
use prost_types::Timestamp as PbTimestamp;
use proto::config as pb;

/// As a message.
pub fn problem(problem: &Problem) -> pb::Problem {
    let severity = if problem.severity == Severity::Error {
        pb::Severity::Error
    } else {
        pb::Severity::Warning
    };
    pb::Problem {
        severity: severity.into(),
        file: problem.place.file.clone(),
        line: problem.place.line,
        column: problem.place.column,
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
        cause: cause(problem.cause).into(),
    }
}

/// As a message.
pub const fn cause(cause: Cause) -> pb::Cause {
    match cause {
        Cause::Told => pb::Cause::Unspecified,
        Cause::Disk => pb::Cause::Disk,
        Cause::Crashed => pb::Cause::Crashed,
    }
}

/// As a message.
pub const fn drift_cause(why: &Why) -> pb::Cause {
    match why {
        Why::InStep | Why::Unrenderable(_) | Why::NothingReleased => pb::Cause::Unspecified,
        Why::Left | Why::NotConnected => pb::Cause::NotConnected,
        Why::NothingAssigned | Why::NoAnswer => pb::Cause::NoAnswer,
        Why::Crashed(_) => pb::Cause::Crashed,
        Why::Refused { cause: of, .. } => cause(*of),
    }
}

/// From a message; one without severity is an error.
pub fn read_problem(problem: pb::Problem) -> Problem {
    let severity = if problem.severity() == pb::Severity::Warning {
        Severity::Warning
    } else {
        Severity::Error
    };
    let cause = match problem.cause() {
        pb::Cause::Disk => Cause::Disk,
        pb::Cause::Crashed => Cause::Crashed,
        // These two no node says of itself.
        pb::Cause::Unspecified | pb::Cause::NotConnected | pb::Cause::NoAnswer => Cause::Told,
    };
    let place = Place { file: problem.file, line: problem.line, column: problem.column };
    Problem { place, severity, message: problem.message, remedy: problem.remedy, cause }
}

/// As a message.
pub fn timestamp(at: Timestamp) -> PbTimestamp {
    PbTimestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

/// As a message.
pub fn revision(revision: &Revision, released: Option<&str>) -> pb::Revision {
    pb::Revision {
        id: revision.id.clone(),
        number: revision.number,
        parent: revision.parent.clone(),
        author: revision.author.clone(),
        committer: revision.committer.clone(),
        committed_at: Some(timestamp(revision.committed_at)),
        message: revision.message.clone(),
        released: released == Some(&revision.id),
        outcome: pb::RevisionOutcome::Unspecified.into(),
        outcome_reason: String::new(),
    }
}

/// As a message.
pub const fn outcome(outcome: Outcome) -> pb::RevisionOutcome {
    match outcome {
        Outcome::Committed => pb::RevisionOutcome::Committed,
        Outcome::RollingOut => pb::RevisionOutcome::RollingOut,
        Outcome::Released => pb::RevisionOutcome::Released,
        Outcome::Superseded => pb::RevisionOutcome::Superseded,
        Outcome::RolledBack => pb::RevisionOutcome::RolledBack,
        Outcome::Rejected => pb::RevisionOutcome::Rejected,
        Outcome::Aborted => pb::RevisionOutcome::Aborted,
    }
}

/// As a message.
pub fn list(list: ListDifference) -> pb::ListDifference {
    pb::ListDifference {
        added: list.added as u64,
        removed: list.removed as u64,
        entries: list.entries as u64,
        added_examples: list.added_examples,
        removed_examples: list.removed_examples,
    }
}

/// As a message.
pub fn file(file: &FileReference) -> pb::FileReference {
    pb::FileReference { path: file.path.clone(), sha256: file.sha256.clone(), size: file.size }
}

/// As a message.
pub fn assignment(assignment: &Assignment) -> pb::Assignment {
    pb::Assignment {
        revision: assignment.revision.clone(),
        hash: assignment.rendered.sha256.clone(),
        document: assignment.rendered.document.clone(),
        files: assignment.rendered.files.iter().map(file).collect(),
    }
}

/// From a message; nothing when it is empty.
pub fn read_applied(applied: pb::Applied) -> Option<Target> {
    (!applied.hash.is_empty()).then_some(Target { revision: applied.revision, hash: applied.hash })
}

/// As a message. `revision`: what it rolls out.
pub fn rollout(record: &Record, revision: Option<pb::Revision>) -> pb::Rollout {
    let node = |node: &crate::store::record::NodeRecord| pb::NodeRollout {
        service: node.service.clone(),
        name: node.name.clone(),
        state: node_state(node.state).into(),
        problems: node.problems.iter().map(problem).collect(),
    };
    pb::Rollout {
        id: record.id.clone(),
        revision,
        state: state(record).into(),
        nodes: record.nodes.iter().map(node).collect(),
        explanation: record.explanation.clone(),
        started_at: Some(timestamp(record.started_at)),
        changed_at: Some(timestamp(record.changed_at)),
        previous_revision: record.previous.clone(),
    }
}

/// On the wire the last stage is SPREADING, and whatever comes before it TRYING.
fn state(record: &Record) -> pb::RolloutState {
    match record.state {
        State::Running
            if record.position.is_some_and(|position| record.plan.is_last(position.stage)) =>
        {
            pb::RolloutState::Spreading
        }
        State::Running => pb::RolloutState::Trying,
        State::Paused => pb::RolloutState::Paused,
        State::Done => pb::RolloutState::Done,
        State::Failed => pb::RolloutState::Failed,
        State::Aborted => pb::RolloutState::Aborted,
    }
}

const fn node_state(state: NodeState) -> pb::NodeRolloutState {
    match state {
        NodeState::Waiting => pb::NodeRolloutState::Waiting,
        NodeState::Assigned => pb::NodeRolloutState::Assigned,
        NodeState::Applied => pb::NodeRolloutState::Applied,
        NodeState::Rejected => pb::NodeRolloutState::Rejected,
        NodeState::Reverted => pb::NodeRolloutState::Reverted,
        NodeState::Gone => pb::NodeRolloutState::Gone,
    }
}

//! What a rollout does, in order, as data: which stages there are, who belongs to each, and what
//! opens the gate to the next. Pure.
//!
//! A plan is kept with its rollout, so that one that runs goes on as it was begun, whatever the
//! options of a restarted service say.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The stages of a rollout, in order. One without stages was begun by a version that had no plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The first is where it begins.
    pub stages: Vec<Stage>,
}

/// A part of the nodes that gets the revision together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    /// Who belongs to it.
    pub who: Who,
    /// What opens the way to the next.
    pub gate: Gate,
}

/// Who belongs to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// One node of each service for which anything changes.
    OneOfEachService,
    /// Everybody who does not have it yet.
    Everybody,
}

/// What every node of a stage has to do before the next stage begins; after the last one, the
/// revision is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// It answers within this, or ends the rollout.
    pub acknowledge: Duration,
    /// Its process runs it for this long.
    pub soak: Duration,
    /// What to make of one that goes away before.
    pub absent: Absent,
}

/// What to make of a node that goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// It may have gone because of what it got: it has to be back within the time to answer.
    Awaited,
    /// It gets the revision when it is back.
    PassedOver,
}

/// Times that plans are made of.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A node answers within this.
    pub acknowledge: Duration,
    /// A canary runs it this long before the others get it.
    pub soak: Duration,
}

/// Where a rollout is in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Index of the stage.
    pub stage: usize,
    pub since: Timestamp,
}

impl Plan {
    /// One node of each service, and once those have soaked, everybody.
    #[must_use]
    pub fn canary(times: Times) -> Self {
        let Times { acknowledge, soak } = times;
        let canary = Gate { acknowledge, soak, absent: Absent::Awaited };
        let everybody = Gate { acknowledge, soak: Duration::ZERO, absent: Absent::PassedOver };
        Self {
            stages: vec![
                Stage { name: "canary".to_owned(), who: Who::OneOfEachService, gate: canary },
                Stage { name: "everybody".to_owned(), who: Who::Everybody, gate: everybody },
            ],
        }
    }

    /// Whether a stage is the last.
    #[must_use]
    pub fn is_last(&self, stage: usize) -> bool {
        stage + 1 >= self.stages.len()
    }
}

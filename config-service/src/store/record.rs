//! A rollout as it is kept: all that is needed to go on with it after a restart.

use super::{Result, unreadable};
use crate::rollout::plan::{Plan, Position};
use crate::rollout::progress::Acknowledged;
use crate::rollout::{Key, NodeProgress, NodeState, Progress, State, Target};
use cluster_config::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Row, Sqlite, Transaction, sqlite::SqliteRow};

/// A rollout as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// What is rolled out.
    pub revision: String,
    /// What nodes go back to; empty: nothing.
    pub previous: String,
    pub state: State,
    /// What it does; without stages: an earlier version wrote it.
    #[serde(default)]
    pub plan: Plan,
    /// Where it is in that.
    #[serde(default)]
    pub position: Option<Position>,
    /// In words for people.
    pub explanation: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// When anything about it changed last.
    pub changed_at: Timestamp,
    /// Every node that was connected while it ran.
    pub nodes: Vec<NodeRecord>,
}

/// One node in a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub service: String,
    pub name: String,
    pub state: NodeState,
    /// Why it refused.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// Whether it was given something different from what it had.
    pub exposed: bool,
    /// Since when it is in this state.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Hash of what it is to run.
    #[serde(default)]
    pub hash: String,
    /// The stage in which it was given it.
    #[serde(default)]
    pub stage: Option<usize>,
    /// It has passed the gate of that stage.
    #[serde(default)]
    pub soaked: bool,
    /// Which of its processes acknowledged, and when.
    #[serde(default)]
    pub acknowledged: Option<Acknowledged>,
}

impl Record {
    /// What is kept of a rollout.
    pub fn new(progress: &Progress, started_at: Timestamp, changed_at: Timestamp) -> Self {
        let node = |(key, node): (&Key, &NodeProgress)| NodeRecord {
            service: key.service.clone(),
            name: key.name.clone(),
            state: node.state,
            problems: node.problems.clone(),
            exposed: node.exposed,
            since: Some(node.since),
            hash: node.candidate.hash.clone(),
            stage: node.stage,
            soaked: node.soaked,
            acknowledged: node.acknowledged.clone(),
        };
        Self {
            id: progress.id.clone(),
            revision: progress.revision.clone(),
            previous: progress.previous.clone().unwrap_or_default(),
            state: progress.state,
            plan: progress.plan.clone(),
            position: Some(progress.position),
            explanation: progress.explanation.clone(),
            started_at,
            changed_at,
            nodes: progress.nodes.iter().map(node).collect(),
        }
    }

    /// The rollout as far as it is known after a restart. What a node had before, it gets from what
    /// is released.
    pub fn progress(&self) -> Progress {
        let node = |node: &NodeRecord| {
            let progress = NodeProgress {
                state: node.state,
                since: node.since.unwrap_or(self.changed_at),
                problems: node.problems.clone(),
                candidate: Target { revision: self.revision.clone(), hash: node.hash.clone() },
                before: None,
                exposed: node.exposed,
                stage: node.stage,
                soaked: node.soaked,
                acknowledged: node.acknowledged.clone(),
            };
            (Key { service: node.service.clone(), name: node.name.clone() }, progress)
        };
        Progress {
            id: self.id.clone(),
            revision: self.revision.clone(),
            previous: Some(self.previous.clone()).filter(|previous| !previous.is_empty()),
            state: self.state,
            plan: self.plan.clone(),
            position: self.position.unwrap_or(Position { stage: 0, since: self.started_at }),
            explanation: self.explanation.clone(),
            nodes: self.nodes.iter().map(node).collect(),
        }
    }

    pub(super) async fn write(&self, transaction: &mut Transaction<'_, Sqlite>) -> Result<()> {
        let columns = "INSERT INTO rollouts (id, revision, previous, state, explanation, \
            started_at, changed_at, nodes, plan, position)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
            ON CONFLICT (id) DO UPDATE SET state = ?4, explanation = ?5, changed_at = ?7, nodes = \
            ?8, position = ?10";
        sqlx::query(columns)
            .bind(&self.id)
            .bind(&self.revision)
            .bind(&self.previous)
            .bind(json(&self.state)?)
            .bind(&self.explanation)
            .bind(self.started_at.as_millisecond())
            .bind(self.changed_at.as_millisecond())
            .bind(json(&self.nodes)?)
            .bind(json(&self.plan)?)
            .bind(json(&self.position)?)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }

    pub(super) fn read(row: &SqliteRow) -> Result<Self> {
        let time = |column: &str| -> Result<Timestamp> {
            let at: i64 = row.try_get(column)?;
            Timestamp::from_millisecond(at).map_err(|_| unreadable(format!("time {at}")))
        };
        Ok(Self {
            id: row.try_get("id")?,
            revision: row.try_get("revision")?,
            previous: row.try_get("previous")?,
            state: from_json(row.try_get("state")?)?,
            explanation: row.try_get("explanation")?,
            started_at: time("started_at")?,
            changed_at: time("changed_at")?,
            nodes: from_json(row.try_get("nodes")?)?,
            plan: from_json(row.try_get("plan")?)?,
            position: from_json(row.try_get("position")?)?,
        })
    }
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unreadable(error.to_string()))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| unreadable(format!("a rollout: {error}")))
}

//! What is known of what became of revisions.

use super::{Record, Result, Store};
use crate::outcome::{Outcome, Successor, judge};
use crate::revision::Revision;
use crate::rollout::State;
use sqlx::Row;
use std::collections::BTreeMap;

/// Rollouts of revisions from a number on, with the nodes only where they tell who refused.
const ROLLOUTS: &str = "SELECT rollouts.id, rollouts.revision, rollouts.previous, rollouts.state, \
    rollouts.explanation,
        rollouts.started_at, rollouts.changed_at, rollouts.plan, rollouts.position,
        CASE WHEN rollouts.state = '\"failed\"' THEN rollouts.nodes ELSE '[]' END AS nodes,
        revisions.number AS revision_number
    FROM rollouts JOIN revisions ON revisions.id = rollouts.revision
    WHERE revisions.number >= ?1 OR rollouts.previous IN (SELECT id FROM revisions WHERE number >= \
    ?1)
    ORDER BY rollouts.number";

/// Whether a revision before ?1 has exactly the files of revision ?2.
const EARLIER_CONTENT: &str =
    "SELECT EXISTS (SELECT 1 FROM revisions AS earlier WHERE earlier.number < ?1
    AND NOT EXISTS (SELECT path, sha256 FROM revision_files WHERE revision = ?2
        EXCEPT SELECT path, sha256 FROM revision_files WHERE revision = earlier.number)
    AND NOT EXISTS (SELECT path, sha256 FROM revision_files WHERE revision = earlier.number
        EXCEPT SELECT path, sha256 FROM revision_files WHERE revision = ?2))";

impl Store {
    /// What became of each of some revisions, by id, with the reason in words.
    pub async fn outcomes(
        &self,
        revisions: &[Revision],
        released: Option<&str>,
    ) -> Result<BTreeMap<String, (Outcome, String)>> {
        let Some(lowest) = revisions.iter().map(|revision| revision.number).min() else {
            return Ok(BTreeMap::new());
        };
        let mut rollouts: Vec<(u64, Record)> = Vec::new();
        for row in sqlx::query(ROLLOUTS).bind(lowest.cast_signed()).fetch_all(&self.pool).await? {
            let number: i64 = row.try_get("revision_number")?;
            rollouts.push((number.cast_unsigned(), Record::read(&row)?));
        }
        let mut outcomes = BTreeMap::new();
        for revision in revisions {
            let own: Vec<Record> = rollouts
                .iter()
                .filter(|(_, rollout)| rollout.revision == revision.id)
                .map(|(_, rollout)| rollout.clone())
                .collect();
            // The last time: a revision may be released again.
            let took_its_place = |(_, rollout): &&(u64, Record)| {
                rollout.state == State::Done && rollout.previous == revision.id
            };
            let successor =
                match rollouts.iter().filter(took_its_place).map(|(number, _)| *number).next_back()
                {
                    Some(number) => Some(Successor {
                        number,
                        is_earlier_content: self
                            .is_earlier_content(revision.number, number)
                            .await?,
                    }),
                    None => None,
                };
            outcomes.insert(
                revision.id.clone(),
                judge(released == Some(&revision.id), &own, successor),
            );
        }
        Ok(outcomes)
    }

    async fn is_earlier_content(&self, before: u64, number: u64) -> Result<bool> {
        let row = sqlx::query(EARLIER_CONTENT)
            .bind(before.cast_signed())
            .bind(number.cast_signed())
            .fetch_one(&self.pool)
            .await?;
        Ok(row.try_get(0)?)
    }
}

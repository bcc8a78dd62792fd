//! The store in one SQLite file, which this process alone has open.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use database::{Error, Result, sqlite::Schema};
use jiff::Timestamp;
use sqlx::{Connection, Row, SqliteConnection};
use uuid::Uuid;

use super::{Identity, Store};
use crate::{
    command::{Kind, Record, Slot},
    membership::Writes,
};

/// "SHOR", as in `migrations/0001_commands.sql`.
static SCHEMA: Schema = Schema {
    application_id: 1_397_247_826,
    migrations: &[("commands", include_str!("../../migrations/0001_commands.sql"))],
};

#[derive(Debug)]
pub struct Sqlite {
    connection: SqliteConnection,
    path: PathBuf,
}

impl Sqlite {
    /// Opens or makes the database. Nobody else can open it meanwhile.
    ///
    /// # Errors
    /// When it is not ours, in use, damaged or unwritable.
    pub async fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: SCHEMA.own(path).await?, path: path.to_owned() })
    }

    async fn try_write(&mut self, writes: &Writes) -> Result<()> {
        let mut transaction = self.connection.begin().await?;
        put(&mut transaction, writes).await?;
        Ok(transaction.commit().await?)
    }

    async fn try_restore(&mut self, writes: &Writes, identity: &Identity) -> Result<()> {
        let mut transaction = self.connection.begin().await?;
        put(&mut transaction, writes).await?;
        let epoch = i64::try_from(identity.epoch)
            .map_err(|_| Error::Unwritable(format!("epoch {}", identity.epoch)))?;
        sqlx::query("UPDATE identity SET cluster_id = ?, epoch = ?")
            .bind(identity.cluster_id.to_string())
            .bind(epoch)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn identity(&mut self, candidate: Uuid) -> Result<Identity> {
        sqlx::query("INSERT OR IGNORE INTO identity (one, cluster_id, epoch) VALUES (1, ?, 1)")
            .bind(candidate.to_string())
            .execute(&mut self.connection)
            .await?;
        let row = sqlx::query("SELECT cluster_id, epoch FROM identity")
            .fetch_one(&mut self.connection)
            .await?;
        let (cluster_id, epoch): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let cluster_id = Uuid::try_parse(&cluster_id)
            .map_err(|_| Error::Unreadable(format!("cluster id {cluster_id:?}")))?;
        Ok(Identity {
            cluster_id,
            epoch: u64::try_from(epoch).map_err(|_| Error::Unreadable(format!("epoch {epoch}")))?,
        })
    }

    async fn load(&mut self) -> Result<Vec<(Slot, Record)>> {
        let rows = sqlx::query("SELECT kind, name, at, command FROM commands ORDER BY kind, name")
            .fetch_all(&mut self.connection)
            .await?;
        rows.iter().map(read).collect()
    }

    async fn write(&mut self, writes: &Writes) -> Result<()> {
        self.try_write(writes).await.map_err(|error| error.at(&self.path))
    }

    async fn restore(&mut self, writes: &Writes, identity: &Identity) -> Result<()> {
        self.try_restore(writes, identity).await.map_err(|error| error.at(&self.path))
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<(Slot, Record)> {
    let (kind, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
    let (at, command): (String, String) = (row.try_get(2)?, row.try_get(3)?);
    let kind = Kind::from_number(kind)
        .ok_or_else(|| Error::Unreadable(format!("kind {kind} of {name:?}")))?;
    let at: Timestamp =
        at.parse().map_err(|_| Error::Unreadable(format!("time {at:?} of {name:?}")))?;
    let command = serde_json::from_str(&command)
        .map_err(|error| Error::Unreadable(format!("{kind:?} of {name:?}: {error}")))?;
    Ok((Slot { kind, name }, Record { at, command }))
}

async fn put(transaction: &mut sqlx::SqliteTransaction<'_>, writes: &Writes) -> Result<()> {
    for (slot, record) in writes {
        let query = match record {
            Some(record) => sqlx::query(
                "INSERT OR REPLACE INTO commands (kind, name, at, command) VALUES (?, ?, ?, ?)",
            )
            .bind(slot.kind as i64)
            .bind(&slot.name)
            .bind(record.at.to_string())
            .bind(
                serde_json::to_string(&record.command)
                    .map_err(|error| Error::Unwritable(error.to_string()))?,
            ),
            None => sqlx::query("DELETE FROM commands WHERE kind = ? AND name = ?")
                .bind(slot.kind as i64)
                .bind(&slot.name),
        };
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    fn record(given: u64) -> Option<Record> {
        Some(Record { at: Timestamp::UNIX_EPOCH, command: Command::Generations { given } })
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("registry.db");
        let mut store = Sqlite::open(&path).await.expect("opens");
        let many = |count: u64| {
            Writes::from_iter(
                (0..count)
                    .map(|number| (Kind::Desired.of(&format!("node-{number}")), record(number))),
            )
        };
        store.write(&many(1)).await.expect("writes");
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut store.connection)
            .await
            .expect("a limit");
        for _ in 0..3 {
            let full = store.write(&many(5_000)).await.expect_err("full");
            assert!(matches!(&full, Error::Full(at) if *at == path), "{full:?}");
        }
        sqlx::query("PRAGMA max_page_count = 1000000")
            .execute(&mut store.connection)
            .await
            .expect("no limit");
        store.write(&many(5_000)).await.expect("writes again");
        drop(store);
        let mut store = Sqlite::open(&path).await.expect("opens again");
        assert_eq!(store.load().await.expect("loads").len(), 5_000);
    }

    #[tokio::test]
    async fn what_is_not_understood_is_not_skipped() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Sqlite::open(&dir.path().join("registry.db")).await.expect("opens");
        sqlx::query(
            "INSERT INTO commands VALUES (1, 'a', '2026-01-01T00:00:00Z', '{\"dance\":1}')",
        )
        .execute(&mut store.connection)
        .await
        .expect("inserts");
        assert!(matches!(store.load().await, Err(Error::Unreadable { .. })));
    }
}

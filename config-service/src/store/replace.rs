//! The whole of the store taken out, and replaced by another.

use super::{Error, Record, Result, Store, files_of, read_revision, unreadable};
use crate::history::{History, Kept, file};
use chassis::transfer::Parcel;
use sqlx::{Row, Sqlite, Transaction};

impl Store {
    /// Everything but the content of files, as it is at one moment. The files of it are there as
    /// long as nothing is restored.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not understand.
    pub async fn history(&self) -> Result<History> {
        read(&mut self.pool.begin().await?).await
    }

    /// Replaces everything: all of it or nothing. `content` has the files of `history`; `expected`
    /// is the fingerprint of what somebody looked at before (none: whatever is there).
    ///
    /// # Errors
    /// When something else is there, or the database fails; nothing has changed then.
    pub async fn replace(
        &self,
        history: &History,
        content: &Parcel,
        expected: Option<&str>,
    ) -> Result<()> {
        self.written(self.try_replace(history, content, expected).await)
    }

    async fn try_replace(
        &self,
        history: &History,
        content: &Parcel,
        expected: Option<&str>,
    ) -> Result<()> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(expected) = expected
            && fingerprint(&read(&mut transaction).await?)? != expected
        {
            return Err(Error::Changed);
        }
        for table in [
            "DELETE FROM rollouts",
            "DELETE FROM released",
            "DELETE FROM revision_files",
            "DELETE FROM revisions",
            "DELETE FROM blobs",
        ] {
            sqlx::query(table).execute(&mut *transaction).await?;
        }
        for sha256 in history.files().into_keys() {
            let bytes = content.read(&file(sha256)).map_err(sqlx::Error::Io)?;
            let bytes =
                bytes.ok_or_else(|| unreadable(format!("a history without the file {sha256}")))?;
            let query = sqlx::query("INSERT INTO blobs (sha256, content) VALUES (?, ?)")
                .bind(sha256)
                .bind(bytes);
            query.execute(&mut *transaction).await?;
        }
        for revision in &history.revisions {
            insert(&mut transaction, revision).await?;
        }
        for rollout in &history.rollouts {
            rollout.write(&mut transaction).await?;
        }
        if let Some(released) = &history.released {
            sqlx::query("INSERT INTO released (one, revision) VALUES (1, ?)")
                .bind(released)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}

fn fingerprint(history: &History) -> Result<String> {
    history.fingerprint().map_err(|error| unreadable(error.to_string()))
}

async fn read(transaction: &mut Transaction<'_, Sqlite>) -> Result<History> {
    let rows = sqlx::query("SELECT * FROM revisions ORDER BY number")
        .fetch_all(&mut **transaction)
        .await?;
    let mut history = History::default();
    for row in &rows {
        let revision = read_revision(row)?;
        let files = files_of(transaction, revision.number).await?;
        history.revisions.push(Kept::new(revision, files));
    }
    let rollouts =
        sqlx::query("SELECT * FROM rollouts ORDER BY number").fetch_all(&mut **transaction).await?;
    history.rollouts = rollouts.iter().map(Record::read).collect::<Result<_>>()?;
    let released =
        sqlx::query("SELECT revision FROM released").fetch_optional(&mut **transaction).await?;
    history.released = released.map(|row| row.try_get(0)).transpose()?;
    Ok(history)
}

/// Adds a revision whose files are stored.
pub(super) async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    revision: &Kept,
) -> Result<()> {
    let number = revision.number.cast_signed();
    sqlx::query(
        "INSERT INTO revisions (number, id, parent, author, committer, committed_at, \
        message) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(number)
    .bind(&revision.id)
    .bind(&revision.parent)
    .bind(&revision.author)
    .bind(&revision.committer)
    .bind(revision.committed_at.as_millisecond())
    .bind(&revision.message)
    .execute(&mut **transaction)
    .await?;
    for file in &revision.files {
        sqlx::query(
            "INSERT INTO revision_files (revision, path, sha256, size) VALUES (?, ?, ?, ?)",
        )
        .bind(number)
        .bind(&file.path)
        .bind(&file.sha256)
        .bind(file.size.cast_signed())
        .execute(&mut **transaction)
        .await?;
    }
    Ok(())
}

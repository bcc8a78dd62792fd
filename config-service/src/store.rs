//! Revisions, the released pointer and rollouts in one SQLite file.

mod commit;
mod outcomes;
pub mod record;
mod replace;

use crate::revision::{Name, Revision};
use cluster_config::{FileReference, bundle::MAIN};
pub use commit::{Committed, Draft, Unchanged};
use database::sqlite::Schema;
use jiff::Timestamp;
pub use record::Record;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, Sqlite, Transaction};
use std::{path::Path, sync::Arc};

/// "SHCF", as in `migrations/0001_identity.sql`.
static SCHEMA: Schema = Schema {
    application_id: 1_397_244_742,
    migrations: &[
        ("identity", include_str!("../migrations/0001_identity.sql")),
        ("revisions", include_str!("../migrations/0002_revisions.sql")),
        ("plans", include_str!("../migrations/0003_plans.sql")),
    ],
};

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database fails, or holds what makes no sense.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The parent is not the newest revision.
    #[error("{}", if newest.is_empty() { "there is no revision yet, so the parent must be \
        empty".to_owned() } else { format!("the newest revision is {newest}") })]
    Conflict {
        /// Its id; empty: there is none.
        newest: String,
    },
    /// No such revision.
    #[error("there is no revision {0}")]
    NoRevision(String),
    /// Several revisions begin like this.
    #[error("several revisions begin with {0}")]
    Ambiguous(String),
    /// What is to be replaced is not what somebody looked at.
    #[error("what is there is not what it was when it was looked at")]
    Changed,
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What the database holds makes no sense.
pub(crate) fn unreadable(what: String) -> Error {
    database::Error::Unreadable(what).into()
}

type Result<T> = std::result::Result<T, Error>;

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    path: Arc<Path>,
}

impl Store {
    /// Opens or makes the database.
    ///
    /// # Errors
    /// When it is not ours, damaged or unwritable; a database of somebody else is not changed.
    pub async fn open(path: &Path) -> Result<Self> {
        Ok(Self { pool: SCHEMA.share(path).await?, path: path.into() })
    }

    /// What came of something that was to be written: of a disk that is full, its place is told.
    fn written<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::Database(error) => Error::Database(error.at(&self.path)),
            other => other,
        })
    }

    /// The revision that somebody means.
    pub async fn find(&self, name: &Name) -> Result<Revision> {
        let mut connection = self.pool.acquire().await?;
        let rows = match name {
            Name::Newest => {
                sqlx::query("SELECT * FROM revisions ORDER BY number DESC LIMIT 1")
                    .fetch_all(&mut *connection)
                    .await?
            }
            Name::Released => {
                sqlx::query(
                    "SELECT revisions.* FROM revisions JOIN released ON released.revision \
                    = revisions.id",
                )
                .fetch_all(&mut *connection)
                .await?
            }
            Name::Id(id) => {
                let exact = sqlx::query(
                    "SELECT * FROM revisions WHERE id = ?1 OR CAST(number AS \
                    TEXT) = ?1 ORDER BY id = ?1 DESC LIMIT 1",
                );
                let exact = exact.bind(id).fetch_all(&mut *connection).await?;
                if exact.is_empty() && id.len() >= 4 {
                    // Hex digits only: nothing in it has a meaning for GLOB.
                    sqlx::query("SELECT * FROM revisions WHERE id GLOB ? || '*' LIMIT 2")
                        .bind(id)
                        .fetch_all(&mut *connection)
                        .await?
                } else {
                    exact
                }
            }
        };
        let called = match name {
            Name::Newest => "newest",
            Name::Released => "released",
            Name::Id(id) => id,
        };
        match rows.as_slice() {
            [] => Err(Error::NoRevision(called.to_owned())),
            [row] => read_revision(row),
            _ => Err(Error::Ambiguous(called.to_owned())),
        }
    }

    /// Revisions before a number (`None`: all), newest first.
    pub async fn list(&self, before: Option<u64>, most: u32) -> Result<Vec<Revision>> {
        let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let rows =
            sqlx::query("SELECT * FROM revisions WHERE number < ? ORDER BY number DESC LIMIT ?")
                .bind(before)
                .bind(most);
        rows.fetch_all(&self.pool).await?.iter().map(read_revision).collect()
    }

    /// The files of a revision, sorted by path.
    pub async fn files(&self, revision: &Revision) -> Result<Vec<FileReference>> {
        let mut transaction = self.pool.begin().await?;
        files_of(&mut transaction, revision.number).await
    }

    /// The content of a file.
    pub async fn blob(&self, sha256: &str) -> Result<Option<Vec<u8>>> {
        let row = sqlx::query("SELECT content FROM blobs WHERE sha256 = ?")
            .bind(sha256)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The places in bundles where a content is.
    pub async fn paths(&self, sha256: &str) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT DISTINCT path FROM revision_files WHERE sha256 = ?")
            .bind(sha256)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>()?)
    }

    /// The content of a revision's `cluster.yaml`, and references to all of its files.
    pub async fn main(&self, revision: &Revision) -> Result<(Vec<u8>, Vec<FileReference>)> {
        let files = self.files(revision).await?;
        let lost = || unreadable(format!("revision {} without {MAIN}", revision.id));
        let main = files.iter().find(|file| file.path == MAIN).ok_or_else(lost)?;
        let content = self.blob(&main.sha256).await?.ok_or_else(lost)?;
        Ok((content, files))
    }

    /// What joining nodes get.
    pub async fn released(&self) -> Result<Option<String>> {
        let row = sqlx::query("SELECT revision FROM released").fetch_optional(&self.pool).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Keeps how far a rollout is and, with it, what is released from now on.
    pub async fn save(&self, rollout: Option<&Record>, released: Option<&str>) -> Result<()> {
        self.written(self.try_save(rollout, released).await)
    }

    async fn try_save(&self, rollout: Option<&Record>, released: Option<&str>) -> Result<()> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(rollout) = rollout {
            rollout.write(&mut transaction).await?;
        }
        if let Some(revision) = released {
            sqlx::query("INSERT OR REPLACE INTO released (one, revision) VALUES (1, ?)")
                .bind(revision)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// The rollout of that id; `None`: the newest.
    pub async fn rollout(&self, id: Option<&str>) -> Result<Option<Record>> {
        let row = match id {
            Some(id) => {
                sqlx::query("SELECT * FROM rollouts WHERE id = ?")
                    .bind(id)
                    .fetch_optional(&self.pool)
                    .await?
            }
            None => {
                sqlx::query("SELECT * FROM rollouts ORDER BY number DESC LIMIT 1")
                    .fetch_optional(&self.pool)
                    .await?
            }
        };
        row.map(|row| Record::read(&row)).transpose()
    }
}

async fn files_of(
    transaction: &mut Transaction<'_, Sqlite>,
    number: u64,
) -> Result<Vec<FileReference>> {
    let rows = sqlx::query(
        "SELECT path, sha256, size FROM revision_files WHERE revision = ? ORDER BY path",
    )
    .bind(number.cast_signed());
    let read = |row: SqliteRow| {
        let size: i64 = row.try_get(2)?;
        Ok(FileReference {
            path: row.try_get(0)?,
            sha256: row.try_get(1)?,
            size: size.cast_unsigned(),
        })
    };
    rows.fetch_all(&mut **transaction).await?.into_iter().map(read).collect()
}

fn read_revision(row: &SqliteRow) -> Result<Revision> {
    let (number, at): (i64, i64) = (row.try_get("number")?, row.try_get("committed_at")?);
    Ok(Revision {
        id: row.try_get("id")?,
        number: number.cast_unsigned(),
        parent: row.try_get("parent")?,
        author: row.try_get("author")?,
        committer: row.try_get("committer")?,
        committed_at: Timestamp::from_millisecond(at)
            .map_err(|_| unreadable(format!("time {at}")))?,
        message: row.try_get("message")?,
    })
}

#[cfg(test)]
mod tests;

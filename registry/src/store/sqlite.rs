//! The store in one SQLite file: WAL, and every transaction is on the disk before it is acknowledged.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous},
};
use uuid::Uuid;

use super::Identity;
use crate::{
    command::{Entry, Kind, Slot},
    membership::Writes,
};

/// As in `migrations/0001_commands.sql`.
const APPLICATION_ID: i64 = 1_397_247_826;
/// How long another process's lock is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// What SQLite says when there is no room: for the file itself (`SQLITE_FULL`), and for the index of its log (`SQLITE_IOERR_SHMSIZE`).
const NO_ROOM: [&str; 2] = ["13", "4874"];

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite says so.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// Nothing more can be written.
    #[error("the disk that holds {} is full: free some space there, then try again", .0.display())]
    Full(PathBuf),
    /// A schema that cannot be brought up to date.
    #[error("its schema cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Not ours.
    #[error("the file is a database of another program")]
    Foreign,
    /// Written by a newer version, or damaged.
    #[error("it holds something that this version does not understand ({what}); was it written by a newer version?")]
    Unreadable {
        /// What.
        what: String,
    },
    /// Cannot be written.
    #[error("a command cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// The store.
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
    pub async fn open(path: &Path) -> Result<Self, Error> {
        refuse_foreign(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .locking_mode(SqliteLockingMode::Exclusive)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        sqlx::migrate!("./migrations").run(&mut connection).await?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Which cluster this is; a new database becomes `candidate`'s.
    ///
    /// # Errors
    /// When the database fails or does not make sense.
    pub async fn identity(&mut self, candidate: Uuid) -> Result<Identity, Error> {
        sqlx::query("INSERT OR IGNORE INTO identity (one, cluster_id, epoch) VALUES (1, ?, 1)")
            .bind(candidate.to_string())
            .execute(&mut self.connection)
            .await?;
        let row = sqlx::query("SELECT cluster_id, epoch FROM identity").fetch_one(&mut self.connection).await?;
        let (cluster_id, epoch): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let cluster_id = Uuid::try_parse(&cluster_id).map_err(|_| unreadable(format!("cluster id {cluster_id:?}")))?;
        Ok(Identity { cluster_id, epoch: u64::try_from(epoch).map_err(|_| unreadable(format!("epoch {epoch}")))? })
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not understand: nothing is skipped silently.
    pub async fn load(&mut self) -> Result<Vec<(Slot, Entry)>, Error> {
        let rows = sqlx::query("SELECT kind, name, at, command FROM commands ORDER BY kind, name").fetch_all(&mut self.connection).await?;
        let read = |row: sqlx::sqlite::SqliteRow| {
            let (kind, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
            let (at, command): (String, String) = (row.try_get(2)?, row.try_get(3)?);
            let kind = Kind::from_number(kind).ok_or_else(|| unreadable(format!("kind {kind} of {name:?}")))?;
            let at: Timestamp = at.parse().map_err(|_| unreadable(format!("time {at:?} of {name:?}")))?;
            let command = serde_json::from_str(&command).map_err(|error| unreadable(format!("{kind:?} of {name:?}: {error}")))?;
            Ok((Slot { kind, name }, Entry { at, command }))
        };
        rows.into_iter().map(read).collect()
    }

    /// Does all of `writes` or nothing. When it returns, it survives a crash of the process and of the machine.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub async fn write(&mut self, writes: &Writes) -> Result<(), Error> {
        let written = self.try_write(writes).await;
        self.written(written)
    }

    async fn try_write(&mut self, writes: &Writes) -> Result<(), Error> {
        let mut transaction = self.connection.begin().await?;
        put(&mut transaction, writes).await?;
        Ok(transaction.commit().await?)
    }

    /// Does all of `writes` and becomes `identity`'s, or nothing.
    ///
    /// # Errors
    /// As for [`Sqlite::write`].
    pub async fn restore(&mut self, writes: &Writes, identity: &Identity) -> Result<(), Error> {
        let restored = self.try_restore(writes, identity).await;
        self.written(restored)
    }

    /// Of a disk that is full, its place is told.
    fn written(&self, result: Result<(), Error>) -> Result<(), Error> {
        result.map_err(|error| match error {
            Error::Database(sqlx::Error::Database(said)) if said.code().is_some_and(|code| NO_ROOM.contains(&&*code)) => {
                Error::Full(self.path.clone())
            }
            other => other,
        })
    }

    async fn try_restore(&mut self, writes: &Writes, identity: &Identity) -> Result<(), Error> {
        let mut transaction = self.connection.begin().await?;
        put(&mut transaction, writes).await?;
        let epoch = i64::try_from(identity.epoch).map_err(|_| unreadable(format!("epoch {}", identity.epoch)))?;
        sqlx::query("UPDATE identity SET cluster_id = ?, epoch = ?")
            .bind(identity.cluster_id.to_string())
            .bind(epoch)
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

async fn put(transaction: &mut sqlx::SqliteTransaction<'_>, writes: &Writes) -> Result<(), Error> {
    for (slot, entry) in writes {
        let query = match entry {
            Some(entry) => sqlx::query("INSERT OR REPLACE INTO commands (kind, name, at, command) VALUES (?, ?, ?, ?)")
                .bind(slot.kind as i64)
                .bind(&slot.name)
                .bind(entry.at.to_string())
                .bind(serde_json::to_string(&entry.command)?),
            None => sqlx::query("DELETE FROM commands WHERE kind = ? AND name = ?").bind(slot.kind as i64).bind(&slot.name),
        };
        query.execute(&mut **transaction).await?;
    }
    Ok(())
}

fn unreadable(what: String) -> Error {
    Error::Unreadable { what }
}

/// Looks at an existing file without changing it. The header of a database whose last writer was killed may still be in the write-ahead log,
/// so that only SQLite itself can tell then.
async fn refuse_foreign(path: &Path) -> Result<(), Error> {
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut header = [0; 100];
    match std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut header)) {
        Ok(()) if !header.starts_with(MAGIC) => return Err(Error::Foreign),
        Ok(()) if i64::from(u32::from_be_bytes([header[68], header[69], header[70], header[71]])) == APPLICATION_ID => return Ok(()),
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(_) if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Error::Foreign),
        Err(error) => return Err(sqlx::Error::Io(error).into()),
    }
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY).disable_statement_logging();
    let mut connection = options.connect().await?;
    let id: i64 = sqlx::query("PRAGMA application_id").fetch_one(&mut connection).await?.try_get(0)?;
    let tables: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut connection).await?.try_get(0)?;
    connection.close().await?;
    if id == APPLICATION_ID || tables == 0 { Ok(()) } else { Err(Error::Foreign) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    fn entry(given: u64) -> Option<Entry> {
        Some(Entry { at: Timestamp::UNIX_EPOCH, command: Command::Generations { given } })
    }

    #[tokio::test]
    async fn what_is_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("registry.db");
        let mut store = Sqlite::open(&path).await.expect("opens");
        let identity = store.identity(Uuid::now_v7()).await.expect("has an identity");
        let writes = Writes::from([(Kind::Generations.of(""), entry(1)), (Kind::Wish.of("a"), entry(2)), (Kind::Wish.of("b"), entry(3))]);
        store.write(&writes).await.expect("writes");
        store.write(&Writes::from([(Kind::Wish.of("a"), None), (Kind::Wish.of("b"), entry(4))])).await.expect("writes");
        drop(store);
        let mut store = Sqlite::open(&path).await.expect("opens again");
        assert_eq!(store.identity(Uuid::now_v7()).await.expect("has an identity"), identity);
        let kept = store.load().await.expect("loads");
        assert_eq!(kept, [(Kind::Generations.of(""), entry(1).expect("some")), (Kind::Wish.of("b"), entry(4).expect("some"))]);
    }

    #[tokio::test]
    async fn a_disk_that_was_full_is_written_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("registry.db");
        let mut store = Sqlite::open(&path).await.expect("opens");
        let many = |count: u64| Writes::from_iter((0..count).map(|number| (Kind::Wish.of(&format!("node-{number}")), entry(number))));
        store.write(&many(1)).await.expect("writes");
        sqlx::query("PRAGMA max_page_count = 1").execute(&mut store.connection).await.expect("a limit");
        for _ in 0..3 {
            let full = store.write(&many(5_000)).await.expect_err("full");
            assert!(matches!(&full, Error::Full(at) if *at == path), "{full:?}");
        }
        sqlx::query("PRAGMA max_page_count = 1000000").execute(&mut store.connection).await.expect("no limit");
        store.write(&many(5_000)).await.expect("writes again");
        drop(store);
        let mut store = Sqlite::open(&path).await.expect("opens again");
        assert_eq!(store.load().await.expect("loads").len(), 5_000);
    }

    #[tokio::test]
    async fn other_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = dir.path().join("text");
        std::fs::write(&text, "this is no database at all, and long enough to have a header of one hundred bytes ..............")
            .expect("writes");
        let before = std::fs::read(&text).expect("reads");
        assert!(Sqlite::open(&text).await.is_err());
        assert_eq!(std::fs::read(&text).expect("reads"), before);
        let foreign = dir.path().join("foreign.db");
        let mut connection = SqliteConnectOptions::new().filename(&foreign).create_if_missing(true).connect().await.expect("connects");
        sqlx::query("CREATE TABLE t (x INTEGER)").execute(&mut connection).await.expect("creates");
        connection.close().await.expect("closes");
        let before = std::fs::read(&foreign).expect("reads");
        assert!(matches!(Sqlite::open(&foreign).await, Err(Error::Foreign)));
        assert_eq!(std::fs::read(&foreign).expect("reads"), before);
    }

    #[tokio::test]
    async fn one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("registry.db");
        let _store = Sqlite::open(&path).await.expect("opens");
        assert!(Sqlite::open(&path).await.is_err());
    }

    #[tokio::test]
    async fn what_is_not_understood_is_not_skipped() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Sqlite::open(&dir.path().join("registry.db")).await.expect("opens");
        sqlx::query("INSERT INTO commands VALUES (1, 'a', '2026-01-01T00:00:00Z', '{\"dance\":1}')")
            .execute(&mut store.connection)
            .await
            .expect("inserts");
        assert!(matches!(store.load().await, Err(Error::Unreadable { .. })));
    }
}

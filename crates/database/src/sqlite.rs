//! Opening an SQLite file: write-ahead log, and every transaction is on the disk before it is
//! acknowledged.
//!
//! A file that is not the service's own is refused and left as it is. Its own is brought up to the
//! newest schema.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions, Connection, Row, SqlSafeStr, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

use crate::{Error, Result};

/// How long the only owner of a file waits for a lock: whoever holds it is another owner, and will
/// not give it up.
const OWNER_BUSY: Duration = Duration::from_secs(1);
/// How long one of several connections waits for the lock of another.
const SHARED_BUSY: Duration = Duration::from_secs(5);
/// Connections of a pool.
const CONNECTIONS: u32 = 4;

/// Whose database it is, and how its tables came to be.
#[derive(Debug)]
pub struct Schema {
    /// `PRAGMA application_id`, which the first migration sets.
    pub application_id: u32,
    /// What its migrations are called and what they do, the first one first. One that has been
    /// released is never changed: databases know what was done to them by it.
    pub migrations: &'static [(&'static str, &'static str)],
}

impl Schema {
    fn migrator(&self) -> Migrator {
        let migration = |(number, &(name, sql)): (i64, &(&'static str, &'static str))| {
            Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
        };
        Migrator::with_migrations((1..).zip(self.migrations).map(migration).collect())
    }

    /// Opens or makes the database as its one owner: nobody else can open it meanwhile.
    ///
    /// # Errors
    /// When it is not ours, in use, damaged or unwritable.
    pub async fn own(&self, path: &Path) -> Result<SqliteConnection> {
        self.refuse_foreign(path).await?;
        let options =
            durable(path).locking_mode(SqliteLockingMode::Exclusive).busy_timeout(OWNER_BUSY);
        let mut connection = options.connect().await?;
        self.migrator().run(&mut connection).await?;
        Ok(connection)
    }

    /// Opens or makes the database for several connections.
    ///
    /// # Errors
    /// When it is not ours, damaged or unwritable.
    pub async fn share(&self, path: &Path) -> Result<SqlitePool> {
        self.refuse_foreign(path).await?;
        // A full disk ends a transaction by itself; the roll-back after it fails, and the
        // connection would be taken for one inside a transaction for ever. Such a connection is not
        // used again.
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(SHARED_BUSY)
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(durable(path).foreign_keys(true).busy_timeout(SHARED_BUSY))
            .await?;
        self.migrator().run(&pool).await?;
        Ok(pool)
    }

    /// Looks at an existing file without changing it. The header of a database whose last writer
    /// was killed may still be in the write-ahead log, so that only SQLite itself can tell then.
    async fn refuse_foreign(&self, path: &Path) -> Result<()> {
        match Header::of(path).map_err(sqlx::Error::Io)? {
            Header::None => return Ok(()),
            Header::Other => return Err(Error::Foreign),
            Header::Sqlite { application_id } if application_id == self.application_id => {
                return Ok(());
            }
            Header::Sqlite { .. } => {}
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(OWNER_BUSY)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        let id: i64 =
            sqlx::query("PRAGMA application_id").fetch_one(&mut connection).await?.try_get(0)?;
        let tables: i64 = sqlx::query("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut connection)
            .await?
            .try_get(0)?;
        connection.close().await?;
        let made_by_nobody = id == 0 && tables == 0;
        if id == i64::from(self.application_id) || made_by_nobody {
            Ok(())
        } else {
            Err(Error::Foreign)
        }
    }
}

fn durable(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// What a file begins with.
enum Header {
    /// It is not there, or empty.
    None,
    Sqlite {
        application_id: u32,
    },
    Other,
}

impl Header {
    fn of(path: &Path) -> std::io::Result<Self> {
        const MAGIC: &[u8] = b"SQLite format 3\0";
        let mut header = [0; 100];
        match std::fs::File::open(path)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut header))
        {
            Ok(()) if header.starts_with(MAGIC) => Ok(Self::Sqlite {
                application_id: u32::from_be_bytes([
                    header[68], header[69], header[70], header[71],
                ]),
            }),
            Ok(()) => Ok(Self::Other),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::None),
            Err(_) if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) => {
                Ok(Self::None)
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(Self::Other),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::*;

    fn schema() -> Schema {
        const FIRST: &str = "CREATE TABLE t (x INTEGER); PRAGMA application_id = 1397247832";
        Schema { application_id: 1_397_247_832, migrations: &[("first", FIRST)] }
    }

    fn scratch() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("service.db");
        (directory, path)
    }

    #[tokio::test]
    async fn files_of_others_are_refused_and_left_alone() {
        let (directory, foreign) = scratch();
        let (short, text) = (directory.path().join("short"), directory.path().join("text"));
        std::fs::write(&short, "no database").expect("writes");
        std::fs::write(
            &text,
            "this is no database at all, and long enough to have a header. ".repeat(2),
        )
        .expect("writes");
        let mut connection = SqliteConnectOptions::new()
            .filename(&foreign)
            .create_if_missing(true)
            .connect()
            .await
            .expect("connects");
        sqlx::query("CREATE TABLE t (x INTEGER)").execute(&mut connection).await.expect("creates");
        connection.close().await.expect("closes");
        for path in [short, text, foreign] {
            let before = std::fs::read(&path).expect("reads");
            assert!(matches!(schema().own(&path).await, Err(Error::Foreign)), "{path:?}");
            assert!(matches!(schema().share(&path).await, Err(Error::Foreign)), "{path:?}");
            assert_eq!(std::fs::read(&path).expect("reads"), before);
        }
    }

    #[tokio::test]
    async fn an_empty_file_is_made_ours_and_opened_again() {
        let (_directory, path) = scratch();
        std::fs::write(&path, "").expect("writes");
        for _ in 0..2 {
            schema().own(&path).await.expect("opens").close().await.expect("closes");
            schema().share(&path).await.expect("opens").close().await;
        }
    }

    #[tokio::test]
    async fn an_owner_is_alone() {
        let (_directory, path) = scratch();
        let owner = schema().own(&path).await.expect("opens");
        assert!(matches!(schema().own(&path).await, Err(Error::Failed(_))));
        owner.close().await.expect("closes");
        schema().own(&path).await.expect("opens once the owner has gone");
    }

    /// As after kill -9 before the first checkpoint: the header that says whose it is is in the log
    /// alone.
    #[tokio::test]
    async fn a_database_whose_header_is_still_in_the_log_is_ours() {
        let (directory, path) = scratch();
        let pool = schema().share(&path).await.expect("opens");
        let copy = directory.path().join("copy.db");
        for suffix in ["", "-wal"] {
            let of = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            std::fs::copy(of(&path), of(&copy)).expect("copies");
        }
        pool.close().await;
        schema().own(&copy).await.expect("is recognised");
    }
}

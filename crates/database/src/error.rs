//! What went wrong with a database. Each service maps these to the statuses of its own interface.

use std::path::{Path, PathBuf};

/// What SQLite says when there is no room: for the file itself (`SQLITE_FULL`), and for the index
/// of its log (`SQLITE_IOERR_SHMSIZE`).
const NO_ROOM: [&str; 2] = ["13", "4874"];
/// `SQLITE_NOTADB`
const NOT_A_DATABASE: &str = "26";

/// The result of using a database.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database says so.
    #[error(transparent)]
    Failed(sqlx::Error),
    /// Every connection is taken; it may do in a moment.
    #[error("every connection to it is in use")]
    Busy,
    /// Nothing more can be written.
    #[error("the disk that holds {} is full", .0.display())]
    Full(PathBuf),
    /// A schema that cannot be brought up to date.
    #[error("its schema cannot be brought up to date: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Not ours.
    #[error("the file is a database of another program")]
    Foreign,
    /// Written by a newer version, or damaged.
    #[error(
        "it holds something that this version does not understand ({0}); was it written by a newer \
         version?"
    )]
    Unreadable(String),
    /// A value that has no form in the database.
    #[error("something cannot be written: {0}")]
    Unwritable(String),
}

impl Error {
    /// What people can do about it, where that can be told.
    #[must_use]
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Full(_) => Some("free some space there, then try again"),
            _ => None,
        }
    }

    /// The same, of the database at `place`: where a disk is full, people need to know which.
    #[must_use]
    pub fn at(self, place: &Path) -> Self {
        match self {
            Self::Full(_) => Self::Full(place.to_owned()),
            other => other,
        }
    }
}

/// The one table from what the driver says.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::PoolTimedOut => return Self::Busy,
            sqlx::Error::Database(said) => said.code(),
            _ => None,
        };
        match code.as_deref() {
            Some(code) if NO_ROOM.contains(&code) => Self::Full(PathBuf::new()),
            Some(NOT_A_DATABASE) => Self::Foreign,
            _ => Self::Failed(error),
        }
    }
}

//! Why something was not done, in one sentence with what to do about it.

use std::{io, path::PathBuf};

use chassis::transfer::{Malformed, disk};

use crate::{archive, catalog::NotFound, pki, transfer};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One thing at a time.
    #[error("another backup, verification or restore is under way: try again when it is done")]
    Busy,
    /// No such backup.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// An archive that is not what it was.
    #[error("backup {0}: {1}")]
    Archive(String, #[source] archive::Error),
    /// A service did not do its part.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// Another process writes to a store.
    #[error(
        "another backup-service is writing to the store {0}: try again when it is done; nothing \
         was changed"
    )]
    InUse(String),
    #[error(
        "the store {url} cannot be written: {}; nothing of this backup is left in it",
        disk(directory, source)
    )]
    Store {
        url: String,
        /// Where that is.
        directory: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// Where backups are put together.
    #[error("no backup can be put together: {0}; nothing was changed")]
    Scratch(Malformed),
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// The archive is not the one that was planned with.
    #[error(
        "backup {0} is not what it was when the restore was planned: plan it again (`shoal backup \
         restore {0}`)"
    )]
    Changed(String),
    #[error(transparent)]
    Foreign(#[from] crate::restore::Foreign),
    /// A service did not take its part, and nothing was restored before it.
    #[error("nothing is restored: {0}; {fate}, and the same restore can be run \
        again", fate = .0.fate())]
    First(transfer::Error),
    /// A restore that ended in the middle.
    #[error(
        "{done} is restored and the {service} is not: {source}; {fate}. Run the same restore again \
         to end it, or go back to what was there with `shoal backup restore {before}`",
        fate = source.fate()
    )]
    Half {
        /// Whose part failed.
        service: cluster::Service,
        source: Box<transfer::Error>,
        /// What is restored already.
        done: String,
        /// Id of the backup of what was there.
        before: String,
    },
    /// Something that cannot happen, has.
    #[error("this is a defect, please report it: {0}")]
    Defect(String),
}

//! The state of a service on its way out of it or into it: named entries of bytes
//! (`shoal.state.v1`), cut into pieces for a stream and put together again in a file of no name, so
//! that neither side holds them in memory and nothing is left behind by a crash.
//!
//! What the entries are called and mean is the business of the service whose state it is. Nothing
//! that arrives is believed before [`Spool::finish`] has compared it with what the sender says that
//! it sent.
//!
//! Reading order: `sender` (entries become pieces) → `spool` (pieces become entries again) →
//! `import` (what a service takes, and from whom).

mod import;
mod sender;
mod spool;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tonic::Status;

pub use import::{Accepts, content, describe, header};
pub use sender::{Gone, PIECE, Part, Sender, exported, imported};
pub use spool::{Content, Parcel, Spool};

/// Between two pieces. A peer that says nothing for so long has gone.
pub const NEXT_WITHIN: Duration = Duration::from_secs(60);

/// Why something that arrives is refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The name of an entry is none, or comes twice.
    #[error("{0:?} cannot be the name of another entry")]
    Name(String),
    /// More than is taken.
    #[error("it is larger than {0}")]
    TooLarge(String),
    /// The sender's account of what it sent is another.
    #[error("{0} is not what was sent: a piece is missing or damaged")]
    Differs(String),
    /// A message where it does not belong, or none where one does.
    #[error("{0}")]
    OutOfPlace(&'static str),
    /// The file that it is put together in.
    #[error("{}", disk(directory, source))]
    Disk {
        /// Where that would be.
        directory: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
}

/// Whether there is no room for more, neither on the disk nor in a quota.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a failing disk means for people: which it is, and what to do about it.
#[must_use]
pub fn disk(directory: &Path, error: &io::Error) -> String {
    let shown = directory.display();
    if is_full(error) {
        format!("the disk that holds {shown} is full: free some space there, then try again")
    } else {
        format!(
            "nothing can be kept in {shown} ({error}): see whether its disk is there and can be \
             written"
        )
    }
}

/// Whether this can be the name of an entry: letters, digits, `.`, `_`, `-`, and single `/` between
/// parts that do not begin with a dot.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    name.len() <= 200 && name.split('/').all(part)
}

/// Of entries and what is in them: the same as long as nothing of it changes. In hex.
#[must_use]
pub fn fingerprint(entries: &[(&str, Vec<u8>)]) -> String {
    let mut digest = Sha256::new();
    for part in entries.iter().flat_map(|(name, content)| [name.as_bytes(), content]) {
        // Its length first, so that no two are written the same.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

/// The status of something that is refused.
#[must_use]
pub fn refuse(problem: &Malformed) -> Status {
    match problem {
        Malformed::Disk { source, .. } if !is_full(source) => Status::internal(problem.to_string()),
        Malformed::Disk { .. } | Malformed::TooLarge(_) => {
            Status::resource_exhausted(problem.to_string())
        }
        _ => Status::invalid_argument(problem.to_string()),
    }
}

#[cfg(test)]
mod tests;

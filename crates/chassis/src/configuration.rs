//! Following the config-service: one generation in force, the one before kept, everything on disk.
//!
//! Reading order: [`generation`] decides (pure), [`store`] keeps, [`fetch`] completes files,
//! [`owner`] changes what is in force, [`follow`] subscribes, [`serve`] is what operators may ask.

pub(crate) mod fetch;
pub(crate) mod follow;
pub mod generation;
pub(crate) mod owner;
pub(crate) mod serve;
pub(crate) mod store;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use proto::config as pb;
use tokio::sync::watch;

use crate::error::Error;

/// A configuration for this process, complete and verified: all that
/// [`Process::configuration`](crate::Process::configuration) hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Id of the revision.
    pub revision: String,
    /// SHA-256 (hex) of `document`.
    pub hash: String,
    /// Canonical JSON: the sections of this process's service.
    pub document: Bytes,
    /// What the document refers to.
    pub files: Files,
}

/// The files of a bundle, each at its content address on disk. The files do not change; they stay
/// while their generation is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, PathBuf>);

impl Files {
    pub(crate) const fn new(files: BTreeMap<String, PathBuf>) -> Self {
        Self(files)
    }

    /// Where the file with this path in the bundle (`lists/blocked.txt`) is on disk.
    #[must_use]
    pub fn path(&self, path: &str) -> Option<&Path> {
        self.0.get(path).map(PathBuf::as_path)
    }

    /// Its content.
    ///
    /// # Errors
    /// There is no such file in the bundle, or the disk fails.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let on_disk = self.path(path).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("{path} is not in the bundle"))
        })?;
        std::fs::read(on_disk)
    }

    /// Every file: path in the bundle, path on disk.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(path, on_disk)| (path.as_str(), on_disk.as_path()))
    }
}

/// Why a configuration was not applied, with its place where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// Path inside the bundle; may be empty.
    pub file: String,
    /// From 1; 0 for none.
    pub line: u32,
    /// From 1; 0 for none.
    pub column: u32,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub remedy: String,
}

impl Problem {
    /// A problem without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl From<&Problem> for pb::Problem {
    fn from(problem: &Problem) -> Self {
        Self {
            severity: pb::Severity::Error.into(),
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
            cause: pb::Cause::Unspecified.into(),
        }
    }
}

/// Why an assignment was not taken: every problem, and what decides about the remedy.
#[derive(Debug, Default)]
struct Nack {
    problems: Vec<Problem>,
    cause: pb::Cause,
}

impl From<Vec<Problem>> for Nack {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems, cause: pb::Cause::Unspecified }
    }
}

impl Nack {
    fn to_wire(&self) -> Vec<pb::Problem> {
        let problem =
            |problem: &Problem| pb::Problem { cause: self.cause.into(), ..problem.into() };
        self.problems.iter().map(problem).collect()
    }
}

/// What is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Id of the revision.
    pub revision: String,
    /// SHA-256 (hex) of the rendered document.
    pub hash: String,
}

/// Follows what is in force. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Follower {
    applied: watch::Receiver<Option<Applied>>,
    stop: crate::lifecycle::StopSignal,
}

impl Follower {
    pub(crate) const fn new(
        applied: watch::Receiver<Option<Applied>>,
        stop: crate::lifecycle::StopSignal,
    ) -> Self {
        Self { applied, stop }
    }

    /// What is in force now; none before the first.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        self.applied.borrow().clone()
    }

    /// Waits until something is in force.
    ///
    /// # Errors
    /// The process was asked to stop before.
    pub async fn first(&self) -> Result<Applied, Error> {
        let mut applied = self.applied.clone();
        let ended = || Error::new("stopped before the first configuration arrived").exit_code(0);
        tokio::select! {
            () = self.stop.wait() => Err(ended()),
            found = applied.wait_for(Option::is_some) => {
                found.ok().and_then(|found| found.clone()).ok_or_else(ended)
            }
        }
    }

    /// Returns after the next change.
    pub async fn changed(&mut self) {
        if self.applied.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

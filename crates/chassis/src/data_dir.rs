//! The directory in which a process keeps its state: one process at a time, and only a process that
//! it belongs to.
//!
//! The lock is flock(2) on the directory itself, so that a refused start leaves no trace. A marker
//! file says whose it is.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt as _, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use cluster::Service;
use serde::{Deserialize, Serialize};

use crate::options::Options;

/// How many replicas may share a directory.
const MOST_REPLICAS: u32 = 1000;
const MARKER: &str = "shoal.json";
/// Format of what is in the directory. A newer one is refused.
const FORMAT: u32 = 1;

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    service: Service,
    name: String,
    /// Fingerprint of the cluster's authority; empty when it was made without certificates.
    cluster: String,
}

/// A locked data dir. The lock ends with the last clone, or with the process; or with the process
/// that has taken over from it.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Never unlocked, only closed: a successor may hold the same lock.
    lock: std::sync::Arc<File>,
    /// This start made its content.
    new: bool,
    /// Directories that this start made, outermost first.
    made: Vec<PathBuf>,
}

/// Why a data dir cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("the data dir {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("cannot use the data dir {}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    #[error("{} is not a data dir of Shoal: it holds other files", .0.display())]
    NotOurs(PathBuf),
    #[error("the data dir {} has an unreadable {MARKER}: {}", .0.display(), .1)]
    Marker(PathBuf, String),
    #[error("the data dir {} was written by a newer version (format {}; this one knows \
        {FORMAT})", .0.display(), .1)]
    Newer(PathBuf, u32),
    #[error("the data dir {} belongs to {} {}, not to {} {}", .0.display(), .1, .2, .3, .4)]
    Foreign(PathBuf, Service, String, Service, String),
    #[error("the data dir {} belongs to another cluster (authority {})", .0.display(), .1)]
    OtherCluster(PathBuf, String),
    #[error("the running process has another data dir than {}", .0.display())]
    Elsewhere(PathBuf),
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let remedy = match &error {
            Error::InUse(_) => "stop that process, or give this one its own --data-dir",
            Error::Io(..) => {
                "check that it is a directory which this user may read and write, or choose \
                 another --data-dir"
            }
            Error::NotOurs(_) => "choose an empty or new directory as --data-dir",
            Error::Marker(..) => "restore it from a backup, or choose another --data-dir",
            Error::Newer(..) => "run that version, or choose another --data-dir",
            Error::Foreign(..) => "choose the --data-dir of this process",
            Error::Elsewhere(_) => "give the --data-dir of that process, or restart it instead",
            Error::OtherCluster(..) => {
                "choose another --data-dir, or give the --ca of that cluster"
            }
        };
        Self::new(error.to_string()).remedy(remedy)
    }
}

impl DataDir {
    /// Locks `path` for `name`, creating it when it does not exist. `clusters` are the fingerprints
    /// of the authorities in use, the first of which marks a new directory; none is right for any.
    ///
    /// # Errors
    /// It is in use, unreadable, or somebody else's; nothing in it was changed.
    pub fn open(
        path: &Path,
        service: Service,
        name: &str,
        clusters: &[String],
    ) -> Result<Self, Error> {
        let io = |error| Error::Io(path.to_owned(), error);
        let mut made: Vec<_> = path
            .ancestors()
            .take_while(|ancestor| !ancestor.exists())
            .map(Path::to_owned)
            .collect();
        made.reverse();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let directory = File::open(path).map_err(io)?;
        let lock = directory;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::InUse(path.to_owned()),
            TryLockError::Error(other) => io(other),
        })?;
        let new = match fs::read(path.join(MARKER)) {
            Ok(bytes) => check(path, &bytes, service, name, clusters).map(|()| false)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A volume of its own comes with lost+found.
                let mut others = fs::read_dir(path)
                    .map_err(io)?
                    .filter(|entry| entry.as_ref().is_ok_and(|e| e.file_name() != "lost+found"));
                if others.next().is_some() {
                    return Err(Error::NotOurs(path.to_owned()));
                }
                let cluster = clusters.first().cloned().unwrap_or_default();
                let marker = Marker { format: FORMAT, service, name: name.to_owned(), cluster };
                let text = serde_json::to_vec_pretty(&marker).map_err(|error| io(error.into()))?;
                write_atomically(&path.join(MARKER), &text).map_err(io)?;
                true
            }
            Err(error) => return Err(io(error)),
        };
        let path = path.canonicalize().map_err(io)?;
        Ok(Self { path, lock: std::sync::Arc::new(lock), new, made })
    }

    /// Goes on with the lock of a process that this one takes over from.
    ///
    /// # Errors
    /// As [`DataDir::open`]; or the lock is of another directory.
    pub(crate) fn resume(
        path: &Path,
        lock: OwnedFd,
        (service, name): (Service, &str),
        clusters: &[String],
    ) -> Result<Self, Error> {
        let io = |error| Error::Io(path.to_owned(), error);
        let lock = File::from(lock);
        let (held, there) = (lock.metadata().map_err(io)?, fs::metadata(path).map_err(io)?);
        if (held.dev(), held.ino()) != (there.dev(), there.ino()) {
            return Err(Error::Elsewhere(path.to_owned()));
        }
        let marker = fs::read(path.join(MARKER)).map_err(io)?;
        check(path, &marker, service, name, clusters)?;
        let path = path.canonicalize().map_err(io)?;
        Ok(Self { path, lock: std::sync::Arc::new(lock), new: false, made: Vec::new() })
    }

    /// The lock, for a successor.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Locks the first of `NAME-1`, `NAME-2`, … that no other replica has, below the data dir that
    /// is given; answers the name with it. A replica that comes back finds what the one before it
    /// with that number left.
    ///
    /// # Errors
    /// As [`DataDir::open`]; or all of them are in use.
    pub(crate) fn first_free(
        options: &Options,
        service: Service,
        name: &str,
        clusters: &[String],
    ) -> Result<(String, Self), Error> {
        for number in 1..=MOST_REPLICAS {
            let name = format!("{name}-{number}");
            match Self::open(&options.data_dir_of_replica(&name), service, &name, clusters) {
                Err(Error::InUse(_)) => {}
                opened => return opened.map(|directory| (name, directory)),
            }
        }
        Err(Error::InUse(options.data_dir_of_replica(&format!("{name}-{MOST_REPLICAS}"))))
    }

    /// Takes back what this start made, when it came to nothing. A directory that was somebody's
    /// before stays as it is.
    pub(crate) fn discard(&self) {
        if !self.new {
            return;
        }
        for entry in fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name() != "lost+found")
        {
            let directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if directory {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            if let Err(error) = removed {
                tracing::warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
        // Innermost first; one that others use meanwhile is not empty, and stays.
        self.made
            .iter()
            .rev()
            .take_while(|directory| fs::remove_dir(directory).is_ok())
            .for_each(drop);
    }

    /// A file or directory in it.
    #[must_use]
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.path
    }
}

fn check(
    path: &Path,
    bytes: &[u8],
    service: Service,
    name: &str,
    clusters: &[String],
) -> Result<(), Error> {
    let marker: Marker = serde_json::from_slice(bytes)
        .map_err(|error| Error::Marker(path.to_owned(), error.to_string()))?;
    if marker.format > FORMAT {
        return Err(Error::Newer(path.to_owned(), marker.format));
    }
    if marker.service != service || marker.name != name {
        return Err(Error::Foreign(
            path.to_owned(),
            marker.service,
            marker.name,
            service,
            name.to_owned(),
        ));
    }
    if !marker.cluster.is_empty() && !clusters.is_empty() && !clusters.contains(&marker.cluster) {
        return Err(Error::OtherCluster(path.to_owned(), marker.cluster));
    }
    Ok(())
}

/// Replaces a file so that a reader, or a start after a crash at any moment, finds the old content
/// or the new, never a mixture: written beside it, fsynced, renamed, directory fsynced. Readable by
/// the owner only.
///
/// # Errors
/// Whatever the file system says; the old content is then still in place.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    write_atomically_for(path, content, |_| Ok(()))
}

/// The same for a file that others read: `give` makes the new one theirs before anything is in it.
///
/// # Errors
/// As above, and what `give` says; the file is as it was then.
pub fn write_atomically_for(
    path: &Path,
    content: &[u8],
    give: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = directory.join(temporary);
    // Left by somebody who was killed, or put there by somebody who may write here and wants more
    // than that written: never written through.
    fs::remove_file(&temporary).or_else(|error| {
        if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
    })?;
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    give(&file)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, name: &str, cluster: &str) -> Result<DataDir, Error> {
        DataDir::open(path, Service::Registry, name, &[cluster.to_owned()])
    }

    fn listing(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .map(|p| (p.clone(), fs::read(p).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn is_locked_and_remembers_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/er");
        fs::create_dir_all(path.join("lost+found")).unwrap();
        let first = open(&path, "r-1", "aa").unwrap();
        assert!(matches!(open(&path, "r-1", "aa"), Err(Error::InUse(_))));
        drop(first);
        let before = listing(&path);
        assert!(matches!(open(&path, "r-2", "aa"), Err(Error::Foreign(..))));
        assert!(matches!(open(&path, "r-1", "bb"), Err(Error::OtherCluster(..))));
        assert!(matches!(
            DataDir::open(&path, Service::Balancer, "r-1", &[]),
            Err(Error::Foreign(..))
        ));
        assert_eq!(listing(&path), before, "a refused start changes nothing");
        open(&path, "r-1", "aa").unwrap();
    }

    #[test]
    fn a_lock_that_was_handed_over_outlives_the_one_who_had_it() {
        let base = tempfile::tempdir().unwrap();
        let (path, other) = (base.path().join("one"), base.path().join("other"));
        let clusters = ["aa".to_owned()];
        let first = open(&path, "r-1", "aa").unwrap();
        let resume = |path: &Path, name: &str| {
            let lock = first.lock().try_clone_to_owned().unwrap();
            DataDir::resume(path, lock, (Service::Registry, name), &clusters)
        };
        assert!(matches!(resume(&path, "r-2"), Err(Error::Foreign(..))));
        drop(open(&other, "r-1", "aa").unwrap());
        assert!(matches!(resume(&other, "r-1"), Err(Error::Elsewhere(_))));
        let second = resume(&path, "r-1").unwrap();
        drop(first);
        assert!(matches!(open(&path, "r-1", "aa"), Err(Error::InUse(_))));
        drop(second);
        open(&path, "r-1", "aa").unwrap();
    }

    #[test]
    fn refuses_what_is_not_ours() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(open(base.path(), "r-1", "aa"), Err(Error::NotOurs(_))));
        fs::write(base.path().join(MARKER), "{").unwrap();
        assert!(matches!(open(base.path(), "r-1", "aa"), Err(Error::Marker(..))));
        fs::write(
            base.path().join(MARKER),
            r#"{"format":9,"service":"registry","name":"r-1","cluster":""}"#,
        )
        .unwrap();
        assert!(matches!(open(base.path(), "r-1", "aa"), Err(Error::Newer(_, 9))));
        assert!(matches!(open(&base.path().join("thesis.tex"), "r-1", "aa"), Err(Error::Io(..))));
    }
}

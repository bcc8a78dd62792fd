//! A lab's data directory: whose it is, who holds it, and where running labs are found.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow, bail};

/// Marks a directory as a lab's, is locked while it runs, and holds the lab's process id.
const LOCK: &str = "lab.lock";
/// Name of the description of what runs.
pub const DESCRIPTION: &str = "lab.json";

/// Whether `directory` has ever been a lab's.
#[must_use]
pub fn is_lab(directory: &Path) -> bool {
    directory.join(LOCK).is_file()
}

/// Whether a lab holds `directory` now.
#[must_use]
pub fn is_running(directory: &Path) -> bool {
    File::open(directory.join(LOCK))
        .is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Process id of the lab that holds `directory`, if one does.
#[must_use]
pub fn holder(directory: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(directory.join(LOCK)).ok()?;
    is_running(directory).then(|| text.trim().parse().ok()).flatten()
}

/// The right to use a data directory, until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What a directory is before a lab takes it.
#[derive(Debug)]
pub enum Found {
    /// Missing or empty: a lab may be made here.
    New,
    /// A lab's, and nobody uses it now.
    Lab(Lock),
}

/// Looks whether a lab may use `directory`, changing nothing.
///
/// # Errors
/// It is in use, unreadable, or somebody else's; the text says what to do.
pub fn inspect(directory: &Path) -> Result<Found> {
    let mut entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::New),
        Err(error) => {
            return Err(error).with_context(|| {
                format!(
                    "cannot use {} as a data directory; choose another with --data-dir",
                    directory.display()
                )
            });
        }
    };
    if is_lab(directory) {
        return lock(directory).map(Found::Lab);
    }
    if entries.next().is_some() {
        bail!(
            "{} holds files that are not a lab's: choose another directory with --data-dir, or \
             empty it",
            directory.display()
        );
    }
    Ok(Found::New)
}

/// Takes the directory for this process, making it where it is missing.
///
/// # Errors
/// It cannot be written, or another lab was faster.
pub fn take(directory: &Path, found: Found) -> Result<Lock> {
    let mut lock = match found {
        Found::Lab(lock) => lock,
        Found::New => {
            std::fs::create_dir_all(directory).with_context(|| {
                format!(
                    "cannot make the data directory {}; choose another with --data-dir",
                    directory.display()
                )
            })?;
            lock(directory)?
        }
    };
    lock.file.set_len(0)?;
    lock.file.rewind()?;
    writeln!(lock.file, "{}", std::process::id())?;
    Ok(lock)
}

fn lock(directory: &Path) -> Result<Lock> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.with_context(|| {
        format!("cannot write {}; choose another directory with --data-dir", path.display())
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { file }),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message; the lock has been refused either way.
            file.read_to_string(&mut pid).ok();
            Err(anyhow!(
                "a lab is already running in {0} (pid {1}): stop it with `shoal lab stop \
                 --data-dir {0}`, or choose another --data-dir",
                directory.display(),
                pid.trim()
            ))
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Where labs live unless told otherwise: `$XDG_STATE_HOME/shoal`, or `~/.local/state/shoal`.
pub fn state_home() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    Some(
        absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?
            .join("shoal"),
    )
}

/// The data directory of a lab that was not told another.
///
/// # Errors
/// There is no home directory.
pub fn default() -> Result<PathBuf> {
    let home = state_home().ok_or_else(|| {
        anyhow!("neither XDG_STATE_HOME nor HOME is set: choose a directory with --data-dir")
    })?;
    Ok(home.join("lab"))
}

/// Notes that a lab runs in `directory`, so that commands find it without being told. The note goes
/// away when this is dropped.
#[derive(Debug)]
pub struct Note {
    path: PathBuf,
}

impl Note {
    /// Writes the note.
    ///
    /// # Errors
    /// The state directory cannot be written.
    pub fn write(directory: &Path) -> Result<Self> {
        let notes = state_home().ok_or_else(|| anyhow!("no home directory"))?.join("running");
        std::fs::create_dir_all(&notes)?;
        for stale in std::fs::read_dir(&notes)?.filter_map(Result::ok).map(|entry| entry.path()) {
            if !directory_of(&stale).is_some_and(|directory| is_running(&directory)) {
                // Somebody else may be tidying up as well.
                std::fs::remove_file(&stale).ok();
            }
        }
        let path = notes.join(std::process::id().to_string());
        write_atomically(&path, directory.as_os_str().as_encoded_bytes())?;
        Ok(Self { path })
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // A note that stays behind is recognised by the lock of the directory that it names.
        std::fs::remove_file(&self.path).ok();
    }
}

/// The running labs, the one that was started last first.
#[must_use]
pub fn running() -> Vec<PathBuf> {
    let Some(notes) = state_home().and_then(|home| std::fs::read_dir(home.join("running")).ok())
    else {
        return Vec::new();
    };
    let started = |entry: &std::fs::DirEntry| {
        entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut notes: Vec<_> =
        notes.filter_map(Result::ok).map(|entry| (started(&entry), entry.path())).collect();
    notes.sort();
    let mut found: Vec<PathBuf> = Vec::new();
    for directory in notes
        .into_iter()
        .rev()
        .filter_map(|(_, note)| directory_of(&note))
        .filter(|directory| is_running(directory))
    {
        if !found.contains(&directory) {
            found.push(directory);
        }
    }
    found
}

fn directory_of(note: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(std::ffi::OsString::from_vec(std::fs::read(note).ok()?)))
}

/// Replaces `path` by `bytes`, whole or not at all.
///
/// # Errors
/// The directory cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    chassis::data_dir::write_atomically(path, bytes)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("lab");
        assert!(matches!(inspect(&directory), Ok(Found::New)));
        assert!(!directory.exists(), "looking changes nothing");
        let held = take(&directory, Found::New).unwrap();
        assert_eq!(holder(&directory), i32::try_from(std::process::id()).ok());
        let refused = inspect(&directory).unwrap_err().to_string();
        assert!(
            refused.contains("already running") && refused.contains("shoal lab stop"),
            "{refused}"
        );
        drop(held);
        assert!(!is_running(&directory) && holder(&directory).is_none());
        assert!(matches!(inspect(&directory), Ok(Found::Lab(_))));
    }

    #[test]
    fn foreign_directories_are_left_alone() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("thesis.tex"), "years of work").unwrap();
        assert!(inspect(scratch.path()).unwrap_err().to_string().contains("not a lab's"));
        let file = scratch.path().join("thesis.tex");
        assert!(inspect(&file).unwrap_err().to_string().contains("--data-dir"));
    }
}

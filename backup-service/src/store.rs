//! A place for archives: a directory. An archive is there whole, under its name, or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::archive::manifest::is_id;

const PREFIX: &str = "shoal-";
const ENDING: &str = ".tar.zst";
/// An archive that is being written; one that is found at the start was never finished.
const PARTIAL: &str = ".partial";
/// Locked by the process that writes.
const LOCK: &str = ".shoal-lock";

/// A directory of archives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub url: String,
    directory: PathBuf,
}

/// The right to write to a store, which one process has at a time. It ends with the process,
/// however that ends.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "held for its lock")] File);

/// An archive in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its id, by its name.
    pub id: String,
    /// Where it is.
    pub path: PathBuf,
    pub size: u64,
}

impl Store {
    /// The store of a `file:` URL; a path that does not begin with `/` is below `data_dir`. None
    /// for other URLs.
    #[must_use]
    pub fn new(url: &str, data_dir: &Path) -> Option<Self> {
        let path = url.strip_prefix("file:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(Self { url: url.to_owned(), directory: data_dir.join(path) })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory where it is missing, readable for nobody else, and removes what was
    /// never finished, unless somebody writes to it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn prepare(&self) -> io::Result<()> {
        self.hold().map(drop)
    }

    /// Keeps every other process from writing to it, and removes what was never finished; none when
    /// another has it already. The same directory may be the store of several backup-services.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn hold(&self) -> io::Result<Option<Hold>> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.directory.join(LOCK))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some file systems of a network cannot lock: there, one backup-service alone must use
            // it.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!("{} cannot be locked: let no other backup-service use it", self.url);
            }
            locked => locked?,
        }
        self.clean()?;
        Ok(Some(Hold(file)))
    }

    fn clean(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(PREFIX) && name.ends_with(PARTIAL) {
                tracing::warn!("{name} in {} was never finished and is removed", self.url);
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Everything that looks like an archive by its name, oldest first.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn list(&self) -> io::Result<Vec<Stored>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.strip_suffix(ENDING))
                .filter(|id| is_id(id));
            if let Some(id) = id
                && let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                found.push(Stored { id: id.to_owned(), path: entry.path(), size: metadata.len() });
            }
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    /// Where the archive of this id is or would be.
    #[must_use]
    pub fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{PREFIX}{id}{ENDING}"))
    }

    /// Puts an archive here that `write` writes. When this returns, it survives a crash of the
    /// machine; when it fails, nothing is left.
    ///
    /// # Errors
    /// Whatever `write` or the file system says.
    pub fn put<T>(
        &self,
        id: &str,
        write: impl FnOnce(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = self.path(id);
        if path.exists() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", path.display()),
            ));
        }
        let partial = self.directory.join(format!("{PREFIX}{id}{PARTIAL}"));
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let written = write(&mut file).and_then(|written| {
            file.flush()?;
            file.sync_all()?;
            fs::rename(&partial, &path)?;
            File::open(&self.directory)?.sync_all()?;
            Ok(written)
        });
        if written.is_err()
            && let Err(error) = fs::remove_file(&partial)
        {
            tracing::warn!("{} stays behind: {error}", partial.display());
        }
        written
    }

    /// Removes an archive. One that is not there is removed already.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let place = |url| Store::new(url, Path::new("/data")).map(|store| store.directory);
        assert_eq!(place("file:backups"), Some("/data/backups".into()));
        assert_eq!(place("file:/mnt/backups"), Some("/mnt/backups".into()));
        assert_eq!(place("file:///mnt/backups"), Some("/mnt/backups".into()));
        assert_eq!(place("s3://bucket/prefix"), None);
    }

    #[test]
    fn an_archive_is_there_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::new("file:a/b", scratch.path()).unwrap();
        assert_eq!(store.list().unwrap(), []);
        store.prepare().unwrap();
        let seen = |file: &mut File| {
            file.write_all(b"whole")?;
            store.list().map(|listed| listed.len())
        };
        assert_eq!(
            store.put("20260101T000000Z-000001", seen).unwrap(),
            0,
            "nobody sees it before it is whole"
        );
        let full = store.put("20260101T000000Z-000002", |file| {
            file.write_all(b"half")?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(full.is_err());
        let listed: Vec<_> =
            store.list().unwrap().into_iter().map(|stored| (stored.id, stored.size)).collect();
        assert_eq!(listed, [("20260101T000000Z-000001".to_owned(), 5)]);
        assert_eq!(
            fs::read_dir(store.directory()).unwrap().count(),
            2,
            "nothing is left of the other beside the lock"
        );
        store
            .put("20260101T000000Z-000001", |file| file.write_all(b"another"))
            .expect_err("one of that name is there");
        // Killed in the middle.
        fs::write(store.directory().join("shoal-20260101T000000Z-000003.partial"), b"half")
            .unwrap();
        fs::write(store.directory().join("somebody-else.txt"), b"not ours").unwrap();
        store.prepare().unwrap();
        assert_eq!(
            (store.list().unwrap().len(), fs::read_dir(store.directory()).unwrap().count()),
            (1, 3)
        );
        store.remove("20260101T000000Z-000001").unwrap();
        store.remove("20260101T000000Z-000001").unwrap();
        assert_eq!(store.list().unwrap(), []);
    }

    #[test]
    fn one_writes_at_a_time_and_nobody_removes_what_another_writes() {
        let scratch = tempfile::tempdir().unwrap();
        let [store, other] =
            ["file:a", "file:./a"].map(|url| Store::new(url, scratch.path()).unwrap());
        let hold = store.hold().unwrap().expect("nobody has it");
        assert!(other.hold().unwrap().is_none());
        store
            .put("20260101T000000Z-000001", |file| {
                file.write_all(b"half")?;
                // It comes up, and would remove what is left behind by a crash.
                other.prepare()?;
                file.write_all(b"whole")
            })
            .unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        drop(hold);
        assert!(other.hold().unwrap().is_some());
    }
}

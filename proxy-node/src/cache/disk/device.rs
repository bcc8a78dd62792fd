//! The files of the tier, behind a trait so that tests let them fail: full, broken, slow, torn.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::statvfs::statvfs,
};

/// The lock that one process holds while it uses the directory.
const LOCK: &str = "lock";

/// A directory of files.
pub trait Device: Debug + Send + Sync {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A file to read and write, made if it is missing.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Removes a file. Who has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// A small file as a whole.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces a small file at once, and returns when it is on the disk.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Bytes that the file system has left; `None`: nobody knows.
    fn left(&self) -> Option<u64>;
    /// Lets it go, for another process; what is open can still be read.
    fn release(&self);
}

/// A file at whose places is read and written.
pub trait File: Debug + Send + Sync {
    /// Fills the buffer from a place.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all bytes at a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn length(&self) -> io::Result<u64>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Returns when everything written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("another process uses it")]
    InUse,
    #[error("it holds files that are not a cache's ({0}): give it a directory of its own")]
    Foreign(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A directory of the file system, for one process at a time.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    lock: Mutex<Option<Flock<fs::File>>>,
}

impl Directory {
    /// Makes and locks it. `ours` says of a name whether it can be a file of the cache.
    ///
    /// # Errors
    /// Another process has it, it holds something else, or it cannot be made or read. Nothing in it
    /// was changed.
    pub fn open(path: &Path, ours: impl Fn(&str) -> bool) -> Result<Self, Unusable> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != LOCK && name != "lost+found" && !ours(&name) {
                return Err(Unusable::Foreign(name));
            }
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join(LOCK))?;
        let lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    Errno::EWOULDBLOCK => Unusable::InUse,
                    other => Unusable::Io(other.into()),
                },
            )?;
        Ok(Self { path: path.to_owned(), lock: Mutex::new(Some(lock)) })
    }
}

impl Device for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        Ok(Box::new(Plain(options.open(path)?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (new, path) = (self.path.join("new"), self.path.join(name));
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)?;
        fs::File::open(&self.path)?.sync_all()
    }

    fn left(&self) -> Option<u64> {
        let found = statvfs(&self.path).ok()?;
        Some(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    fn release(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[derive(Debug)]
struct Plain(fs::File);

impl File for Plain {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

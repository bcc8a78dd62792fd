//! The file of a log, which may be moved away under us.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use cluster_config::document::proxy::Rotate;

/// When the file is moved aside, and how many of those are kept. Changes while it is written.
#[derive(Debug)]
pub struct Rotation {
    size: AtomicU64,
    keep: AtomicU32,
}

impl Rotation {
    pub(super) const fn new(Rotate { size, keep }: Rotate) -> Self {
        Self { size: AtomicU64::new(size), keep: AtomicU32::new(keep) }
    }

    /// Like this from now on.
    pub fn set(&self, Rotate { size, keep }: Rotate) {
        self.size.store(size, Ordering::Relaxed);
        self.keep.store(keep, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// None: it could not be opened so far.
    open: Option<fs::File>,
    inode: u64,
    failing: bool,
    rotation: Arc<Rotation>,
}

impl File {
    pub(super) fn new(path: PathBuf, rotation: Arc<Rotation>) -> Self {
        let mut file = Self { path, open: None, inode: 0, failing: false, rotation };
        file.follow_rotation();
        file
    }

    /// Moves the file aside when it is large. Opens the path anew when it no longer is our file,
    /// also because logrotate moved it away: no signal is needed.
    pub(super) fn follow_rotation(&mut self) {
        let found = fs::metadata(&self.path)
            .ok()
            .filter(|found| self.open.is_some() && found.ino() == self.inode);
        let full = found
            .as_ref()
            .is_some_and(|found| found.len() >= self.rotation.size.load(Ordering::Relaxed));
        let keep = self.rotation.keep.load(Ordering::Relaxed);
        if full && let Err(error) = move_aside(&self.path, keep) {
            return self.complain(&error);
        }
        if full || found.is_none() {
            match open(&self.path) {
                Ok((file, inode)) => (self.open, self.inode) = (Some(file), inode),
                Err(error) => self.complain(&error),
            }
        }
    }

    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = match &mut self.open {
            Some(file) => file.write_all(lines),
            None => Err(io::Error::other("it cannot be opened")),
        };
        match &written {
            Ok(()) => self.failing = false,
            Err(error) => self.complain(error),
        }
        written
    }

    /// Once per trouble, not once per line.
    fn complain(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::error!(path = %self.path.display(), %error, "the access log cannot be \
                written; records are counted as dropped");
        }
        self.failing = true;
    }
}

/// `access.log` becomes `access.log.1`, that becomes `access.log.2`, and so on; what would be more
/// than `keep` goes.
fn move_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    // More than that were kept before the configuration changed.
    for number in (keep.max(1)..).take_while(|number| numbered(*number).exists()) {
        gone(fs::remove_file(numbered(number)))?;
    }
    for number in (1..keep).rev() {
        gone(fs::rename(numbered(number), numbered(number + 1)))?;
    }
    gone(if keep == 0 { fs::remove_file(path) } else { fs::rename(path, numbered(1)) })
}

fn open(path: &Path) -> io::Result<(fs::File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let inode = file.metadata()?.ino();
    Ok((file, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let names = || {
            let mut names: Vec<_> = fs::read_dir(dir.path())
                .unwrap()
                .map(|it| it.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        for text in ["1", "2", "3", "4"] {
            fs::write(&path, text).unwrap();
            move_aside(&path, 2).unwrap();
        }
        assert_eq!(names(), ["access.log.1", "access.log.2"]);
        assert_eq!(fs::read_to_string(dir.path().join("access.log.1")).unwrap(), "4");
        // With fewer, those that are too many go; with none, nothing but what is written stays.
        fs::write(&path, "5").unwrap();
        move_aside(&path, 1).unwrap();
        assert_eq!(names(), ["access.log.1"]);
        fs::write(&path, "6").unwrap();
        move_aside(&path, 0).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_opened_is_opened_when_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/access.log");
        let rotation = Arc::new(Rotation::new(Rotate::default()));
        let mut file = File::new(path.clone(), rotation);
        assert!(file.write(b"lost\n").is_err());
        fs::create_dir(dir.path().join("later")).unwrap();
        file.follow_rotation();
        file.write(b"written\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "written\n");
    }
}

//! A log's file and those that it was moved aside to, open all at once, so that a rotation in the
//! middle of a search takes nothing away.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Files that are opened at most: more are a sign of something else than a rotated log.
const MOST: usize = 128;
/// Compressed ones cannot be read from their end.
const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "Z"];

/// The files of one log.
#[derive(Debug, Default)]
pub struct Files {
    /// Newest first.
    pub open: Vec<File>,
    /// Names of those that are left out, and why: `access.log.2.gz (compressed)`.
    pub skipped: Vec<String>,
}

impl Files {
    /// Opens the log at `path` and what lies beside it as `NAME.1`, `NAME-20261129` and the like.
    ///
    /// # Errors
    /// Its directory cannot be read. A single file that cannot be is skipped, and said.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut files = Self::once(path)?;
        // A rotation between listing and opening would hide one of them.
        for _ in 0..3 {
            let again = Self::once(path)?;
            if again.inodes() == files.inodes() {
                break;
            }
            files = again;
        }
        Ok(files)
    }

    fn inodes(&self) -> BTreeSet<u64> {
        self.open.iter().filter_map(|file| file.metadata().ok()).map(|about| about.ino()).collect()
    }

    fn once(path: &Path) -> io::Result<Self> {
        let (mut found, mut skipped) = (Vec::new(), Vec::new());
        for (name, place) in beside(path)? {
            if place
                .extension()
                .and_then(OsStr::to_str)
                .is_some_and(|end| COMPRESSED.contains(&end))
            {
                skipped.push(format!("{name} (compressed)"));
                continue;
            }
            match File::open(&place).and_then(|file| file.metadata().map(|about| (file, about))) {
                Ok((file, about)) if about.is_file() => found.push((
                    place == path,
                    about.mtime(),
                    about.mtime_nsec(),
                    about.ino(),
                    file,
                )),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => skipped.push(format!("{name} ({error})")),
            }
        }
        // The log itself is the newest, whatever its time says: it may not have been written since
        // the others were.
        found.sort_by_key(|(newest, seconds, nanos, ..)| {
            std::cmp::Reverse((*newest, *seconds, *nanos))
        });
        let mut seen = BTreeSet::new();
        found.retain(|(_, _, _, inode, _)| seen.insert(*inode));
        found.truncate(MOST);
        skipped.sort();
        Ok(Self { open: found.into_iter().map(|(.., file)| file).collect(), skipped })
    }
}

/// The log and what its name is the beginning of.
fn beside(path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let own = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name
            .strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
        {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, time::Duration};

    use super::*;

    #[test]
    fn newest_first_and_what_is_left_out_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let begin = std::time::UNIX_EPOCH + Duration::from_secs(1000);
        for (name, age) in [
            ("access.log", 500),
            ("access.log.1", 10),
            ("access.log-20261128", 20),
            ("access.log.2", 30),
        ] {
            let place = dir.path().join(name);
            std::fs::write(&place, name).unwrap();
            File::options()
                .write(true)
                .open(&place)
                .unwrap()
                .set_modified(begin - Duration::from_secs(age))
                .unwrap();
        }
        for other in ["access.log.3.gz", "access.logs", "audit.jsonl"] {
            std::fs::write(dir.path().join(other), "x").unwrap();
        }
        std::fs::create_dir(dir.path().join("access.log.d")).unwrap();
        std::fs::hard_link(dir.path().join("access.log.1"), dir.path().join("access.log.9"))
            .unwrap();
        let files = Files::of(&path).unwrap();
        let content = |mut file: &File| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        let order: Vec<_> = files.open.iter().map(content).collect();
        assert_eq!(order, ["access.log", "access.log.1", "access.log-20261128", "access.log.2"]);
        assert_eq!(files.skipped, ["access.log.3.gz (compressed)"]);
        assert!(Files::of(&dir.path().join("none/access.log")).is_err());
        assert!(Files::of(&dir.path().join("other.log")).unwrap().open.is_empty());
    }
}

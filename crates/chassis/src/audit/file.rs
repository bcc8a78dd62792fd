//! The file behind the journal: appended to, line by line, and moved aside when it is large.
//! `audit.jsonl.1` is younger than `audit.jsonl.2`.
//!
//! Nothing that was written is lost by moving: a file is renamed whole, and only the oldest of
//! [`KEPT`] makes room for a younger one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// A file this large is moved aside before the next record.
const LARGEST: u64 = 4 << 20;
/// Files that were moved aside and are kept.
pub(super) const KEPT: u32 = 4;

/// The file.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    size: u64,
    /// Moved aside at this size: [`LARGEST`], or more after that was in vain.
    full_at: u64,
    largest: u64,
    /// It ends in the middle of a line: the disk was full, or the machine stopped.
    torn: bool,
}

impl Lines {
    /// Opens it, making it where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::limited(path, LARGEST)
    }

    fn limited(path: &Path, largest: u64) -> io::Result<Self> {
        let mut file = append_to(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        let mut last = [b'\n'];
        if size > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            size,
            full_at: largest,
            largest,
            torn: last != [b'\n'],
        })
    }

    /// Appends a line, which ends with its newline. After an error it is not there, and whatever is
    /// of it spoils no other line.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size >= self.full_at
            && let Err(error) = self.move_aside()
        {
            self.full_at = self.size + self.largest / 4;
            tracing::warn!(path = %self.path.display(), "cannot move the audit records aside, the \
                file grows: {error}");
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
            self.size += 1;
        }
        // One write, so that a kill leaves all of it or nothing.
        if let Err(error) = self.file.write_all(line) {
            self.torn = true;
            return Err(error);
        }
        self.size += line.len() as u64;
        Ok(())
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn move_aside(&mut self) -> io::Result<()> {
        // A stop in the middle leaves a gap; what is older than the gap can stay where it is.
        let gap = (1..KEPT).find(|number| !self.aside(*number).exists()).unwrap_or(KEPT);
        for number in (1..gap).rev() {
            fs::rename(self.aside(number), self.aside(number + 1))?;
        }
        if self.path.exists() {
            fs::rename(&self.path, self.aside(1))?;
        }
        // Where this fails, the file that was moved is still open and goes on being written.
        self.file = append_to(&self.path)?;
        (self.size, self.full_at, self.torn) = (0, self.largest, false);
        Ok(())
    }

    /// What is there now, newest file first, each with its size now: what is appended meanwhile is
    /// not in the middle of being written.
    pub(super) fn files(&self) -> Vec<(File, u64)> {
        let paths =
            std::iter::once(self.path.clone()).chain((1..=KEPT).map(|number| self.aside(number)));
        let open = |path: PathBuf| {
            let file = File::open(path).ok()?;
            let size = file.metadata().ok()?.len();
            Some((file, size))
        };
        paths.filter_map(open).collect()
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &Lines) -> Vec<String> {
        lines
            .files()
            .into_iter()
            .map(|(file, size)| io::read_to_string(file.take(size)).unwrap())
            .collect()
    }

    #[test]
    fn files_are_moved_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut lines = Lines::limited(&path, 4).unwrap();
        for line in ["a\n", "b\n", "c\n", "d\n", "e\n"] {
            lines.append(line.as_bytes()).unwrap();
        }
        assert_eq!(texts(&lines), ["e\n", "c\nd\n", "a\nb\n"]);
        drop(lines);
        let mut lines = Lines::limited(&path, 4).unwrap();
        for number in 0..20 {
            lines.append(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(
            texts(&lines).concat().lines().last(),
            Some("12"),
            "no more than {KEPT} are kept: {:?}",
            texts(&lines)
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1 + KEPT as usize);
    }

    #[test]
    fn a_stop_in_the_middle_of_moving_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        for (name, text) in
            [("audit.jsonl", "new\n"), ("audit.jsonl.2", "older\n"), ("audit.jsonl.3", "oldest\n")]
        {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut lines = Lines::limited(&path, 3).unwrap();
        lines.append(b"x\n").unwrap();
        assert_eq!(texts(&lines), ["x\n", "new\n", "older\n", "oldest\n"]);
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        fs::write(&path, "whole\nhal").unwrap();
        let mut lines = Lines::open(&path).unwrap();
        lines.append(b"next\n").unwrap();
        lines.append(b"last\n").unwrap();
        assert_eq!(texts(&lines), ["whole\nhal\nnext\nlast\n"]);
    }

    #[test]
    fn what_cannot_be_moved_is_written_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        // A directory that is not empty cannot be replaced by a file.
        fs::create_dir_all(dir.path().join("audit.jsonl.1/x")).unwrap();
        for number in 2..=KEPT {
            fs::create_dir_all(dir.path().join(format!("audit.jsonl.{number}/x"))).unwrap();
        }
        let mut lines = Lines::limited(&path, 2).unwrap();
        for line in ["a\n", "b\n", "c\n"] {
            lines.append(line.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }
}

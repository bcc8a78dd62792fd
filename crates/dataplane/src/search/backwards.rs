//! The lines of a file from its end to its beginning, some at a time.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Read at once.
pub const PIECE: usize = 256 * 1024;
/// A line is no longer; what is, is none of ours and left out.
const LONGEST: usize = 1 << 20;

/// Reads backwards.
#[derive(Debug)]
pub struct Backwards<'f> {
    file: &'f File,
    /// Everything from here on was read.
    at: u64,
    /// The end of a line whose beginning is before `at`.
    rest: Vec<u8>,
    /// What is in `rest` is a part of a line that is not wanted.
    spoiled: bool,
}

/// Some whole lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Piece {
    bytes: Vec<u8>,
}

impl Piece {
    /// From the last to the first.
    pub fn newest_first(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty())
    }

    /// From the first to the last.
    pub fn oldest_first(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

impl<'f> Backwards<'f> {
    /// From `end` on, which may be in the middle of a line: that one is left out, as is one that
    /// has no newline yet.
    #[must_use]
    pub const fn from(file: &'f File, end: u64) -> Self {
        Self { file, at: end, rest: Vec::new(), spoiled: true }
    }

    /// The lines before those that were read last, and how many bytes were read for it; none at the
    /// beginning of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn next(&mut self) -> io::Result<Option<(Piece, usize)>> {
        if self.at == 0 {
            return Ok(None);
        }
        let length = PIECE.min(usize::try_from(self.at).unwrap_or(PIECE));
        let begin = self.at - length as u64;
        let mut bytes = Vec::with_capacity(length + self.rest.len());
        bytes.resize(length, 0);
        self.file.read_exact_at(&mut bytes, begin)?;
        self.at = begin;
        // Where the last line ends that is whole on the right.
        if self.spoiled {
            let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                return Ok(Some((Piece::default(), length)));
            };
            bytes.truncate(end + 1);
            self.spoiled = false;
        } else {
            bytes.append(&mut self.rest);
        }
        if begin == 0 {
            return Ok(Some((Piece { bytes }, length)));
        }
        // What is before the first newline is the end of a line that begins further to the left.
        let first =
            bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| newline + 1);
        let whole = bytes.split_off(first);
        self.spoiled = bytes.len() > LONGEST;
        self.rest = if self.spoiled { Vec::new() } else { bytes };
        Ok(Some((Piece { bytes: whole }, length)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn all(file: &File, end: u64) -> Vec<Vec<u8>> {
        let (mut backwards, mut lines, mut read) = (Backwards::from(file, end), Vec::new(), 0);
        while let Some((piece, bytes)) = backwards.next().unwrap() {
            lines.extend(piece.newest_first().map(<[u8]>::to_vec));
            read += bytes;
        }
        assert_eq!(read as u64, end);
        lines
    }

    #[test]
    fn what_is_not_whole_is_left_out() {
        assert_eq!(all(&file(b"one\ntwo\nthr"), 11), [b"two", b"one"]);
        assert_eq!(all(&file(b"one\ntwo\n"), 6), [b"one"]);
        assert_eq!(all(&file(b"one"), 3), Vec::<Vec<u8>>::new());
        assert_eq!(all(&file(b""), 0), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_hides_no_other() {
        let mut bytes = b"first\n".to_vec();
        bytes.extend(std::iter::repeat_n(b'x', 5 << 20));
        bytes.extend_from_slice(b"\nlast\n");
        let lines = all(&file(&bytes), bytes.len() as u64);
        assert!(lines == [b"last".to_vec(), b"first".to_vec()], "{} lines", lines.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_line_comes_once(lengths in proptest::collection::vec(1..90_000_usize, 1..20)) {
            let line = |(number, length): (usize, &usize)| {
                vec![b'a' + u8::try_from(number).unwrap(); *length]
            };
            let lines: Vec<Vec<u8>> = lengths.iter().enumerate().map(line).collect();
            let mut bytes = lines.join(&b'\n');
            bytes.push(b'\n');
            let mut found = all(&file(&bytes), bytes.len() as u64);
            found.reverse();
            prop_assert!(found == lines, "{} lines of {}", found.len(), lines.len());
        }
    }
}

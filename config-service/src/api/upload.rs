//! A bundle that comes in pieces. Pure: pieces in, files out.

use proto::config::FileChunk;
use std::collections::BTreeMap;

const LARGEST_PIECE: usize = 1 << 20;
const MOST_FILES: usize = 10_000;
const LARGEST_BUNDLE: usize = 512 << 20;

/// Why an upload is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than 1 MiB in one message.
    #[error("a piece of {0} bytes; send at most 1 MiB at a time")]
    PieceTooLarge(usize),
    /// The first piece says nothing of its file.
    #[error("the first piece names no file")]
    NoPath,
    /// A file that had ended goes on, or comes twice.
    #[error("the file {0} comes twice")]
    Twice(String),
    /// More than 10,000 files.
    #[error("more than {0} files")]
    TooMany(usize),
    /// More than 512 MiB.
    #[error("a bundle of more than {0} bytes")]
    TooLarge(usize),
    /// A message without content, or the header in the wrong place.
    #[error("{0}")]
    OutOfPlace(&'static str),
}

/// Files as far as they have come.
#[derive(Debug, Default)]
pub struct Upload {
    files: BTreeMap<String, Vec<u8>>,
    current: Option<String>,
    size: usize,
}

impl Upload {
    /// Takes one piece.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn push(&mut self, chunk: FileChunk) -> Result<(), Malformed> {
        if chunk.data.len() > LARGEST_PIECE {
            return Err(Malformed::PieceTooLarge(chunk.data.len()));
        }
        self.size += chunk.data.len();
        if self.size > LARGEST_BUNDLE {
            return Err(Malformed::TooLarge(LARGEST_BUNDLE));
        }
        if !chunk.path.is_empty() && self.current.as_ref() != Some(&chunk.path) {
            if self.files.contains_key(&chunk.path) {
                return Err(Malformed::Twice(chunk.path));
            }
            if self.files.len() == MOST_FILES {
                return Err(Malformed::TooMany(MOST_FILES));
            }
            self.files.insert(chunk.path.clone(), Vec::new());
            self.current = Some(chunk.path);
        }
        let file = self
            .current
            .as_ref()
            .and_then(|path| self.files.get_mut(path))
            .ok_or(Malformed::NoPath)?;
        file.extend_from_slice(&chunk.data);
        Ok(())
    }

    pub fn files(self) -> BTreeMap<String, Vec<u8>> {
        self.files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(path: &str, data: &[u8]) -> FileChunk {
        FileChunk { path: path.into(), data: data.to_vec() }
    }

    #[test]
    fn pieces_become_files() {
        let mut upload = Upload::default();
        for (path, data) in [("a", "1"), ("", "2"), ("b", ""), ("b", "3")] {
            upload.push(chunk(path, data.as_bytes())).unwrap();
        }
        assert_eq!(upload.push(chunk("a", b"")), Err(Malformed::Twice("a".into())));
        assert_eq!(
            upload.files(),
            BTreeMap::from([("a".into(), b"12".to_vec()), ("b".into(), b"3".to_vec())])
        );
        assert_eq!(Upload::default().push(chunk("", b"1")), Err(Malformed::NoPath));
        assert_eq!(
            Upload::default().push(chunk("a", &vec![0; LARGEST_PIECE + 1])),
            Err(Malformed::PieceTooLarge(LARGEST_PIECE + 1))
        );
    }
}

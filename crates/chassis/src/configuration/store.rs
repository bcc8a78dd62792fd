//! Generations on disk: `generations.json`, `documents/<hash>.json`, `files/<sha256>`, all below
//! `configuration/` in the data dir.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    Files, Rendered,
    generation::{Generation, Generations},
};
use crate::data_dir::write_atomically;

/// Of a file that is hashed.
const PIECE: usize = 64 * 1024;

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether this is a SHA-256 in lower-case hex, and therefore safe as a file name.
pub(crate) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
}

impl Store {
    /// # Errors
    /// The directories cannot be made.
    pub(crate) fn open(root: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(root.join("documents"))?;
        fs::create_dir_all(root.join("files"))?;
        Ok(Self { root })
    }

    /// What is remembered; nothing on the first start.
    ///
    /// # Errors
    /// The file is there and unreadable.
    pub(crate) fn load(&self) -> io::Result<Generations> {
        match fs::read(self.root.join("generations.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Generations::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn save(&self, generations: &Generations) -> io::Result<()> {
        write_atomically(
            &self.root.join("generations.json"),
            &serde_json::to_vec_pretty(generations)?,
        )
    }

    pub(crate) fn save_document(&self, hash: &str, document: &[u8]) -> io::Result<()> {
        write_atomically(&self.document(hash), document)
    }

    fn document(&self, hash: &str) -> PathBuf {
        self.root.join("documents").join(format!("{hash}.json"))
    }

    /// Where the file with this hash is, or will be.
    pub(crate) fn file(&self, sha256: &str) -> PathBuf {
        self.root.join("files").join(sha256)
    }

    /// Where a generation's files are, by their paths in the bundle.
    pub(crate) fn files(&self, files: &BTreeMap<String, String>) -> Files {
        Files::new(files.iter().map(|(path, hash)| (path.clone(), self.file(hash))).collect())
    }

    /// Reads a generation and checks that every byte of it is there.
    ///
    /// # Errors
    /// Something is missing or changed.
    pub(crate) fn rendered(&self, generation: &Generation) -> io::Result<Rendered> {
        let document = verified(&self.document(&generation.hash), &generation.hash)?;
        for hash in generation.files.values() {
            check(&self.file(hash), hash)?;
        }
        Ok(Rendered {
            revision: generation.revision.clone(),
            hash: generation.hash.clone(),
            document: Bytes::from(document),
            files: self.files(&generation.files),
        })
    }

    /// Removes what no generation needs. Best effort: what stays is found by the next one.
    pub(crate) fn sweep(&self, generations: &Generations) {
        let documents: HashSet<String> =
            generations.documents().map(|hash| format!("{hash}.json")).collect();
        let files: HashSet<String> = generations.files().map(str::to_owned).collect();
        for (directory, kept) in [("documents", documents), ("files", files)] {
            let Ok(entries) = fs::read_dir(self.root.join(directory)) else { continue };
            for entry in entries.flatten() {
                if !kept.contains(&*entry.file_name().to_string_lossy())
                    && let Err(error) = fs::remove_file(entry.path())
                {
                    tracing::warn!("cannot remove {}: {error}", entry.path().display());
                }
            }
        }
    }
}

/// The content of a file, if it is still what it was.
fn verified(path: &Path, hash: &str) -> io::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    if sha256(&bytes) == hash { Ok(bytes) } else { Err(changed(path)) }
}

/// The same without its content: a list of a million lines is not held in memory for its hash.
fn check(path: &Path, hash: &str) -> io::Result<()> {
    let (mut file, mut digest, mut piece) = (fs::File::open(path)?, Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => digest.update(&piece[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if hex::encode(digest.finalize()) == hash { Ok(()) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> io::Error {
    let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    io::Error::new(io::ErrorKind::InvalidData, format!("the content of {name} is not what it was"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_many_pieces_is_what_it_was_or_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("list");
        for length in [0, 1, PIECE, 3 * PIECE + 7] {
            let mut content = vec![b'x'; length];
            fs::write(&path, &content).expect("written");
            let hash = sha256(&content);
            check(&path, &hash).expect("nothing changed");
            content.push(b'y');
            fs::write(&path, &content).expect("written");
            assert_eq!(
                check(&path, &hash).expect_err("one byte more").kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}

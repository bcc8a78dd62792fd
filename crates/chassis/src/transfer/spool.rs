//! Pieces become entries again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use proto::state as pb;
use sha2::{Digest, Sha256};

use super::{Malformed, is_name};

/// A piece that is taken.
const LARGEST_PIECE: usize = 1 << 20;
const MOST_ENTRIES: usize = 1_000_000;

/// An entry with the place of its content.
#[derive(Clone, Debug)]
struct Placed {
    entry: pb::Entry,
    offset: u64,
}

/// Entries as far as they have come.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    file: File,
    limit: u64,
    end: u64,
    entries: Vec<Placed>,
    names: BTreeMap<String, usize>,
    digest: Sha256,
}

impl Spool {
    /// Nothing yet. The content goes to a file of no name in `directory`, and is never more than
    /// `limit` bytes.
    ///
    /// # Errors
    /// [`Malformed::Disk`]
    pub fn create(directory: &Path, limit: u64) -> Result<Self, Malformed> {
        let directory = directory.to_owned();
        match tempfile::tempfile_in(&directory) {
            Ok(file) => Ok(Self {
                directory,
                file,
                limit,
                end: 0,
                entries: Vec::new(),
                names: BTreeMap::new(),
                digest: Sha256::new(),
            }),
            Err(source) => Err(Malformed::Disk { directory, source }),
        }
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// It cannot be called so.
    pub fn begin(&mut self, name: &str) -> Result<(), Malformed> {
        if !is_name(name) || self.names.contains_key(name) {
            return Err(Malformed::Name(name.chars().take(200).collect()));
        }
        if self.entries.len() == MOST_ENTRIES {
            return Err(Malformed::TooLarge(format!("{MOST_ENTRIES} entries")));
        }
        self.seal();
        self.names.insert(name.to_owned(), self.entries.len());
        self.entries.push(Placed {
            entry: pb::Entry { name: name.to_owned(), ..pb::Entry::default() },
            offset: self.end,
        });
        Ok(())
    }

    /// Adds to the entry that was begun last.
    ///
    /// # Errors
    /// There is none, it becomes too large, or the disk fails.
    pub fn write(&mut self, data: &[u8]) -> Result<(), Malformed> {
        let Some(last) = self.entries.last_mut() else {
            return Err(Malformed::OutOfPlace("the first piece has no name"));
        };
        let length = data.len() as u64;
        if self.limit - self.end < length {
            return Err(Malformed::TooLarge(format!("{} MiB", self.limit >> 20)));
        }
        self.file
            .write_all(data)
            .map_err(|source| Malformed::Disk { directory: self.directory.clone(), source })?;
        self.digest.update(data);
        self.end += length;
        last.entry.size += length;
        Ok(())
    }

    /// Takes a piece as it came.
    ///
    /// # Errors
    /// As for [`Spool::begin`] and [`Spool::write`].
    pub fn push(&mut self, chunk: &pb::Chunk) -> Result<(), Malformed> {
        if chunk.data.len() > LARGEST_PIECE {
            return Err(Malformed::TooLarge("1 MiB in one piece".to_owned()));
        }
        if !chunk.name.is_empty() {
            self.begin(&chunk.name)?;
        }
        self.write(&chunk.data)
    }

    fn seal(&mut self) {
        if let Some(last) = self.entries.last_mut() {
            last.entry.sha256 = hex::encode(std::mem::take(&mut self.digest).finalize());
        }
    }

    /// Everything has come: it is what the sender says that it sent.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(self, end: &pb::End) -> Result<Parcel, Malformed> {
        let parcel = self.close();
        let mut sent = end.entries.iter();
        for placed in parcel.entries.iter() {
            if sent.next() != Some(&placed.entry) {
                return Err(Malformed::Differs(placed.entry.name.clone()));
            }
        }
        match sent.next() {
            Some(missing) => Err(Malformed::Differs(missing.name.clone())),
            None => Ok(parcel),
        }
    }

    /// Everything was written here: there is nobody to compare it with.
    #[must_use]
    pub fn close(mut self) -> Parcel {
        self.seal();
        Parcel {
            file: Arc::new(self.file),
            entries: self.entries.into(),
            names: Arc::new(self.names),
        }
    }
}

/// Entries that are complete and are what they were when they were sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parcel {
    file: Arc<File>,
    entries: Arc<[Placed]>,
    names: Arc<BTreeMap<String, usize>>,
}

impl Parcel {
    /// Every entry, in the order in which it came.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &pb::Entry> {
        self.entries.iter().map(|placed| &placed.entry)
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entries().map(|entry| entry.size).sum()
    }

    /// The content of an entry, from its beginning; none when there is no such entry.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<Content> {
        let placed = &self.entries[*self.names.get(name)?];
        Some(Content {
            file: Arc::clone(&self.file),
            offset: placed.offset,
            left: placed.entry.size,
        })
    }

    /// The whole content of an entry; none when there is no such entry.
    ///
    /// # Errors
    /// The disk fails.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut content) = self.open(name) else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(content.left).unwrap_or(0));
        content.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Reads an entry.
#[derive(Debug)]
pub struct Content {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

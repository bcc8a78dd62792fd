//! Reading an archive, believing nothing of it: the digest of the whole first, then every entry
//! against the manifest.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use chassis::transfer::{self, Parcel, Spool};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    DIGEST, FORMAT, MANIFEST, Manifest, SKIPPABLE, TRAILER, ZSTD,
    manifest::{PKI, part_of},
};

/// A manifest with a line for every file of every revision.
const LARGEST_MANIFEST: u64 = 64 << 20;
/// Of every archive the manifest may have this much.
const SMALL_MANIFEST: u64 = 64 << 10;
/// How many times larger than its archive a manifest can be: half of each line is a hash, which
/// cannot be compressed.
const MANIFEST_RATIO: u64 = 16;
/// What an archive may hold in all, unpacked.
const LARGEST: u64 = 16 << 30;
/// Every archive may hold this much, however well it is compressed.
const SMALL: u64 = 1 << 30;
/// How many times larger than its archive the content can be.
const RATIO: u64 = 1000;
/// What a decompressor may have to look back at, as a power of two: what [`super::write`] needs,
/// and a little more.
const WINDOW: u32 = 23;
const BUFFER: usize = 256 << 10;

/// Why an archive is refused. Nothing has been touched then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Truncated, flipped, or never whole.
    #[error(
        "the archive is damaged ({0}): it was cut short or changed after it was made; restore \
         another backup, `shoal backup list` shows them"
    )]
    Damaged(String),
    #[error("this is no backup of Shoal: it does not begin and end like one")]
    NotOurs,
    /// Made by a newer version.
    #[error(
        "the archive is in format {format}, made by Shoal {version}, and this version ({}) reads \
         format {FORMAT}: restore it with that version",
        chassis::VERSION
    )]
    Newer {
        format: u32,
        /// Version of Shoal that made it.
        version: String,
    },
    /// The file system.
    #[error("the archive cannot be read: {0}")]
    Disk(#[source] io::Error),
    /// Where it is unpacked.
    #[error("the archive cannot be unpacked to be looked at: {0}")]
    Spool(transfer::Malformed),
}

/// An archive that is whole.
#[derive(Debug)]
pub struct Opened {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What is in it, by part. Empty when nobody asked for it.
    pub parts: BTreeMap<String, Parcel>,
    /// Of the file, in hex.
    pub sha256: String,
    /// Of the file, in bytes.
    pub size: u64,
}

/// Reads an archive from beginning to end. With `unpack`, a directory, what is in it is put
/// together there, in files of no name, so that what was looked at is what is used. `progress`
/// hears how many bytes of how many are done.
///
/// # Errors
/// Anything about it is not as it was when it was made.
pub fn read(
    path: &Path,
    unpack: Option<&Path>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Opened, Error> {
    let mut file = File::open(path).map_err(Error::Disk)?;
    let size = file.metadata().map_err(Error::Disk)?.len();
    let sha256 = digest(&mut file, size, |done| progress(done, size))?;
    file.rewind().map_err(Error::Disk)?;
    let content = BufReader::with_capacity(BUFFER, file).take(size - TRAILER as u64);
    let mut decoder = zstd::Decoder::with_buffer(content).map_err(damaged)?.single_frame();
    decoder.window_log_max(WINDOW).map_err(damaged)?;
    let mut tar = tar::Archive::new(decoder);
    let mut reader = Unpacking { unpack, spools: BTreeMap::new() };
    let manifest = entries(&mut tar, size, &mut reader)?;
    // Behind the last entry there is nothing but the padding of tar.
    let mut rest = tar.into_inner();
    let mut buffer = vec![0; BUFFER];
    loop {
        match rest.read(&mut buffer).map_err(damaged)? {
            0 => break,
            read if buffer[..read].iter().all(|byte| *byte == 0) => {}
            _ => return Err(Error::Damaged("something follows its last entry".to_owned())),
        }
    }
    let mut left = rest.finish();
    if left.read(&mut buffer[..1]).map_err(Error::Disk)? != 0 {
        return Err(Error::Damaged("something follows its end".to_owned()));
    }
    let parts = reader.spools.into_iter().map(|(part, spool)| (part, spool.close())).collect();
    Ok(Opened { manifest, parts, sha256, size })
}

/// What an archive says of itself, unproved: for lists.
///
/// # Errors
/// It cannot be read, or begins unlike a backup.
pub fn peek(path: &Path) -> Result<Manifest, Error> {
    let file = File::open(path).map_err(Error::Disk)?;
    let size = file.metadata().map_err(Error::Disk)?.len();
    let mut decoder =
        zstd::Decoder::with_buffer(BufReader::new(file)).map_err(|_| Error::NotOurs)?;
    decoder.window_log_max(WINDOW).map_err(damaged)?;
    let mut tar = tar::Archive::new(decoder);
    let first =
        tar.entries().map_err(damaged)?.raw(true).next().ok_or(Error::NotOurs)?.map_err(damaged)?;
    manifest(first, size)
}

fn damaged(error: io::Error) -> Error {
    Error::Damaged(error.to_string())
}

/// The SHA-256 of the whole file, whose end has to say what everything before it comes to.
fn digest(file: &mut File, size: u64, mut progress: impl FnMut(u64)) -> Result<String, Error> {
    let mut begins = [0; 4];
    let at_all = file.read_exact(&mut begins).is_ok() && begins == ZSTD;
    if !at_all || size < (TRAILER + 4) as u64 {
        return Err(if size == 0 {
            Error::Damaged("it is empty".to_owned())
        } else {
            Error::NotOurs
        });
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::Disk)?;
    let (mut digest, mut left) = (Sha256::new(), size - TRAILER as u64);
    let mut buffer = vec![0; BUFFER];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let read = file.read(&mut buffer[..most]).map_err(Error::Disk)?;
        if read == 0 {
            return Err(Error::Damaged("it became shorter while it was read".to_owned()));
        }
        digest.update(&buffer[..read]);
        left -= read as u64;
        progress(size - left);
    }
    let mut trailer = [0; TRAILER];
    file.read_exact(&mut trailer).map_err(Error::Disk)?;
    let (frame, said) = trailer.split_at(TRAILER - DIGEST);
    if !frame.starts_with(&SKIPPABLE) || frame[4..] != [32, 0, 0, 0] {
        return Err(Error::Damaged("its end is missing".to_owned()));
    }
    if *said != digest.clone().finalize()[..] {
        return Err(Error::Damaged("its content is not what its end says".to_owned()));
    }
    digest.update(trailer);
    Ok(hex::encode(digest.finalize()))
}

/// Goes through all entries; answers the manifest that they are as.
fn entries(
    tar: &mut tar::Archive<impl Read>,
    size: u64,
    reader: &mut Unpacking,
) -> Result<Manifest, Error> {
    // Raw: what tar has for long names would be read into memory, however long. Ours are in the
    // headers.
    let mut found = tar.entries().map_err(damaged)?.raw(true);
    let first =
        found.next().ok_or_else(|| Error::Damaged("it is empty".to_owned()))?.map_err(damaged)?;
    let manifest = manifest(first, size)?;
    let total =
        manifest.entries.iter().try_fold(0_u64, |total, entry| total.checked_add(entry.size));
    if total.is_none_or(|total| total > LARGEST) {
        return Err(Error::Damaged(format!(
            "it says that it holds more than {} GiB",
            LARGEST >> 30
        )));
    }
    if total.is_some_and(|total| total > SMALL.max(size.saturating_mul(RATIO))) {
        return Err(Error::Damaged(format!(
            "it says that it holds more than {RATIO} times its size"
        )));
    }
    for expected in &manifest.entries {
        let missing = || Error::Damaged(format!("{} is missing", expected.name));
        let mut entry = found.next().ok_or_else(missing)?.map_err(damaged)?;
        let part = part_of(&expected.name).to_owned();
        let known = part == PKI || manifest.parts.contains_key(&part);
        if *entry.path_bytes() != *expected.name.as_bytes()
            || !entry.header().entry_type().is_file()
            || !known
        {
            return Err(missing());
        }
        if entry.size() != expected.size
            || reader.take(&part, &expected.name, &mut entry)? != expected.sha256
        {
            return Err(Error::Damaged(format!("{} is not what it was", expected.name)));
        }
    }
    match found.next() {
        None => Ok(manifest),
        Some(_) => {
            Err(Error::Damaged("it holds something that its manifest does not name".to_owned()))
        }
    }
}

#[derive(Deserialize)]
struct Beginning {
    format: u32,
    #[serde(default)]
    version: String,
}

/// Reads the manifest of an archive of `size` bytes. Nothing has been proved of it yet, so it takes
/// no more memory than one of that size can need.
fn manifest<R: Read>(mut entry: tar::Entry<'_, R>, size: u64) -> Result<Manifest, Error> {
    if *entry.path_bytes() != *MANIFEST.as_bytes() || !entry.header().entry_type().is_file() {
        return Err(Error::NotOurs);
    }
    let most = LARGEST_MANIFEST.min(SMALL_MANIFEST.max(size.saturating_mul(MANIFEST_RATIO)));
    if entry.size() > most {
        return Err(Error::Damaged(format!(
            "its manifest is said to have {} bytes, of an archive of {size}",
            entry.size()
        )));
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(damaged)?;
    let said =
        |error: serde_json::Error| Error::Damaged(format!("its manifest cannot be read: {error}"));
    let beginning: Beginning = serde_json::from_slice(&text).map_err(said)?;
    if beginning.format > FORMAT {
        let version = beginning.version.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(Error::Newer { format: beginning.format, version });
    }
    serde_json::from_slice(&text).map_err(said)
}

/// Takes entries, and keeps them where somebody wants them.
struct Unpacking<'a> {
    unpack: Option<&'a Path>,
    spools: BTreeMap<String, Spool>,
}

impl Unpacking<'_> {
    /// Reads an entry to its end; answers its SHA-256.
    fn take(&mut self, part: &str, name: &str, entry: &mut impl Read) -> Result<String, Error> {
        let spool = |problem: transfer::Malformed| match problem {
            problem @ transfer::Malformed::Disk { .. } => Error::Spool(problem),
            problem => Error::Damaged(problem.to_string()),
        };
        let mut to = match self.unpack {
            None => None,
            Some(directory) => {
                if !self.spools.contains_key(part) {
                    let new = Spool::create(directory, LARGEST).map_err(spool)?;
                    self.spools.insert(part.to_owned(), new);
                }
                self.spools.get_mut(part)
            }
        };
        if let Some(to) = &mut to {
            to.begin(
                name.strip_prefix(part).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default(),
            )
            .map_err(spool)?;
        }
        let (mut digest, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
        loop {
            let read = entry.read(&mut buffer).map_err(damaged)?;
            if read == 0 {
                return Ok(hex::encode(digest.finalize()));
            }
            digest.update(&buffer[..read]);
            if let Some(to) = &mut to {
                to.write(&buffer[..read]).map_err(spool)?;
            }
        }
    }
}

//! The PKI in a backup: only when a directory is named for it, and only encrypted for people who
//! are named too (age, X25519).
//!
//! Whoever has the CA's key is the cluster. The service that makes backups can therefore put it
//! into an archive and never take it out again: opening needs a private key that is nowhere in the
//! cluster. Nothing runs without a PKI, so it is opened from the file alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use age::{Decryptor, Encryptor, IdentityFile, x25519::Recipient};
use chassis::transfer::is_name;

use crate::archive::{manifest::PKI, read};

/// The one entry of its part.
pub const ENTRY: &str = "pki.tar.age";
/// A PKI with thousands of certificates.
const LARGEST: u64 = 64 << 20;

/// Whose PKI is kept, and for whom.
#[derive(Clone, Debug)]
pub struct Source {
    /// Everything in it is kept.
    pub directory: PathBuf,
    /// Who can open it.
    pub recipients: Vec<Recipient>,
}

/// Why a PKI cannot be kept or opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the PKI in {0} cannot be read: {1}")]
    Read(PathBuf, #[source] io::Error),
    #[error("the PKI cannot be encrypted: {0}")]
    Encrypt(#[source] age::EncryptError),
    #[error(transparent)]
    Archive(#[from] crate::archive::Error),
    /// It has none.
    #[error(
        "this backup holds no PKI: only a backup-service with --pki-dir and --age-recipient keeps \
         one"
    )]
    None,
    /// The private key.
    #[error("the identity file {0} cannot be used: {1}; `age-keygen -o FILE` makes one")]
    Identity(PathBuf, String),
    /// Not for this key.
    #[error(
        "the PKI cannot be opened with this identity ({0}): use the one whose public key the \
         backup-service was given as --age-recipient"
    )]
    Decrypt(#[source] age::DecryptError),
    /// Where it goes.
    #[error("{0} is there already: name a directory that is not")]
    There(PathBuf),
    #[error("the PKI cannot be written to {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// What was decrypted.
    #[error("what was decrypted is no PKI: {0}")]
    Content(String),
}

/// Reads a public key (`age1…`).
///
/// # Errors
/// What it should have been.
pub fn recipient(text: &str) -> Result<Recipient, String> {
    text.parse().map_err(|reason| {
        format!(
            "{text:?} is no public key of age ({reason}); \
        `age-keygen` prints one that begins with age1"
        )
    })
}

/// Everything in the directory, encrypted.
///
/// # Errors
/// It cannot be read, or is much too large for a PKI.
pub fn seal(source: &Source) -> Result<Vec<u8>, Error> {
    let plain =
        pack(&source.directory).map_err(|error| Error::Read(source.directory.clone(), error))?;
    let recipients = source.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(Error::Encrypt)?;
    let mut sealed = Vec::with_capacity(plain.len() + 1024);
    let written = encryptor.wrap_output(&mut sealed).and_then(|mut writer| {
        writer.write_all(&plain)?;
        writer.finish().map(drop)
    });
    written.map_err(|error| Error::Encrypt(age::EncryptError::Io(error)))?;
    Ok(sealed)
}

fn pack(directory: &Path) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut files: Vec<_> = fs::read_dir(directory)?.collect::<io::Result<_>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut total = 0;
    for entry in files {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_file() || !is_name(&name) {
            continue;
        }
        let mut content = Vec::new();
        File::open(entry.path())?.take(LARGEST).read_to_end(&mut content)?;
        total += content.len() as u64;
        if total >= LARGEST {
            return Err(io::Error::other(format!("it has more than {} MiB", LARGEST >> 20)));
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(&name)?;
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        tar.append(&header, content.as_slice())?;
    }
    if total == 0 {
        return Err(io::Error::other("there is no file in it"));
    }
    tar.into_inner()
}

/// Takes the PKI out of an archive and writes it to a directory that is not there yet; answers the
/// names of its files. All of it or nothing.
///
/// # Errors
/// The archive is not whole, has none, is for somebody else, or the directory cannot be written.
pub fn open(archive: &Path, identity: &Path, to: &Path) -> Result<Vec<String>, Error> {
    if to.exists() {
        return Err(Error::There(to.to_owned()));
    }
    let refused = |problem: String| Error::Identity(identity.to_owned(), problem);
    let identities = IdentityFile::from_file(identity.display().to_string())
        .map_err(|error| refused(error.to_string()))?
        .into_identities()
        .map_err(|error| refused(error.to_string()))?;
    let parent =
        to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let disk = |error: io::Error| Error::Write(to.to_owned(), error);
    let opened = read::read(archive, Some(parent), |_, _| {})?;
    let part = opened.parts.get(PKI).ok_or(Error::None)?;
    let sealed = part.read(ENTRY).map_err(disk)?.ok_or(Error::None)?;
    let decryptor = Decryptor::new(sealed.as_slice()).map_err(Error::Decrypt)?;
    let plain = decryptor.decrypt(identities.iter().map(AsRef::as_ref)).map_err(Error::Decrypt)?;
    let files = unpack(plain)?;
    let scratch = tempfile::Builder::new().prefix(".pki-").tempdir_in(parent).map_err(disk)?;
    let staged = scratch.path().join("pki");
    DirBuilder::new().mode(0o700).create(&staged).map_err(disk)?;
    for (name, content) in &files {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged.join(name));
        file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
            .map_err(disk)?;
    }
    fs::rename(&staged, to).map_err(disk)?;
    Ok(files.into_iter().map(|(name, _)| name).collect())
}

/// Anybody can encrypt for a public key: what comes out is looked at like everything else that is
/// untrusted.
fn unpack(plain: impl Read) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let said = |error: io::Error| Error::Content(error.to_string());
    let mut tar = tar::Archive::new(plain.take(LARGEST * 2));
    let mut files = Vec::new();
    for entry in tar.entries().map_err(said)? {
        let mut entry = entry.map_err(said)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file()
            || !is_name(&name)
            || name.contains('/')
            || entry.size() > LARGEST
        {
            return Err(Error::Content(format!("{name:?} is no file of a PKI")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(said)?;
        files.push((name, content));
    }
    if files.is_empty() { Err(Error::Content("it is empty".to_owned())) } else { Ok(files) }
}

//! Writing an archive.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use super::{MANIFEST, Manifest, trailer};

/// Favours speed: the content is text for the most part.
const LEVEL: i32 = 3;

/// Writes everything that the manifest names; `content` answers what is in an entry. Answers the
/// SHA-256 of the whole and its size.
///
/// # Errors
/// An entry cannot be read or is not as long as the manifest says, or the archive cannot be
/// written.
pub fn write<W: Write, C: Read>(
    to: W,
    manifest: &Manifest,
    content: impl Fn(&str) -> io::Result<C>,
) -> io::Result<(String, u64)> {
    let mut encoder = zstd::Encoder::new(Hashing { to, digest: Sha256::new(), written: 0 }, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    let text = serde_json::to_vec_pretty(manifest)?;
    let at = u64::try_from(manifest.created_at.as_second()).unwrap_or(0);
    append(&mut tar, MANIFEST, text.len() as u64, at, text.as_slice())?;
    for entry in &manifest.entries {
        append(&mut tar, &entry.name, entry.size, at, content(&entry.name)?)?;
    }
    let mut hashing = tar.into_inner()?.finish()?;
    let trailer = trailer(&hashing.digest.clone().finalize());
    hashing.write_all(&trailer)?;
    hashing.flush()?;
    Ok((hex::encode(hashing.digest.finalize()), hashing.written))
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    at: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(at);
    header.set_cksum();
    let mut content = Counted { content: content.take(size), read: 0 };
    tar.append(&header, &mut content)?;
    if content.read == size {
        Ok(())
    } else {
        Err(io::Error::other(format!("{name} has {} bytes and not {size}", content.read)))
    }
}

struct Counted<R> {
    content: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

struct Hashing<W> {
    to: W,
    digest: Sha256,
    written: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.digest.update(&buffer[..written]);
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

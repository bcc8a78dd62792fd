//! A backup as one file: tar in zstd, with a manifest first and a digest of everything last.
//!
//! Any tool reads it (`tar --zstd -tf FILE`): the digest stands in a skippable frame (RFC 8878
//! §3.1.2), which decompressors pass over. Reading order: [`manifest`] (what is said of the
//! content), [`write`], [`read`].

pub mod manifest;
pub mod read;
pub mod write;

pub use manifest::{FORMAT, Manifest, Part, Reason};
pub use read::{Error, Opened};

/// Magic number of a skippable frame, one of the sixteen that there are.
const SKIPPABLE: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// Magic number of a zstd frame.
const ZSTD: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
const DIGEST: usize = 32;
/// The frame that holds the digest: magic number, length, content.
const TRAILER: usize = 4 + 4 + DIGEST;
/// The first entry.
const MANIFEST: &str = "manifest.json";

fn trailer(digest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(DIGEST).unwrap_or(0).to_le_bytes();
    [&SKIPPABLE[..], &length, digest].concat()
}

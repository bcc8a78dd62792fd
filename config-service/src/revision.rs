//! A revision: an immutable, content-addressed bundle.

use cluster_config::FileReference;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// An immutable, content-addressed bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Content address, see [`address`].
    pub id: String,
    /// Counts up from 1.
    pub number: u64,
    /// Id of the revision before; empty for the first.
    pub parent: String,
    /// In free text.
    pub author: String,
    /// Name in the certificate.
    pub committer: String,
    /// To the millisecond.
    pub committed_at: Timestamp,
    pub message: String,
}

/// The first 12 hex digits of the SHA-256 over parent, author, time, message and files (path and
/// hash each, sorted by path). Every part is preceded by its length, so that no two different
/// revisions are written the same.
pub fn address<'a>(
    parent: &str,
    author: &str,
    at: Timestamp,
    message: &str,
    files: impl IntoIterator<Item = &'a FileReference>,
) -> String {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(parent.as_bytes());
    part(author.as_bytes());
    part(&at.as_millisecond().to_be_bytes());
    part(message.as_bytes());
    for file in files {
        part(file.path.as_bytes());
        part(file.sha256.as_bytes());
    }
    let mut id = hex::encode(digest.finalize());
    id.truncate(12);
    id
}

/// What somebody calls a revision by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// `newest`
    Newest,
    /// `released`
    Released,
    /// An id, a unique beginning of one (at least 4 digits), or a number.
    Id(String),
}

impl Name {
    /// Reads what somebody wrote; `None`: it cannot be the name of a revision.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "newest" => Some(Self::Newest),
            "released" => Some(Self::Released),
            _ if (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Some(Self::Id(text.to_ascii_lowercase()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_depends_on_every_part() {
        let at = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        let file = |path: &str| FileReference { path: path.into(), sha256: "00".into(), size: 1 };
        let base = address("p", "a", at, "m", &[file("x")]);
        assert_eq!(base.len(), 12);
        let others = [
            address("", "pa", at, "m", &[file("x")]),
            address("p", "b", at, "m", &[file("x")]),
            address("p", "a", at + jiff::SignedDuration::from_millis(1), "m", &[file("x")]),
            address("p", "a", at, "n", &[file("x")]),
            address("p", "a", at, "m", &[file("y")]),
            address("p", "a", at, "m", &[]),
        ];
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(base, address("p", "a", at, "m", &[file("x")]));
    }

    #[test]
    fn names_of_revisions() {
        assert_eq!(Name::parse("newest"), Some(Name::Newest));
        assert_eq!(Name::parse("12"), Some(Name::Id("12".into())));
        assert_eq!(Name::parse("ABC123"), Some(Name::Id("abc123".into())));
        assert!(
            Name::parse("").is_none()
                && Name::parse("latest").is_none()
                && Name::parse("0123456789abc").is_none()
        );
    }
}

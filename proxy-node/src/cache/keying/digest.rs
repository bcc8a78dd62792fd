//! Digests by which URLs name what they are for.

use regex::bytes::Captures;
use sha2::{Digest as _, Sha256, Sha512};

/// A digest of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digest {
    value: Box<[u8]>,
}

impl Digest {
    /// That which a group named `sha256` or `sha512` of a match is, in hex. `None`: it is none.
    pub(super) fn of(found: &Captures<'_>) -> Option<Self> {
        [("sha256", 32), ("sha512", 64)].into_iter().find_map(|(name, length)| {
            let hex = found.name(name)?.as_bytes();
            let value: Option<Box<[u8]>> = hex.chunks(2).map(byte).collect();
            value.filter(|value| value.len() == length).map(|value| Self { value })
        })
    }

    /// The beginning of a check of a body.
    #[must_use]
    pub fn check(&self) -> Check {
        let hasher = if self.value.len() == 32 {
            Hasher::Sha256(Sha256::new())
        } else {
            Hasher::Sha512(Box::new(Sha512::new()))
        };
        Check { hasher, wants: self.clone() }
    }
}

fn byte(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = pair else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Whether a body is what its URL says, piece by piece.
pub struct Check {
    hasher: Hasher,
    wants: Digest,
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Check {
    /// More of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Whether that was it, to the end.
    #[must_use]
    pub fn holds(self) -> bool {
        match self.hasher {
            Hasher::Sha256(hasher) => hasher.finalize()[..] == self.wants.value[..],
            Hasher::Sha512(hasher) => hasher.finalize()[..] == self.wants.value[..],
        }
    }
}

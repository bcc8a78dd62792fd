//! The key that balancers and nodes share, with which a balancer proves itself at a node's relay
//! listener.

use std::{fmt, path::Path};

use crate::error::Error;

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// From its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As in its file: 64 hex digits and a line end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = hex::encode(self.0);
        text.push('\n');
        text
    }

    /// Reads it back; none when it is no key.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or holds no key.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let remedy = "pass the cluster.key that `shoal pki init` made";
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(format!("cannot read the cluster key {}: {error}", path.display()))
                .remedy(remedy)
        })?;
        Self::from_text(&text).ok_or_else(|| {
            Error::new(format!("{} holds no cluster key (64 hex digits)", path.display()))
                .remedy(remedy)
        })
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClusterKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let key = ClusterKey::new(std::array::from_fn(|n| n as u8 * 7));
        assert_eq!(ClusterKey::from_text(&key.to_text()), Some(key));
        assert_eq!(ClusterKey::from_text("12"), None);
        assert_eq!(ClusterKey::from_text(&"+1".repeat(32)), None);
        assert_eq!(ClusterKey::from_text(&"zz".repeat(32)), None);
    }
}

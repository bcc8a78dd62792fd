//! Compression of answers by a proxy-node.

use serde::{Deserialize, Serialize};

/// What is compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// The preferred first; at least one, each once.
    pub codings: Vec<Coding>,
    /// Media types in lower case; a `*` stands for any characters.
    pub types: Vec<String>,
    /// Bytes of the shortest body that is worth it.
    pub min_size: u64,
    /// Bytes of the longest.
    pub max_size: u64,
    /// 1 to 9.
    pub gzip_level: u32,
    /// 0 to 11.
    pub br_level: u32,
    /// 1 to 19.
    pub zstd_level: u32,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
}

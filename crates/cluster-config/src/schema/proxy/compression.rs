//! `proxy.compression`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size;
use crate::{
    document::compression as document,
    schema::notation::{MediaType, Size},
};

/// Compression of answers from the cache, by Accept-Encoding (RFC 9110 §12.5.3): of whole 200
/// answers that the cache keeps or is filling, that are not encoded yet, and that do not say
/// `no-transform`. Off unless `codings` names some.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compression {
    /// Which codings, the preferred first: of those that a client likes best the first one is
    /// taken. Empty: none.
    pub codings: Vec<Coding>,
    /// Media types that are worth it.
    pub types: Vec<MediaType>,
    /// Shorter bodies are sent as they are.
    pub min_size: Size,
    /// Longer bodies, too.
    pub max_size: Size,
    /// How hard gzip tries.
    #[schemars(range(min = 1, max = 9))]
    pub gzip_level: u32,
    /// How hard br tries.
    #[schemars(range(min = 0, max = 11))]
    pub br_level: u32,
    /// How hard zstd tries.
    #[schemars(range(min = 1, max = 19))]
    pub zstd_level: u32,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878, with a window of 256 KiB.
    Zstd,
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/javascript",
            "application/json",
            "application/*+json",
            "application/xml",
            "application/*+xml",
            "application/wasm",
            "image/svg+xml",
        ];
        #[expect(clippy::expect_used, reason = "constants, all read by the tests")]
        let media_type = |text| MediaType::parse(text).expect("a media type");
        Self {
            codings: Vec::new(),
            types: types.map(media_type).to_vec(),
            min_size: size("1KiB"),
            max_size: size("8MiB"),
            gzip_level: 5,
            br_level: 4,
            zstd_level: 3,
        }
    }
}

impl From<Coding> for document::Coding {
    fn from(written: Coding) -> Self {
        match written {
            Coding::Gzip => Self::Gzip,
            Coding::Br => Self::Br,
            Coding::Zstd => Self::Zstd,
        }
    }
}

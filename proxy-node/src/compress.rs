//! Compression of answers: which ([`eligible`]), how a client wants them ([`accept`]), the codings
//! ([`encoder`]), and the threads that do it ([`pool`]). Nothing is ever decompressed.
//!
//! Who has a body compressed and sends it is [`crate::fetch`]; it keeps what came of it beside the
//! body, so that a hot object is compressed once.

pub mod accept;
pub mod eligible;
pub mod encoder;
pub mod pool;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Br,
    Zstd,
}

impl Coding {
    /// As it stands in Content-Encoding.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Its number among the forms of a body.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Gzip => 1,
            Self::Br => 2,
            Self::Zstd => 3,
        }
    }
}

/// What is compressed, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The preferred first.
    pub codings: Vec<Coding>,
    /// Media types in lower case, with at most one `*` each.
    pub types: Vec<String>,
    /// Bytes of the shortest body that is worth it, and of the longest.
    pub sizes: std::ops::RangeInclusive<u64>,
    pub gzip_level: u32,
    pub br_level: u32,
    pub zstd_level: u32,
}

//! One body on its way through a coding, piece by piece.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

use super::{Coding, Settings};

/// Windows of br and zstd, as a power of two in bytes: what an encoder takes of memory goes by it.
const WINDOW: u32 = 18;

/// An encoder with what it has not given out yet.
pub enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Br(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// A new one.
    ///
    /// # Errors
    /// It cannot have its memory.
    pub fn new(coding: Coding, settings: &Settings) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => {
                Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(settings.gzip_level)))
            }
            Coding::Br => Self::Br(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                4096,
                settings.br_level,
                WINDOW,
            ))),
            Coding::Zstd => {
                let level = i32::try_from(settings.zstd_level).unwrap_or(3);
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Bytes of memory that one takes.
    #[must_use]
    pub const fn memory(coding: Coding) -> u64 {
        match coding {
            Coding::Gzip => 384 << 10,
            Coding::Br | Coding::Zstd => 2 << 20,
        }
    }

    /// More of the body. Answers what has come of it so far; `flush`: all of it, as nothing more is
    /// there for now.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn feed(&mut self, bytes: &[u8], flush: bool) -> io::Result<Vec<u8>> {
        let writer: &mut dyn Write = match self {
            Self::Gzip(encoder) => encoder,
            Self::Br(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        };
        writer.write_all(bytes)?;
        if flush {
            writer.flush()?;
        }
        Ok(std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Br(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }))
    }

    /// That was all of it. Answers the rest.
    ///
    /// # Errors
    /// The encoder fails.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Br(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out)),
            Coding::Br => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out)),
            Coding::Zstd => {
                drop(zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out));
            }
        }
        out
    }

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Br, Coding::Zstd];

    fn settings() -> Settings {
        Settings {
            codings: ALL.to_vec(),
            types: Vec::new(),
            sizes: 0..=1,
            gzip_level: 5,
            br_level: 4,
            zstd_level: 3,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_was_flushed_can_be_read_and_all_of_it_in_the_end(
            pieces in proptest::collection::vec(
                (proptest::collection::vec(0u8..8, 0..3000), any::<bool>()),
                0..6,
            ),
        ) {
            for coding in ALL {
                let mut encoder = Encoder::new(coding, &settings()).unwrap();
                let (mut plain, mut out) = (Vec::new(), Vec::new());
                for (piece, flush) in &pieces {
                    plain.extend_from_slice(piece);
                    out.extend(encoder.feed(piece, *flush).unwrap());
                    if *flush {
                        prop_assert_eq!(&decoded(coding, &out), &plain, "{:?}", coding);
                    }
                }
                out.extend(encoder.finish().unwrap());
                prop_assert_eq!(&decoded(coding, &out), &plain, "{:?}", coding);
            }
        }
    }
}

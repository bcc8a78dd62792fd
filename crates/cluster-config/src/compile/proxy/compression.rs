//! `compression`.

use super::Context;
use crate::{document::compression::Compression, schema::proxy as schema};

/// The document; none: nothing is compressed.
pub(super) fn compile(
    context: &mut Context,
    written: schema::Compression,
    memory: u64,
) -> Option<Compression> {
    let names = |coding: &schema::Coding| match coding {
        schema::Coding::Gzip => "gzip",
        schema::Coding::Br => "br",
        schema::Coding::Zstd => "zstd",
    };
    context.unique("coding", written.codings.iter().map(names), |index| {
        format!("compression/codings/{index}")
    });
    if written.codings.is_empty() {
        return None;
    }
    if memory == 0 {
        let message = "without a cache nothing is compressed: an answer that is not kept is sent \
            on as it came";
        context.warning("compression/codings", message, "give the cache some memory");
    }
    if written.min_size.value > written.max_size.value {
        let message = "min_size is larger than max_size: nothing is compressed";
        context.error("compression/min_size", message, "let min_size be the smaller one");
    }
    if written.br_level > 6 {
        let message = "br is slow at this level: an answer that is compressed as it comes waits \
            for it";
        context.warning("compression/br_level", message, "write 4 to 6");
    }
    Some(Compression {
        codings: written.codings.into_iter().map(Into::into).collect(),
        types: written.types.into_iter().map(|media_type| media_type.value).collect(),
        min_size: written.min_size.value,
        max_size: written.max_size.value,
        gzip_level: written.gzip_level,
        br_level: written.br_level,
        zstd_level: written.zstd_level,
    })
}

//! How large heads may be.

use super::Context;
use crate::{document::heads::RANGE, schema::notation::Size};

/// What is written, if heads can be that large.
pub fn size(context: &mut Context, written: Size, path: &str) -> u64 {
    if !RANGE.contains(&written.value) {
        context.error(path, "a head may have 4KiB to 96KiB", "write 64KiB, or leave the key out");
    }
    written.value
}

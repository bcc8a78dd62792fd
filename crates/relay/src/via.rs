//! Forwarding loops, found by our own pseudonym in Via (RFC 9110 §7.6.3).
//!
//! The pseudonym is name + cluster id, so that two clusters may chain, and a node may stand behind
//! another node, but no request passes the same instance twice.

use crate::field::Field;
use crate::head::Lines;
use crate::head::fields::list;

/// Whether a message has been here before: an entry of its Via was received by `pseudonym`.
///
/// Comments may hold commas and are cut apart; that can only find more entries, and none of ours
/// has a comment.
pub fn passed_through(lines: Lines<'_>, pseudonym: &str) -> bool {
    lines
        .all(Field::Via)
        .flat_map(list)
        .any(|entry| received_by(entry) == Some(pseudonym.as_bytes()))
}

/// The second word of `protocol received-by [comment]`.
fn received_by(entry: &[u8]) -> Option<&[u8]> {
    entry.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).nth(1)
}

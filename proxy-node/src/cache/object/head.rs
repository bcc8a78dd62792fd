//! The head of a stored response: its fields, and what a 304 makes of them.

use relay::head::Limits;

/// Name and value of every field of a head that we wrote ourselves.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    head.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
    })
}

/// The head of a stored response after a 304 (RFC 9111 §3.2): fields of the answer take the place
/// of the stored ones of the same name. `answer` holds lines without the status line. A head that
/// would become too large to be sent on stays as it was: an origin could otherwise let one grow
/// with every validation.
#[must_use]
pub fn refreshed(stored: &[u8], answer: &[u8]) -> Vec<u8> {
    let new: Vec<(&[u8], &[u8])> = fields(answer).filter(|(name, _)| !keeps(name)).collect();
    let mut head = Vec::with_capacity(stored.len() + answer.len());
    let line_end = stored.iter().position(|byte| *byte == b'\n').map_or(stored.len(), |at| at + 1);
    head.extend_from_slice(stored.get(..line_end).unwrap_or_default());
    let kept = fields(stored)
        .filter(|(name, _)| !new.iter().any(|(other, _)| name.eq_ignore_ascii_case(other)));
    for (name, value) in kept.chain(new.iter().copied()) {
        head.extend_from_slice(name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    }
    let most = Limits::default();
    if head.len() > most.head || fields(&head).count() > most.fields {
        stored.to_vec()
    } else {
        head
    }
}

/// The head of a whole, made of that of a part of it.
#[must_use]
pub fn whole(part: &[u8]) -> Vec<u8> {
    let line_end = part.iter().position(|byte| *byte == b'\n').map_or(part.len(), |at| at + 1);
    [b"HTTP/1.1 200 OK\r\n", part.get(line_end..).unwrap_or_default()].concat()
}

/// Fields of a 304 that say nothing about the stored body (RFC 9111 §3.2): they describe the
/// stored representation, not the answer.
fn keeps(name: &[u8]) -> bool {
    [
        &b"content-length"[..],
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"transfer-encoding",
        b"etag",
    ]
    .iter()
    .any(|kept| name.eq_ignore_ascii_case(kept))
}

#[cfg(test)]
mod tests;

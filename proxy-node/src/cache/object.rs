//! One stored response.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use relay::head::Limits;

use crate::cache::{
    body::Body, budget::Charge, facts::ResponseFacts, key::Key, policy::Freshness, vary::Selection,
};

/// What an object costs beside its bytes: the structure itself, its body's, maps, queues, and what
/// the allocator takes for a dozen allocations. Measured: `tests/it/memory.rs` fails when it is too
/// little.
pub const OVERHEAD: u64 = 1344;

/// One stored response: immutable but for its body, which may still be growing, and for what the
/// store keeps in it.
#[derive(Debug)]
pub struct Object {
    /// What it answers.
    pub key: Key,
    /// Status code.
    pub status: u16,
    /// Status line and fields as they are sent on, each line with its CRLF; without framing, Age,
    /// and the empty line.
    pub head: Bytes,
    /// Content-Type, for the log; empty: none.
    pub media_type: Box<str>,
    /// The request fields that select it.
    pub selection: Selection,
    /// Where it came from; `None`: a parent proxy.
    pub from: Option<SocketAddr>,
    /// How long it lives.
    pub freshness: Freshness,
    /// ETag.
    pub etag: Option<Bytes>,
    /// Last-Modified in Unix seconds.
    pub last_modified: Option<u64>,
    /// Last-Modified as the origin sent it.
    pub last_modified_text: Option<Bytes>,
    /// Bytes of the body where the origin said so in advance.
    pub declared: Option<u64>,
    /// The body.
    pub body: Arc<Body>,
    /// How often it was used since eviction last looked, up to 3.
    pub(super) used: AtomicU8,
    /// Bytes that the store has counted for it since its body is complete.
    pub(super) settled: AtomicU64,
    /// Whether the store still has it.
    pub(super) kept: AtomicBool,
    /// For everything but the body, which has its own.
    charge: Charge,
}

impl Object {
    /// A new object; the store has not seen it yet.
    #[must_use]
    pub fn new(
        key: Key,
        head: Bytes,
        facts: &ResponseFacts,
        selection: Selection,
        freshness: Freshness,
        declared: Option<u64>,
        body: Arc<Body>,
    ) -> Self {
        let media_type = fields(&head).find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        let media_type: Box<str> = media_type
            .map_or_else(Box::default, |(_, value)| String::from_utf8_lossy(value).into());
        let texts = [&facts.etag, &facts.last_modified_text]
            .into_iter()
            .flatten()
            .map(Bytes::len)
            .sum::<usize>();
        let bytes = head.len() + key.as_bytes().len() + media_type.len() + texts;
        Self {
            charge: body.budget().hold(OVERHEAD + bytes as u64 + selection.bytes()),
            key,
            status: facts.status,
            media_type,
            head,
            selection,
            from: None,
            freshness,
            etag: facts.etag.clone(),
            last_modified: facts.last_modified,
            last_modified_text: facts.last_modified_text.clone(),
            declared,
            body,
            used: AtomicU8::new(0),
            settled: AtomicU64::new(0),
            kept: AtomicBool::new(false),
        }
    }

    /// Length of the whole body where it is known: complete, or declared.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        if self.body.whole().is_some() { Some(self.body.len()) } else { self.declared }
    }

    /// Bytes of memory that it takes, with what there is of its body.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.charge.bytes() + self.body.charged()
    }

    /// Name and value of every field.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        fields(&self.head)
    }

    /// Whether the store still has it.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }

    /// Whether there is anything to validate it with.
    #[must_use]
    pub const fn has_validator(&self) -> bool {
        self.etag.is_some() || self.last_modified_text.is_some()
    }

    pub(super) fn touch(&self) {
        let used = self.used.load(Ordering::Relaxed);
        if used < 3 {
            self.used.store(used + 1, Ordering::Relaxed); // a lost count is no harm
        }
    }
}

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

/// Fields of a 304 that say nothing about the stored body (RFC 9111 §3.2): they describe the stored
/// representation, not the answer.
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
mod tests {
    use super::*;

    #[test]
    fn a_stored_head_does_not_grow_for_ever() {
        let mut head = b"HTTP/1.1 200 OK\r\nX: y\r\n".to_vec();
        for round in 0..200 {
            let answer: String =
                (0..20).map(|field| format!("X-{round}-{field}: {}\r\n", "z".repeat(50))).collect();
            head = refreshed(&head, format!("HTTP/1.1 304 Not Modified\r\n{answer}").as_bytes());
        }
        assert!(
            fields(&head).count() <= Limits::default().fields
                && fields(&head).any(|(name, _)| name == b"X")
        );
    }

    #[test]
    fn a_304_replaces_what_it_names_and_keeps_the_rest() {
        let stored = b"HTTP/1.1 200 OK\r\nDate: old\r\nX-A: 1\r\nContent-Type: \
            text/html\r\nCache-Control: max-age=1\r\n";
        let answer = b"HTTP/1.1 304 Not Modified\r\ndate: new\r\ncache-control: max-age=9\r\nX-B: \
            2\r\nContent-Type: x/y\r\n";
        let head = refreshed(stored, answer);
        assert_eq!(
            String::from_utf8(head).unwrap(),
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Type: text/html\r\ndate: new\r\ncache-control: \
             max-age=9\r\nX-B: 2\r\n"
        );
    }

    #[test]
    fn fields_of_a_head() {
        let found: Vec<_> = fields(b"HTTP/1.1 200 OK\r\nA: b:c\r\nEmpty:\r\n").collect();
        assert_eq!(found, [(&b"A"[..], &b"b:c"[..]), (b"Empty", b"")]);
    }
}

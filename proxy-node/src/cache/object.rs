//! One stored response.

mod head;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::cache::{
    budget::Charge,
    content::Content,
    facts::{Part, ResponseFacts},
    key::Key,
    policy::Freshness,
    tags::Tags,
    vary::Selection,
};
pub use head::{fields, refreshed, whole};

/// What an object costs beside its bytes: the structure itself, its body's, maps, queues, and what
/// the allocator takes for a dozen allocations. Measured: `tests/it/memory.rs` fails when it is too
/// little.
pub const OVERHEAD: u64 = 1664;

/// One stored response: immutable but for its body, which may still be growing, and for what the
/// store keeps in it.
#[derive(Debug)]
pub struct Object {
    /// What it answers.
    pub key: Key,
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
    pub etag: Option<Bytes>,
    /// Last-Modified in Unix seconds.
    pub last_modified: Option<u64>,
    /// Last-Modified as the origin sent it.
    pub last_modified_text: Option<Bytes>,
    /// Bytes of the body where the origin said so in advance.
    pub declared: Option<u64>,
    pub content: Content,
    /// What its origin calls it.
    pub tags: Tags,
    /// Which bytes these are, where they are not all (RFC 9111 §3.3).
    pub part: Option<Box<Part>>,
    /// Where it may be kept.
    pub placement: Placement,
    /// How often it was used since eviction last looked, up to 3.
    pub(super) used: AtomicU8,
    /// Bytes that the store has counted for it since its body is complete.
    pub(super) settled: AtomicU64,
    /// Whether the store still has it.
    pub(super) kept: AtomicBool,
    /// The newest purge when it began to be fetched: later ones may concern it.
    pub(super) begun: AtomicU64,
    /// It was purged softly: it is validated before it is used again.
    pub(super) purged: AtomicBool,
    /// For everything but the body, which has its own.
    charge: Charge,
}

/// Where an object may be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    #[default]
    Anywhere,
    /// In memory alone.
    Memory,
    /// On the disk alone, once it is whole.
    Disk,
}

/// What an object is made of.
#[derive(Debug)]
pub struct Parts {
    /// What it answers.
    pub key: Key,
    /// Status line and fields, as in [`Object::head`].
    pub head: Bytes,
    /// The request fields that select it.
    pub selection: Selection,
    /// Where it came from; `None`: a parent proxy.
    pub from: Option<SocketAddr>,
    /// How long it lives.
    pub freshness: Freshness,
    /// Bytes of the body where the origin said so in advance.
    pub declared: Option<u64>,
    pub content: Content,
}

impl Object {
    /// A new object of a response with these facts; the store has not seen it yet.
    #[must_use]
    pub fn new(facts: &ResponseFacts, parts: Parts) -> Self {
        let Parts { key, head, selection, from, freshness, declared, content } = parts;
        let media_type = fields(&head).find(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
        let media_type: Box<str> = media_type
            .map_or_else(Box::default, |(_, value)| String::from_utf8_lossy(value).into());
        let texts = [&facts.etag, &facts.last_modified_text]
            .into_iter()
            .flatten()
            .map(Bytes::len)
            .sum::<usize>();
        let tags = Tags::of(fields(&head));
        let bytes = head.len() + key.as_bytes().len() + media_type.len() + texts;
        let bytes = bytes as u64 + selection.bytes() + tags.bytes();
        Self {
            charge: content.budget().hold(OVERHEAD + bytes),
            key,
            status: facts.status,
            media_type,
            head,
            selection,
            from,
            freshness,
            etag: facts.etag.clone(),
            last_modified: facts.last_modified,
            last_modified_text: facts.last_modified_text.clone(),
            declared,
            content,
            tags,
            part: facts.part().cloned().map(Box::new),
            placement: Placement::default(),
            used: AtomicU8::new(0),
            settled: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            purged: AtomicBool::new(false),
        }
    }

    /// The same, to be kept there.
    #[must_use]
    pub fn placed(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// The same, of the memory of another: it counts as kept if that is.
    #[must_use]
    pub fn beside(self, other: &Self) -> Self {
        self.kept.store(other.is_kept(), Ordering::Release);
        self
    }

    /// Length of the whole body where it is known: complete, or declared.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        if self.content.is_complete() { Some(self.content.len()) } else { self.declared }
    }

    /// Bytes of memory that it takes, with what there is of its body.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.charge.bytes() + self.content.charged()
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

    /// Whether it was purged softly.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.purged.load(Ordering::Acquire)
    }

    /// Whether it can be validated with the origin: it is a whole 200 with a validator.
    #[must_use]
    pub fn can_be_validated(&self) -> bool {
        self.has_validator() && self.status == 200 && self.content.is_complete()
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

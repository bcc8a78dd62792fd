//! The bytes of a stored response: found at once, with the object that they belong to, and read
//! piece by piece, which may take a while.
//!
//! A place to keep them is a variant of [`Content`] and of [`Reader`] with a module beside
//! [`memory`]. Whoever fetches, serves or evicts asks these two and knows no variant. What has not
//! arrived as a whole is always in memory, where those who follow the fill read it.

pub mod disk;
pub mod memory;

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::cache::budget::Budget;

/// The bytes of a stored response.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory, and perhaps still growing.
    Memory(Arc<memory::Body>),
    /// On the disk, and complete.
    Disk(Arc<disk::Body>),
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// More of it.
    Segment(Bytes),
    /// That was all.
    End,
    /// It will never be complete: whoever passed it on must not let it look so.
    Failed,
}

impl Content {
    /// A reader at the beginning. `None` when the beginning has gone already.
    #[must_use]
    pub fn reader(&self) -> Option<Reader> {
        match self {
            Self::Memory(body) => memory::Reader::new(body).map(Reader::Memory),
            Self::Disk(body) => Some(Reader::Disk(disk::Reader::new(body))),
        }
    }

    /// The same bytes for another object, which may be evicted without this one.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Memory(body) => match body.whole() {
                Some(whole) => Self::Memory(memory::Body::of(body.budget(), whole.to_vec())),
                None => self.clone(),
            },
            Self::Disk(_) => self.clone(),
        }
    }

    /// All of it, where it is complete and can be sent without being waited for.
    #[must_use]
    pub fn at_hand(&self) -> Option<&[Bytes]> {
        match self {
            Self::Memory(body) => body.whole(),
            Self::Disk(_) => None,
        }
    }

    /// Whether it is on the disk, where reading it may take a while.
    #[must_use]
    pub const fn is_on_disk(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Whether everything has arrived, and is kept.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Memory(body) => body.whole().is_some(),
            Self::Disk(_) => true,
        }
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(body) => body.len(),
            Self::Disk(body) => body.length(),
        }
    }

    /// Whether nothing has arrived.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that are charged for it.
    #[must_use]
    pub fn charged(&self) -> u64 {
        match self {
            Self::Memory(body) => body.charged(),
            Self::Disk(_) => 0,
        }
    }

    /// The account that its memory is charged to.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        match self {
            Self::Memory(body) => body.budget(),
            Self::Disk(body) => body.budget(),
        }
    }

    /// For how many milliseconds nothing has arrived of what is still growing.
    #[must_use]
    pub fn silent_for(&self, now: u64) -> u64 {
        match self {
            Self::Memory(body) => body.silent_for(now),
            Self::Disk(_) => 0,
        }
    }

    /// Whether these bytes are what stands at this place of what has arrived. False where that
    /// cannot be said without waiting.
    #[must_use]
    pub fn matches(&self, at: u64, bytes: &[u8]) -> bool {
        match self {
            Self::Memory(body) => body.matches(at, bytes),
            Self::Disk(_) => false,
        }
    }

    /// Whether somebody holds its memory, so that eviction would not bring that back.
    #[must_use]
    pub fn is_held(&self) -> bool {
        match self {
            Self::Memory(body) => Arc::strong_count(body) > 1,
            Self::Disk(_) => false,
        }
    }

    /// Somebody needs its memory: who reads it slowly shall let it go.
    pub fn want_back(&self) {
        match self {
            Self::Memory(body) => body.want_back(),
            Self::Disk(_) => {}
        }
    }

    /// Whether somebody did since this was asked last.
    #[must_use]
    pub fn take_wanted_back(&self) -> bool {
        match self {
            Self::Memory(body) => body.take_wanted_back(),
            Self::Disk(_) => false,
        }
    }
}

/// One reader's place in the bytes of a response.
#[derive(Debug)]
pub enum Reader {
    /// Of what is in memory.
    Memory(memory::Reader),
    /// Of what is on the disk.
    Disk(disk::Reader),
}

impl Reader {
    /// Goes to a place, which may not be there yet; not back, as what was read may be gone.
    pub fn go_to(&mut self, at: u64) {
        match self {
            Self::Memory(reader) => reader.go_to(at),
            Self::Disk(reader) => reader.go_to(at),
        }
    }

    /// What comes next; waits for it.
    pub async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, as a poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        match self {
            Self::Memory(reader) => reader.poll_next(context),
            Self::Disk(reader) => reader.poll_next(context),
        }
    }
}

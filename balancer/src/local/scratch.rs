//! Memory that a worker uses again, so that a request allocates nothing for it.

use std::cell::RefCell;

use relay::head::{RequestHead, ResponseHead};

/// So much of each is kept while nobody uses it.
const KEPT: usize = 64;
/// What grew larger for one large head is not kept.
const LARGEST: usize = 64 * 1024;

/// What the attempts of one request need. Boxed, as it moves between the worker and its requests.
pub struct Scratch {
    /// The head being written.
    pub out: Vec<u8>,
    /// The response's head.
    pub response: ResponseHead,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { out: Vec::with_capacity(2048), response: ResponseHead::new() }
    }
}

/// The index of a request's head; boxed for the same reason.
pub type Head = Box<RequestHead>;

/// One worker's.
#[derive(Default)]
pub(super) struct Pools {
    #[expect(clippy::vec_box, reason = "they move between the worker and its requests")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    heads: RefCell<Vec<Head>>,
}

impl Pools {
    pub(super) fn head(&self) -> Head {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Box::new(RequestHead::new()))
    }

    pub(super) fn give_head(&self, head: Head) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < KEPT {
            kept.push(head);
        }
    }

    pub(super) fn scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn give(&self, scratch: Box<Scratch>) {
        let mut kept = self.scratch.borrow_mut();
        if kept.len() < KEPT && scratch.out.capacity() <= LARGEST {
            kept.push(scratch);
        }
    }
}

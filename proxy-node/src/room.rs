//! Room that a request needs beside its future, kept by the worker so that a request out of the
//! cache allocates little: large allocations are what an allocator is slow at.

use std::cell::RefCell;

use relay::head::RequestHead;

/// Kept of each kind: requests that one worker has under way at a time, as a rule.
const KEPT: usize = 64;
/// A buffer that grew beyond this for one large head is not kept, in bytes.
const LARGEST: usize = 16 * 1024;

/// Room for the index of a request's head; boxed, as it moves between the worker and its requests.
pub type Head = Box<RequestHead>;

/// A worker's spare room.
#[derive(Debug, Default)]
pub struct Rooms {
    heads: RefCell<Vec<Head>>,
    buffers: RefCell<Vec<Vec<u8>>>,
}

impl Rooms {
    /// Room for the index of a request's head. What it holds is the last one's.
    #[must_use]
    pub fn head(&self) -> Head {
        self.heads.borrow_mut().pop().unwrap_or_else(|| Box::new(RequestHead::new()))
    }

    /// Takes it back.
    pub fn give_head(&self, head: Head) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < KEPT {
            heads.push(head);
        }
    }

    /// An empty buffer for the heads that are written.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Takes it back.
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < KEPT && buffer.capacity() > 0 && buffer.capacity() <= LARGEST {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_no_larger_than_usual() {
        let rooms = Rooms::default();
        let mut buffer = rooms.buffer();
        buffer.extend_from_slice(b"HTTP/1.1 200 OK");
        let at = buffer.as_ptr();
        rooms.give_buffer(buffer);
        let again = rooms.buffer();
        assert!(again.is_empty() && again.as_ptr() == at);
        rooms.give_buffer(Vec::with_capacity(LARGEST + 1));
        assert!(rooms.buffer().capacity() <= LARGEST);
    }

    #[test]
    fn no_more_is_kept_than_is_used() {
        let rooms = Rooms::default();
        for _ in 0..2 * KEPT {
            rooms.give_head(Box::new(RequestHead::new()));
            rooms.give_buffer(Vec::with_capacity(8));
        }
        assert_eq!((rooms.heads.borrow().len(), rooms.buffers.borrow().len()), (KEPT, KEPT));
    }
}

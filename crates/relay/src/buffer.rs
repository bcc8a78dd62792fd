//! Read buffers that belong to a worker and are lent to connections while bytes are arriving.
//!
//! A connection that waits for its peer holds none: with many idle connections this is where the
//! memory would go.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::BytesMut;

/// Room that a read is offered at least: a whole request or a small response with its head.
pub const SIZE: usize = 16 * 1024;

/// Buffers kept for reuse; more are given back to the allocator.
const KEPT: usize = 64;

/// A worker's spare buffers.
#[derive(Clone, Default)]
pub struct Buffers(Rc<RefCell<Vec<BytesMut>>>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> BytesMut {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back that is empty; what it has grown beyond the usual is freed.
    pub(crate) fn give(&self, mut buffer: BytesMut) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < KEPT {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// Makes room for a read of `room` bytes, in place when nobody else holds a part of the buffer.
pub(crate) fn make_room(buffer: &mut BytesMut, room: usize) {
    if buffer.capacity() - buffer.len() < room {
        buffer.reserve(room.max(SIZE));
    }
}

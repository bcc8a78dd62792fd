//! Memory that a worker uses again, so that a request allocates little: large allocations are what
//! an allocator is slow at.

use std::{cell::RefCell, pin::Pin};

use relay::head::RequestHead;

/// Kept of each kind: requests that one worker has under way at a time, as a rule.
const KEPT: usize = 64;
/// A buffer that grew beyond this for one large head is not kept, in bytes.
const LARGEST: usize = 16 * 1024;
/// A new buffer has room for most heads, in bytes.
const USUAL: usize = 2048;

/// The index of a request's head; boxed, as it moves between the worker and its requests.
pub type Head = Box<RequestHead>;

/// What is worth using again.
pub trait Reuse {
    /// A new one.
    fn fresh() -> Self;

    /// Makes it ready for the next request; false: it has grown too large to be kept.
    fn reset(&mut self) -> bool;
}

impl Reuse for Head {
    fn fresh() -> Self {
        Self::new(RequestHead::new())
    }

    /// What it holds is the last request's until it is parsed into.
    fn reset(&mut self) -> bool {
        true
    }
}

/// A buffer for heads that are written.
impl Reuse for Vec<u8> {
    fn fresh() -> Self {
        Self::with_capacity(USUAL)
    }

    fn reset(&mut self) -> bool {
        self.clear();
        (1..=LARGEST).contains(&self.capacity())
    }
}

/// A worker's spare ones of a kind.
#[derive(Debug)]
pub struct Pool<T>(RefCell<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Reuse> Pool<T> {
    /// A spare one, or a new one; to be given back.
    #[must_use]
    pub fn take(&self) -> T {
        self.0.borrow_mut().pop().unwrap_or_else(T::fresh)
    }

    /// Takes it back.
    pub fn give(&self, mut used: T) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT && used.reset() {
            kept.push(used);
        }
    }
}

/// Memory on the heap for futures of one type, such as those of a worker's requests: some kilobytes
/// each, for which an allocator has no quick way. The memory that was given back last is used next,
/// as it is likely in the processor's cache.
#[derive(Debug)]
pub struct Futures<F>(RefCell<Vec<Pin<Box<F>>>>);

impl<F> Default for Futures<F> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<F: Future> Futures<F> {
    /// Puts a future on the heap; it is to be given back with [`give`](Self::give) once it has
    /// ended.
    #[must_use]
    pub fn put(&self, future: F) -> Pin<Box<F>> {
        match self.0.borrow_mut().pop() {
            Some(mut place) => {
                place.set(future);
                place
            }
            None => Box::pin(future),
        }
    }

    /// Takes the memory of one that has ended.
    pub fn give(&self, ended: Pin<Box<F>>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT {
            kept.push(ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_no_larger_than_usual() {
        let buffers = Pool::<Vec<u8>>::default();
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"HTTP/1.1 200 OK");
        let at = buffer.as_ptr();
        buffers.give(buffer);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == at);
        buffers.give(Vec::with_capacity(LARGEST + 1));
        assert!(buffers.take().capacity() <= LARGEST);
        buffers.give(Vec::new());
        assert!(buffers.take().capacity() > 0, "one that was moved out of is not kept");
    }

    #[test]
    fn no_more_is_kept_than_is_used() {
        let (heads, buffers) = (Pool::<Head>::default(), Pool::<Vec<u8>>::default());
        for _ in 0..2 * KEPT {
            heads.give(Head::fresh());
            buffers.give(Vec::with_capacity(8));
        }
        assert_eq!((heads.0.borrow().len(), buffers.0.borrow().len()), (KEPT, KEPT));
    }

    #[tokio::test]
    async fn the_memory_of_a_future_is_used_again() {
        let futures = Futures::default();
        let make = |number: u32| async move { number + 1 };
        let mut first = futures.put(make(1));
        let at = std::ptr::from_ref(&*first) as usize;
        assert_eq!(first.as_mut().await, 2);
        futures.give(first);
        let mut again = futures.put(make(5));
        assert_eq!(std::ptr::from_ref(&*again) as usize, at);
        let another = futures.put(make(7));
        assert_ne!(std::ptr::from_ref(&*another) as usize, at);
        assert_eq!((again.as_mut().await, another.await), (6, 8));
    }
}

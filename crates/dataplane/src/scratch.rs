//! Memory that a worker uses again, so that a request allocates little: large allocations are what
//! an allocator is slow at.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

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

/// Serves the requests of a worker's connections, each of them where another one was served before:
/// the future of a request is some kilobytes, for which an allocator has no quick way, and which to
/// move there anew for each request would take longer than anything else that is done with it. The
/// memory that was given back last is used next, as it is likely in the processor's cache.
///
/// `I` is a request, with the connection that it comes on, `O` what came of it.
pub struct Runners<I, O> {
    spare: RefCell<Vec<Runner<I, O>>>,
    make: Box<dyn Fn() -> Runner<I, O>>,
}

/// Serves one request after the other; a future of what comes of the one that it was given.
pub struct Runner<I, O> {
    hatch: Rc<Hatch<I, O>>,
    future: Pin<Box<dyn Future<Output = Infallible>>>,
}

/// Through which a runner gets a request, and what has come of it comes back.
struct Hatch<I, O> {
    input: Cell<Option<I>>,
    output: Cell<Option<O>>,
}

impl<I: 'static, O: 'static> Runners<I, O> {
    /// Of those that serve requests as `serve` does.
    #[must_use]
    pub fn new<F: Future<Output = O>>(serve: impl Fn(I) -> F + Copy + 'static) -> Self {
        let make = move || {
            let hatch = Rc::new(Hatch { input: Cell::default(), output: Cell::default() });
            let own = Rc::clone(&hatch);
            let future = async move {
                loop {
                    let input = poll_fn(|_| match own.input.take() {
                        Some(input) => Poll::Ready(input),
                        // Whoever gives it one polls it.
                        None => Poll::Pending,
                    });
                    let output = serve(input.await).await;
                    own.output.set(Some(output));
                }
            };
            Runner { hatch, future: Box::pin(future) }
        };
        Self { spare: RefCell::default(), make: Box::new(make) }
    }

    /// Begins to serve this; the runner is to be given back ([`end`](Self::end)) once it has
    /// answered.
    #[must_use]
    pub fn begin(&self, input: I) -> Runner<I, O> {
        let runner = self.spare.borrow_mut().pop().unwrap_or_else(|| (self.make)());
        runner.hatch.input.set(Some(input));
        runner
    }

    /// Takes one back that has answered.
    pub fn end(&self, runner: Runner<I, O>) {
        let mut kept = self.spare.borrow_mut();
        if kept.len() < KEPT {
            kept.push(runner);
        }
    }
}

impl<I, O> Future for Runner<I, O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let Poll::Pending = self.future.as_mut().poll(cx);
        self.hatch.output.take().map_or(Poll::Pending, Poll::Ready)
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
    async fn a_runner_that_has_answered_serves_the_next_and_one_at_work_does_not() {
        let runners = Runners::new(|number: u32| async move {
            // Not ready at once.
            tokio::task::yield_now().await;
            number + 1
        });
        let at = |runner: &Runner<_, _>| Rc::as_ptr(&runner.hatch) as usize;
        let mut first = runners.begin(1);
        let place = at(&first);
        assert_eq!((&mut first).await, 2);
        runners.end(first);
        let mut again = runners.begin(5);
        assert_eq!(at(&again), place);
        let mut another = runners.begin(7);
        assert_ne!(at(&another), place);
        assert_eq!(((&mut again).await, (&mut another).await), (6, 8));
        // One that is dropped while it serves is not used again, and what it served is dropped.
        let held = Rc::new(());
        let stuck = Runners::new(|held: Rc<()>| async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let mut at_work = stuck.begin(Rc::clone(&held));
        assert!(futures::poll!(&mut at_work).is_pending());
        drop(at_work);
        assert_eq!((Rc::strong_count(&held), stuck.spare.borrow().len()), (1, 0));
    }
}

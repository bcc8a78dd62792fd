//! A body that readers on any worker follow while one writer appends to it: immutable segments, in order.
//!
//! While it *retains*, every segment stays and readers may begin at any time: that is what the cache keeps. When it turns out to be too large,
//! it *stops retaining*: segments that all readers have passed go, the writer waits for the slowest reader, and nobody new may begin.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};

/// How far the writer may be ahead of the slowest reader once the body no longer retains, in bytes.
const WINDOW: u64 = 256 * 1024;
/// Segments of a finished body are merged up to this size, in bytes.
const MERGED: usize = 64 * 1024;

/// The body.
#[derive(Debug)]
pub struct Body {
    /// All of it and its length, once it is there: what hits read, without a lock.
    whole: OnceLock<(Box<[Bytes]>, u64)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    segments: VecDeque<Bytes>,
    /// How many segments have gone from the front.
    dropped: usize,
    /// Bytes in `segments`.
    held: u64,
    /// Bytes ever appended.
    length: u64,
    end: Option<End>,
    retains: bool,
    readers: Vec<Option<Place>>,
    writer: Option<Waker>,
}

#[derive(Debug, Default)]
struct Place {
    next: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Failed,
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

/// Nobody reads what nobody keeps: the writer may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwanted;

impl Body {
    /// An empty body that retains.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let state = State {
            segments: VecDeque::new(),
            dropped: 0,
            held: 0,
            length: 0,
            end: None,
            retains: true,
            readers: Vec::new(),
            writer: None,
        };
        Arc::new(Self { whole: OnceLock::new(), state: Mutex::new(state) })
    }

    /// Appends. The bytes are copied, so that a small piece never keeps a large read buffer alive.
    pub fn append(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.segments.push_back(Bytes::copy_from_slice(bytes));
        state.held += bytes.len() as u64;
        state.length += bytes.len() as u64;
        state.drop_passed();
        wake(state);
    }

    /// Nothing is missing.
    pub fn complete(&self) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(End::Complete);
        if state.retains {
            // Readers count segments, so the merged ones are for those who begin now.
            self.whole.get_or_init(|| (merged(&state.segments), state.length));
        }
        wake(state);
    }

    /// The rest will never come.
    pub fn fail(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Failed);
        wake(state);
    }

    /// Keeps nothing from now on but what readers have not read yet.
    pub fn stop_retaining(&self) {
        let mut state = self.lock();
        state.retains = false;
        state.drop_passed();
    }

    /// Waits until the writer may append. At once while the body retains.
    pub async fn room(&self) -> Result<(), Unwanted> {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.retains {
                return Poll::Ready(Ok(()));
            }
            if state.readers.iter().all(Option::is_none) {
                return Poll::Ready(Err(Unwanted));
            }
            state.drop_passed();
            if state.held < WINDOW {
                return Poll::Ready(Ok(()));
            }
            state.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether somebody reads it.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.lock().readers.iter().any(Option::is_some)
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.whole.get().map_or_else(|| self.lock().length, |(_, length)| *length)
    }

    /// Whether nothing has been appended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of it, once it is complete and kept.
    #[must_use]
    pub fn whole(&self) -> Option<&[Bytes]> {
        self.whole.get().map(|(segments, _)| &**segments)
    }

    /// Whether it ended before it was complete.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.lock().end == Some(End::Failed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves at worst a missing wake-up, which deadlines cover.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_passed(&mut self) {
        if self.retains {
            return;
        }
        let slowest = self.readers.iter().flatten().map(|place| place.next).min().unwrap_or(self.dropped + self.segments.len());
        while self.dropped < slowest {
            let Some(segment) = self.segments.pop_front() else { break };
            self.held -= segment.len() as u64;
            self.dropped += 1;
        }
    }
}

/// Wakes everybody who waits, after the lock is given back.
fn wake(mut state: MutexGuard<'_, State>) {
    let mut wakers: Vec<Waker> = state.readers.iter_mut().flatten().filter_map(|place| place.waker.take()).collect();
    wakers.extend(state.writer.take());
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

fn merged(segments: &VecDeque<Bytes>) -> Box<[Bytes]> {
    let mut out = Vec::new();
    let mut open = BytesMut::new();
    for segment in segments {
        if !open.is_empty() && open.len() + segment.len() > MERGED {
            out.push(Bytes::copy_from_slice(&open));
            open.clear();
        }
        open.extend_from_slice(segment);
    }
    if !open.is_empty() {
        out.push(Bytes::copy_from_slice(&open));
    }
    out.into()
}

/// One reader's place in a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    /// Index in `readers`; `None`: reads the whole without a lock.
    slot: Option<usize>,
    next: usize,
}

impl Reader {
    /// A reader at the beginning. `None` when the beginning has gone already.
    #[must_use]
    pub fn new(body: &Arc<Body>) -> Option<Self> {
        if body.whole().is_some() {
            return Some(Self { body: body.clone(), slot: None, next: 0 });
        }
        let mut state = body.lock();
        if state.dropped > 0 || (!state.retains && state.end.is_none() && state.length > 0) {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none).unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        if let Some(slot) = state.readers.get_mut(free) {
            *slot = Some(Place::default());
        }
        drop(state);
        Some(Self { body: body.clone(), slot: Some(free), next: 0 })
    }

    /// What comes next; waits for the writer.
    pub async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, as a poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        let Some(slot) = self.slot else {
            let next = self.body.whole().and_then(|segments| segments.get(self.next).cloned());
            self.next += 1;
            return Poll::Ready(next.map_or(Next::End, Next::Segment));
        };
        let mut guard = self.body.lock();
        let state = &mut *guard;
        if let Some(segment) = self.next.checked_sub(state.dropped).and_then(|at| state.segments.get(at)).cloned() {
            self.next += 1;
            if let Some(Some(place)) = state.readers.get_mut(slot) {
                place.next = self.next;
            }
            state.drop_passed();
            let writer = state.writer.take();
            drop(guard);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Next::Segment(segment));
        }
        match state.end {
            Some(End::Complete) => Poll::Ready(Next::End),
            Some(End::Failed) => Poll::Ready(Next::Failed),
            None => {
                if let Some(Some(place)) = state.readers.get_mut(slot) {
                    place.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut state = self.body.lock();
        if let Some(place) = state.readers.get_mut(slot) {
            *place = None;
        }
        state.drop_passed();
        let writer = state.writer.take();
        drop(state);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    fn poll(reader: &mut Reader) -> Poll<Next> {
        reader.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn drain(reader: &mut Reader) -> (Vec<u8>, Poll<Next>) {
        let mut bytes = Vec::new();
        loop {
            match poll(reader) {
                Poll::Ready(Next::Segment(segment)) => bytes.extend_from_slice(&segment),
                other => return (bytes, other),
            }
        }
    }

    fn room(body: &Body) -> Poll<Result<(), Unwanted>> {
        std::pin::pin!(body.room()).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn readers_follow_the_writer_and_late_ones_get_all() {
        let body = Body::new();
        let mut early = Reader::new(&body).unwrap();
        assert!(poll(&mut early).is_pending());
        body.append(b"one ");
        body.append(b"two");
        let mut middle = Reader::new(&body).unwrap();
        assert_eq!(drain(&mut early), (b"one two".to_vec(), Poll::Pending));
        body.append(b" three");
        body.complete();
        let mut late = Reader::new(&body).unwrap();
        assert_eq!(drain(&mut early), (b" three".to_vec(), Poll::Ready(Next::End)));
        assert_eq!(drain(&mut middle), (b"one two three".to_vec(), Poll::Ready(Next::End)));
        assert_eq!(drain(&mut late), (b"one two three".to_vec(), Poll::Ready(Next::End)));
        assert_eq!(body.whole().unwrap().len(), 1, "small segments are merged");
    }

    #[test]
    fn a_failure_reaches_readers_after_what_there_is() {
        let body = Body::new();
        let mut reader = Reader::new(&body).unwrap();
        body.append(b"half");
        body.fail();
        body.complete();
        assert_eq!(drain(&mut reader), (b"half".to_vec(), Poll::Ready(Next::Failed)));
        assert!(body.whole().is_none());
    }

    #[test]
    fn what_is_not_retained_waits_for_the_slowest_reader() {
        let body = Body::new();
        let chunk = vec![7; 100_000];
        let (mut fast, mut slow) = (Reader::new(&body).unwrap(), Reader::new(&body).unwrap());
        body.append(&chunk);
        body.stop_retaining();
        assert!(Reader::new(&body).is_none(), "nobody new may begin");
        body.append(&chunk);
        body.append(&chunk);
        assert!(room(&body).is_pending());
        assert_eq!(drain(&mut fast).0.len(), 300_000);
        assert!(room(&body).is_pending(), "the slow one holds it");
        assert!(matches!(poll(&mut slow), Poll::Ready(Next::Segment(_))));
        assert_eq!(room(&body), Poll::Ready(Ok(())));
        body.append(&chunk);
        assert!(room(&body).is_pending());
        drop(slow);
        assert_eq!(room(&body), Poll::Ready(Ok(())));
        drop(fast);
        assert_eq!(room(&body), Poll::Ready(Err(Unwanted)));
        assert_eq!(body.lock().held, 0);
    }
}

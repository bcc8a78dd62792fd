//! One reader of a body in memory.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Body,
    segments::{End, Place, offset},
};
use crate::cache::content::Next;

/// One reader's place in a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    /// Index in `readers`; `None`: reads the whole without a lock.
    slot: Option<usize>,
    at: u64,
    /// In the whole: the segment that it stands in, and where that begins.
    segment: (usize, u64),
}

impl Reader {
    /// A reader at the beginning. `None` when the beginning has gone already.
    #[must_use]
    pub fn new(body: &Arc<Body>) -> Option<Self> {
        let mut reader = Self { body: body.clone(), slot: None, at: 0, segment: (0, 0) };
        if body.whole().is_some() {
            return Some(reader);
        }
        let mut state = body.lock();
        if !state.retains && state.length() > 0 {
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
        reader.slot = Some(free);
        Some(reader)
    }

    /// Goes to a place, which may not be there yet; not back, as what was read may be gone.
    pub fn go_to(&mut self, at: u64) {
        self.at = at;
        self.segment = (0, 0);
        self.stand();
    }

    /// What comes next, or a promise to wake whoever asks.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some((whole, _)) = self.body.whole.get() {
            let (mut index, mut start) = self.segment;
            while let Some(segment) = whole.get(index) {
                let end = start + segment.len() as u64;
                if self.at < end {
                    let piece = segment.slice(offset(self.at, start)..);
                    self.at = end;
                    self.segment = (index + 1, end);
                    return Poll::Ready(Next::Segment(piece));
                }
                (index, start) = (index + 1, end);
            }
            return Poll::Ready(Next::End);
        }
        let body = self.body.clone();
        let mut state = body.lock();
        let place = self.slot.and_then(|slot| state.readers.get(slot)).and_then(Option::as_ref);
        if place.is_none_or(|place| place.cut) {
            return Poll::Ready(Next::Failed);
        }
        if let Some(piece) = state.part(self.at) {
            self.at += piece.len() as u64;
            drop(state);
            self.stand();
            return Poll::Ready(Next::Segment(piece));
        }
        match state.end {
            // The place may be further than its end.
            Some(End::Complete) if self.body.whole().is_none() => Poll::Ready(Next::End),
            Some(End::Complete) => {
                drop(state);
                self.poll_next(context)
            }
            Some(End::Failed) => Poll::Ready(Next::Failed),
            None => {
                if let Some(Some(place)) = self.slot.and_then(|slot| state.readers.get_mut(slot)) {
                    place.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Says where it stands.
    fn stand(&self) {
        let Some(slot) = self.slot else { return };
        let mut state = self.body.lock();
        if let Some(Some(place)) = state.readers.get_mut(slot) {
            place.at = self.at;
        }
        state.release();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut state = self.body.lock();
        if let Some(place) = state.readers.get_mut(slot) {
            *place = None;
        }
        if state.end.is_some() && state.readers.iter().all(Option::is_none) {
            state.readers = Vec::new();
        }
        state.release();
    }
}

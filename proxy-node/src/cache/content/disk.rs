//! A body on the disk, read piece by piece: no more than two pieces of it are in memory for each of
//! its readers. Its pieces stay readable as long as somebody has it, although the segment that they
//! are in may have been removed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Next;
use crate::cache::{
    budget::Budget,
    disk::{
        Disk,
        log::Shared,
        reads::{NotRead, Reads},
        record::Place,
        segment::Segment,
        stored::Extent,
    },
};

#[derive(Debug)]
pub struct Body {
    disk: Arc<Disk>,
    reads: Arc<Reads>,
    pieces: Box<[(Arc<Segment>, Extent)]>,
    length: u64,
    /// The record that refers to them.
    of: (u64, Place),
}

impl Body {
    /// The body that these pieces make. `None`: one of them has gone.
    #[must_use]
    pub fn new(
        disk: &Arc<Disk>,
        reads: &Arc<Reads>,
        shared: &Shared,
        extents: &[Extent],
        of: (u64, Place),
    ) -> Option<Self> {
        let pieces: Option<Box<[_]>> =
            extents.iter().map(|extent| Some((shared.segment(extent.segment)?, *extent))).collect();
        let length = extents.iter().map(|extent| u64::from(extent.length)).sum();
        Some(Self { disk: disk.clone(), reads: reads.clone(), pieces: pieces?, length, of })
    }

    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Where its pieces are.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        self.pieces.iter().map(|(_, extent)| *extent).collect()
    }

    /// The account that what is read is charged to.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        self.disk.budget()
    }
}

type Reading = oneshot::Receiver<Result<Bytes, NotRead>>;

/// One reader's place in a body.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Body>,
    /// The piece that comes next, and how much of it is left out.
    next: usize,
    skip: usize,
    reading: Option<Reading>,
    failed: bool,
}

impl Reader {
    /// A reader at the beginning.
    #[must_use]
    pub fn new(body: &Arc<Body>) -> Self {
        Self { body: body.clone(), next: 0, skip: 0, reading: None, failed: false }
    }

    /// Goes to a place.
    pub fn go_to(&mut self, at: u64) {
        let (mut next, mut begins) = (0, 0);
        while let Some((_, extent)) = self.body.pieces.get(next)
            && begins + u64::from(extent.length) <= at
        {
            begins += u64::from(extent.length);
            next += 1;
        }
        let skip = usize::try_from(at - begins).unwrap_or(usize::MAX);
        if next != self.next {
            self.reading = None;
        }
        (self.next, self.skip) = (next, skip);
    }

    /// What comes next, or a promise to wake whoever asks.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.failed {
            return Poll::Ready(Next::Failed);
        }
        if self.next >= self.body.pieces.len() {
            return Poll::Ready(Next::End);
        }
        if self.reading.is_none() {
            self.reading = self.ask(self.next);
        }
        let Some(reading) = &mut self.reading else { return self.fail(None) };
        match Pin::new(reading).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Ok(mut piece))) => {
                let piece = piece.split_off(self.skip.min(piece.len()));
                (self.next, self.skip, self.reading) = (self.next + 1, 0, None);
                if !self.body.budget().is_pressed() {
                    self.reading = self.ask(self.next);
                }
                Poll::Ready(Next::Segment(piece))
            }
            Poll::Ready(Ok(Err(error))) => self.fail(Some(&error)),
            Poll::Ready(Err(_)) => self.fail(None),
        }
    }

    fn ask(&self, piece: usize) -> Option<Reading> {
        let (segment, extent) = self.body.pieces.get(piece)?;
        self.body.reads.extent(segment, *extent)
    }

    fn fail(&mut self, error: Option<&NotRead>) -> Poll<Next> {
        (self.failed, self.reading) = (true, None);
        if let Some(error) = error {
            self.body.disk.spoiled(self.body.of, error);
        }
        Poll::Ready(Next::Failed)
    }
}

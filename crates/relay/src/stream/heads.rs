//! Reading message heads.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Stream;
use crate::clock;
use crate::exchange::HOLD_LIMIT;
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::head::{Limits, Progress, RequestHead, Response, ResponseHead};
use crate::interims::Interims;
use crate::malformed::Malformed;
use crate::wheel::Kind;

/// A half head is kept in this much room at least.
const SMALLEST: usize = 512;

/// How long the next request may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// `Idle`, or `Pooled` for connections that only the peer may close ([`Kind`]).
    pub idle_kind: Kind,
    /// Until its first byte.
    pub idle: Duration,
    /// From the first byte to the end of the head.
    pub head: Duration,
}

impl Stream {
    /// Reads the next request head. The bytes that it indexes are split off the read buffer,
    /// without a copy; what follows them stays in [`input`](Stream::input).
    ///
    /// `Ok(None)`: the connection ended, or nobody used it for `patience.idle`, before a byte of
    /// the request.
    ///
    /// # Errors
    /// `Malformed`, `Timeout(Head)`, `Closed` in the middle of the head, `Reset`, `Io`.
    pub async fn read_request(
        &mut self,
        head: &mut RequestHead,
        limits: &Limits,
        patience: &Patience,
    ) -> Result<Option<Bytes>, Fault> {
        head.reset();
        self.0.half_head_at = 0;
        let idle = self.0.input.is_empty();
        if idle {
            match self.fill(patience.idle_kind, patience.idle).await {
                Ok(0) | Err(Fault::Timeout(_)) => return Ok(None),
                // Clients leave idle connections in every way there is.
                Err(Fault::Closed | Fault::Reset) if self.0.received == 0 || self.0.uses > 0 => {
                    return Ok(None);
                }
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
        let mut parse = |bytes: &[u8]| head.parse(bytes, limits);
        let bytes = poll_fn(|cx| self.poll_head(cx, &mut parse, patience.head)).await?;
        self.count_use();
        Ok(Some(bytes))
    }

    /// Reads the final response head; `hint` is shown each interim one before it. `silence` is how
    /// long each may take, to its first byte and from there to its end.
    ///
    /// # Errors
    /// As [`read_response`](Self::read_response); also when interim ones come without end.
    pub async fn read_final_response(
        &mut self,
        head: &mut ResponseHead,
        limits: &Limits,
        (first_byte, rest): (Duration, Duration),
        interims: &mut Interims,
        mut hint: impl FnMut(Response<'_>),
    ) -> Result<Bytes, Fault> {
        loop {
            let bytes = self.read_response(head, limits, first_byte, rest).await?;
            if !interims.takes(head, &bytes, clock::now)? {
                return Ok(bytes);
            }
            hint(head.view(&bytes));
        }
    }

    /// Reads a response head (which may be an interim one). The bytes that it indexes are split off
    /// the read buffer.
    ///
    /// # Errors
    /// `Timeout(FirstByte)` or `Timeout(Head)`, `Malformed`, `Closed`, `Reset`, `Io`.
    pub async fn read_response(
        &mut self,
        head: &mut ResponseHead,
        limits: &Limits,
        first_byte: Duration,
        rest: Duration,
    ) -> Result<Bytes, Fault> {
        head.reset();
        if self.0.input.is_empty() && self.fill(Kind::FirstByte, first_byte).await? == 0 {
            return Err(Fault::Closed);
        }
        let mut parse = |bytes: &[u8]| head.parse(bytes, limits);
        let bytes = poll_fn(|cx| self.poll_head(cx, &mut parse, rest)).await?;
        self.note_sloppy(head.is_sloppy());
        Ok(bytes)
    }

    /// Parses what is there and reads more until a head is complete. `deadline` is for the whole of
    /// it.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        parse: &mut dyn FnMut(&[u8]) -> Result<Progress, Malformed>,
        deadline: Duration,
    ) -> Poll<Result<Bytes, Fault>> {
        loop {
            if !self.0.input.is_empty() {
                match parse(&self.0.input) {
                    Ok(Progress::Complete(length)) => {
                        self.0.reading.progressed();
                        self.release();
                        return Poll::Ready(Ok(self.0.input.split_to(length).freeze()));
                    }
                    Ok(Progress::NeedMore) => self.note_half_head(),
                    Err(malformed) => return Poll::Ready(Err(malformed.into())),
                }
            }
            // The deadline is the head's, not the next piece's: dripping bytes does not extend it.
            if !self.0.reading.timer.armed().get() {
                self.0.reading.arm(Kind::Head, deadline);
            }
            let half = self.is_of_client() && !self.0.input.is_empty();
            let read =
                if half { self.poll_more_of_head(cx) } else { self.poll_keeping_deadline(cx) };
            match read {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    let late = self.0.reading.poll(cx, Kind::Head, deadline);
                    if half && late.is_pending() {
                        self.wait_with_half();
                    }
                    return late.map(Err);
                }
            }
        }
    }

    /// Half a head is kept in no more room than it takes, and counted as its client's: thousands of
    /// them cost little, and not without end.
    fn wait_with_half(&mut self) {
        let input = &mut self.0.input;
        let fitting = input.len().next_power_of_two().max(SMALLEST);
        if input.capacity() > 2 * fitting {
            let mut small = BytesMut::with_capacity(fitting);
            small.extend_from_slice(input);
            let large = std::mem::replace(input, small);
            self.0.worker.buffers().give(large);
        }
        let takes = self.0.input.capacity();
        self.hold(takes);
    }

    /// Reads more of a client's head, into little room at first. The deadline is disarmed for the
    /// read, as in [`poll_keeping_deadline`](Self::poll_keeping_deadline), so that a byte of
    /// progress does not end it.
    fn poll_more_of_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        let input = &mut self.0.input;
        if input.capacity() - input.len() < SMALLEST {
            let more = input.len().max(SMALLEST);
            input.reserve(more);
        }
        let armed = self.0.reading.timer.armed().replace(false);
        let read = if self.0.ended { Poll::Ready(Ok(0)) } else { self.poll_read_into_room(cx) };
        self.0.reading.timer.armed().set(armed);
        read
    }

    /// Waits until `length` bytes of a body are there, or for `within`. Not an error: the time
    /// being up.
    ///
    /// # Errors
    /// `Closed` when the peer ends the connection before, `Reset`, `Io`.
    pub fn poll_hold(
        &mut self,
        cx: &mut Context<'_>,
        length: usize,
        within: Duration,
    ) -> Poll<Result<(), Fault>> {
        loop {
            if self.0.input.len() >= length {
                return Poll::Ready(Ok(()));
            }
            match self.poll_keeping_deadline(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => {
                    return self.0.reading.poll(cx, Kind::Hold, within).map(|_| Ok(()));
                }
            }
        }
    }

    /// Waits until a small body is there as a whole, but no longer than `within`: whoever has sent
    /// nothing on yet can still say that it broke off. A large one, and one of unknown length, is
    /// not waited for.
    ///
    /// # Errors
    /// As [`poll_hold`](Self::poll_hold).
    pub async fn gather(&mut self, framing: BodyFraming, within: Duration) -> Result<(), Fault> {
        let BodyFraming::Length(length @ 1..=HOLD_LIMIT) = framing else { return Ok(()) };
        if self.0.input.len() as u64 >= length {
            return Ok(());
        }
        // The deadline of the head is over, and that of the hold must not outlive it.
        self.expect_nothing();
        let held = poll_fn(|cx| self.poll_hold(cx, length as usize, within)).await;
        self.expect_nothing();
        held
    }

    /// Reads without extending the deadline that is armed: a read ends an armed one when bytes
    /// come, so it is not armed while the read lasts.
    pub(crate) fn poll_keeping_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Fault>> {
        let armed = self.0.reading.timer.armed().replace(false);
        let read = self.poll_read(cx, 0);
        self.0.reading.timer.armed().set(armed);
        Poll::Ready(ready!(read))
    }
}

//! Waiting for a response head while the request's body is pumped.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Error, Exchange};
use crate::fault::Fault;
use crate::head::{Limits, ResponseHead};
use crate::stream::Ahead;
use crate::wheel::Kind;

impl Exchange<'_> {
    pub(super) async fn wait_for_head<F, R>(
        &mut self,
        head: &mut ResponseHead,
        limits: &Limits,
        late: F,
    ) -> Result<Bytes, Error>
    where
        F: FnOnce() -> R,
        R: Future<Output = ()>,
    {
        head.reset();
        self.upstream.expect_nothing();
        let mut late = Some(late);
        let mut released = pin!(None);
        poll_fn(|cx| self.poll_first_byte(cx, &mut late, released.as_mut())).await?;
        let mut parse = |bytes: &[u8]| head.parse(bytes, limits);
        poll_fn(|cx| {
            if let Poll::Ready(Err(failure)) = self.poll_upload(cx) {
                return Poll::Ready(Err(failure));
            }
            match self.upstream.poll_head(cx, &mut parse, self.deadlines.head) {
                Poll::Pending => self.poll_watch(cx, Ahead::OfAnswer).map(Err),
                ready => ready.map_err(|fault| self.upstream_failed(fault)),
            }
        })
        .await
        .inspect(|_| {
            self.dialect = head.dialect();
            self.upstream.note_sloppy(head.is_sloppy());
        })
    }

    fn poll_first_byte<F, R>(
        &mut self,
        cx: &mut Context<'_>,
        late: &mut Option<F>,
        mut released: Pin<&mut Option<R>>,
    ) -> Poll<Result<(), Error>>
    where
        F: FnOnce() -> R,
        R: Future<Output = ()>,
    {
        if let Poll::Ready(Err(failure)) = self.poll_upload(cx) {
            return Poll::Ready(Err(failure));
        }
        if !self.upstream.input_ref().is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.upstream.poll_read(cx, 0) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.upstream_failed(Fault::Closed))),
            Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(self.upstream_failed(fault))),
            Poll::Pending => {}
        }
        if let Poll::Ready(failure) = self.poll_watch(cx, Ahead::OfAnswer) {
            return Poll::Ready(Err(failure));
        }
        if !self.upload.is_answer_due() {
            self.upstream.expect_nothing();
            return Poll::Pending;
        }
        loop {
            if let Some(released) = released.as_mut().as_pin_mut()
                && released.poll(cx).is_ready()
            {
                return Poll::Ready(Err(self.upstream_failed(Fault::Released)));
            }
            let all = self.deadlines.first_byte;
            let early = self.deadlines.late.min(all);
            let after = if late.is_some() { early } else { all - early };
            match self.upstream.poll_reading_deadline(cx, Kind::FirstByte, after) {
                Poll::Ready(fault) => match late.take() {
                    Some(late) if early < all => released.set(Some(late())),
                    _ => return Poll::Ready(Err(self.upstream_failed(fault))),
                },
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

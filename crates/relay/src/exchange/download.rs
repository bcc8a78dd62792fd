//! Sends a response to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Buf;

use super::splice::Splicing;
use super::{Error, Exchange, Phase};
use crate::body::Transfer;
use crate::chunked::Dialect;
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::stream::Ahead;
use crate::tunnel::Pipes;
use crate::wheel::Kind;

/// A response of at most so many bytes is held until it is complete, so that an upstream's death in
/// its middle can be retried.
pub const HOLD_LIMIT: u64 = 16 * 1024;

/// Bytes that are handed on before the worker's other connections have their turn.
const TURN: u64 = 1024 * 1024;

/// A head and a body being sent to the client.
pub(super) struct Download<'a> {
    head: &'a [u8],
    pub(super) transfer: Transfer,
    /// Checked bytes at the front of the upstream's input that go to the client from there.
    direct: usize,
    /// Bytes written anew because the framing differs.
    out: Vec<u8>,
    out_sent: usize,
    pub(super) splicing: Splicing,
}

impl<'a> Download<'a> {
    pub(super) fn new(
        head: &'a [u8],
        (incoming, dialect): (BodyFraming, Dialect),
        outgoing: BodyFraming,
        pipes: &Pipes,
    ) -> Self {
        let (transfer, splicing) =
            (Transfer::new(incoming, outgoing, dialect), Splicing::new(pipes));
        Self { head, transfer, direct: 0, out: Vec::new(), out_sent: 0, splicing }
    }

    /// Takes over what the upstream's connection holds of the body.
    fn stage(&mut self, upstream: &mut crate::stream::Stream) -> Result<(), Fault> {
        if self.transfer.is_done() {
            return Ok(());
        }
        let input = upstream.input();
        if self.transfer.passes() {
            self.direct += self.transfer.pass(&input[self.direct..])?;
            if self.direct > 0 || input.is_empty() {
                return Ok(());
            }
        }
        if self.out_sent == self.out.len() {
            self.out.clear();
            self.out_sent = 0;
            let consumed = self.transfer.rewrite(input, &mut self.out)?;
            input.advance(consumed);
            upstream.note_sloppy(self.transfer.is_sloppy());
            let input = upstream.input();
            // What was written anew and what follows it as it came go out together.
            if self.transfer.passes() && !self.transfer.is_done() {
                self.direct += self.transfer.pass(input)?;
            }
        }
        Ok(())
    }

    /// So much of head, rewritten and direct bytes, in this order, has been sent. Returns how much
    /// of it was direct.
    fn advance(&mut self, n: usize) -> usize {
        let of_head = n.min(self.head.len());
        self.head = &self.head[of_head..];
        let of_out = (n - of_head).min(self.out.len() - self.out_sent);
        self.out_sent += of_out;
        let of_direct = n - of_head - of_out;
        self.direct -= of_direct;
        of_direct
    }

    fn is_flushed(&self) -> bool {
        self.head.is_empty() && self.out_sent == self.out.len() && self.direct == 0
    }
}

impl Exchange<'_> {
    /// Waits for the rest of a small body. Not an error: the time being up.
    pub(super) async fn hold(&mut self, incoming: BodyFraming) -> Result<(), Error> {
        let BodyFraming::Length(length @ 1..=HOLD_LIMIT) = incoming else { return Ok(()) };
        let length = length as usize;
        if self.upstream.input_ref().len() >= length {
            return Ok(());
        }
        self.upstream.expect_nothing();
        let held = poll_fn(|cx| {
            if let Poll::Ready(Err(failure)) = self.poll_upload(cx) {
                return Poll::Ready(Err(failure));
            }
            self.upstream
                .poll_hold(cx, length, self.deadlines.hold)
                .map_err(|fault| self.upstream_failed(fault))
        })
        .await;
        self.upstream.expect_nothing();
        held
    }

    pub(super) fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        download: &mut Download<'_>,
    ) -> Poll<Result<(), Error>> {
        let turn_ends = download.splicing.moved() + TURN;
        loop {
            if let Err(fault) = download.stage(self.upstream) {
                return Poll::Ready(Err(self.upstream_failed(fault)));
            }
            if !download.is_flushed() {
                match self.poll_send_down(cx, download) {
                    Poll::Ready(Ok(())) => continue,
                    other => return other,
                }
            }
            match self.poll_splice(cx, download) {
                Poll::Ready(Ok(false)) => {}
                Poll::Ready(Ok(true)) if download.splicing.moved() < turn_ends => continue,
                Poll::Ready(Ok(true)) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => return self.poll_watch(cx, Ahead::Nothing).map(Err),
            }
            if download.transfer.is_done() {
                return self
                    .client
                    .poll_flush(cx, self.deadlines.write)
                    .map_err(|fault| self.client_failed(fault));
            }
            match self.upstream.poll_fill(
                cx,
                download.transfer.room(),
                Kind::Body,
                self.deadlines.body,
            ) {
                Poll::Ready(Ok(0)) => {
                    if let Err(truncated) = download.transfer.end(&mut download.out) {
                        return Poll::Ready(Err(self.upstream_failed(truncated)));
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(self.upstream_failed(fault))),
                Poll::Pending => return self.poll_watch(cx, Ahead::Nothing).map(Err),
            }
        }
    }

    fn poll_send_down(
        &mut self,
        cx: &mut Context<'_>,
        download: &mut Download<'_>,
    ) -> Poll<Result<(), Error>> {
        let direct = &self.upstream.input_ref()[..download.direct];
        let parts = [download.head, &download.out[download.out_sent..], direct];
        match self.client.poll_send(cx, &parts, self.deadlines.write) {
            Poll::Ready(Ok(n)) => {
                self.phase = Phase::ResponseRelayed;
                let of_direct = download.advance(n);
                self.upstream.input().advance(of_direct);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(fault)) => Poll::Ready(Err(self.client_failed(fault))),
            Poll::Pending => Poll::Pending,
        }
    }
}

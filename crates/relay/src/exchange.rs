//! One request and its response, between a client's connection and an upstream's.
//!
//! The caller makes the steps itself, because it decides what is written between them:
//! [`Exchange::send`] sends the rewritten head with the part of the body that has come;
//! [`Exchange::response`] waits for the response's head while it pumps the rest of the body;
//! interim responses are relayed; [`Exchange::finish`] sends head and body to the client. Every
//! [`Error`] tells on which connection it happened and how far the attempt had come, because
//! [`crate::retry`] decides by these. A request without a body costs one write upstream, and a
//! small response one read and one write.

mod download;
mod splice;
mod upload;
mod wait;

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

pub use self::download::HOLD_LIMIT;
pub use self::upload::{REPLAY_LIMIT, Upload};
use crate::chunked::Dialect;
use crate::clock;
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::head::{Limits, Response, ResponseHead, Version};
use crate::interims::Interims;
pub use crate::retry::Phase;
use crate::stream::{Ahead, Stream, Watch};

use self::download::Download;

/// A body that is certainly no larger fits into any send buffer, in bytes.
const SMALL: u64 = 64 * 1024;

/// The deadlines of one exchange. Each counts from the last progress of what it guards.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the end of the request to the moment when the caller is told that the upstream is late.
    pub late: Duration,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Duration,
    /// From the first to the last byte of the response's head.
    pub head: Duration,
    /// For the next piece of a body: to arrive from the client or from upstream.
    pub body: Duration,
    /// For the peer to take some of what is written to it.
    pub write: Duration,
    /// How long a small response is held back until it is complete.
    pub hold: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            late: Duration::from_millis(500),
            first_byte: Duration::from_secs(60),
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            write: Duration::from_secs(60),
            hold: Duration::from_millis(50),
        }
    }
}

/// The connection on which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The connection that the request came from.
    Client,
    /// The connection that the request went to.
    Upstream,
}

/// An attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{side:?}: {fault} ({phase:?})")]
pub struct Error {
    /// Whose connection.
    pub side: Side,
    /// What happened to it.
    pub fault: Fault,
    /// How far the attempt had come.
    pub phase: Phase,
}

/// A response that was relayed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The whole request had been sent. If not (an early response), neither connection can be used
    /// again: close the client's with [`Stream::close`].
    pub upload_done: bool,
}

/// One attempt at one upstream.
pub struct Exchange<'a> {
    client: &'a mut Stream,
    upstream: &'a mut Stream,
    upload: &'a mut Upload,
    deadlines: &'a Deadlines,
    phase: Phase,
    dialect: Dialect,
    /// The client, while it waits.
    watch: Watch,
}

impl<'a> Exchange<'a> {
    /// An attempt that has not begun. The upload has been [rewound](Upload::rewind) if there was an
    /// attempt before.
    pub fn new(
        client: &'a mut Stream,
        upstream: &'a mut Stream,
        upload: &'a mut Upload,
        deadlines: &'a Deadlines,
    ) -> Self {
        let (phase, dialect, watch) = (Phase::NothingWritten, Dialect::Response, Watch::default());
        Self { client, upstream, upload, deadlines, phase, dialect, watch }
    }

    /// How the chunks of the response may be written, where its head was read elsewhere:
    /// [`ResponseHead::dialect`].
    pub fn set_dialect(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    /// How far the attempt has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The whole request has been sent.
    pub fn upload_done(&self) -> bool {
        self.upload.is_done()
    }

    /// What has been taken of the request's body can be sent again.
    pub fn is_replayable(&self) -> bool {
        self.upload.is_kept()
    }

    /// The request, which has no body, was written before, and the head of its answer was read: how
    /// the chunks of the answer may be written is said by that head.
    pub fn answered_before(&mut self, dialect: Dialect) {
        self.upstream.count_use();
        self.phase = Phase::Written;
        self.dialect = dialect;
    }

    /// The client's connection.
    pub fn client(&mut self) -> &mut Stream {
        self.client
    }

    /// Sends the head and, with it, what there is of the body.
    ///
    /// # Errors
    /// [`Error`] of either side.
    pub async fn send(&mut self, head: &[u8]) -> Result<(), Error> {
        self.upstream.count_use();
        let mut sent = 0;
        poll_fn(|cx| self.poll_send_head(cx, head, &mut sent)).await
    }

    fn poll_send_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &[u8],
        sent: &mut usize,
    ) -> Poll<Result<(), Error>> {
        while *sent < head.len() {
            if let Err(malformed) = self.upload.stage(self.client) {
                return Poll::Ready(Err(self.client_failed(malformed)));
            }
            let before = self.upstream.sent();
            let outcome = self.upstream.poll_send(
                cx,
                &[&head[*sent..], self.upload.staged()],
                self.deadlines.write,
            );
            if self.upstream.sent() > before {
                self.phase = Phase::Written;
            }
            match outcome {
                Poll::Ready(Ok(n)) => {
                    let of_head = n.min(head.len() - *sent);
                    *sent += of_head;
                    self.upload.advance(n - of_head);
                }
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(self.upstream_failed(fault))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for a response head, an interim one included, and pumps the request's body meanwhile.
    ///
    /// `late` is called, at most once per call, when [`Deadlines::late`] has passed since the
    /// request was sent as a whole and not a byte has come. The future that it returns releases the
    /// wait ([`Fault::Released`]) when it is ready; it should be level-triggered.
    ///
    /// # Errors
    /// [`Error`] of either side; the phase is never `ResponseRelayed` unless
    /// [`interim`](Self::interim) was called.
    pub async fn response<F, R>(
        &mut self,
        head: &mut ResponseHead,
        limits: &Limits,
        late: F,
    ) -> Result<Bytes, Error>
    where
        F: FnOnce() -> R,
        R: Future<Output = ()>,
    {
        self.wait_for_head(head, limits, late).await
    }

    /// Waits for the final response head, as [`response`](Self::response) does for any. Interim
    /// responses are sent to the client as `write` appends them, unless the client speaks HTTP/1.0,
    /// which has no interim responses (RFC 9110 §15.2).
    ///
    /// # Errors
    /// As [`response`](Self::response); also when interim ones come without end.
    pub async fn final_response<F, R>(
        &mut self,
        head: &mut ResponseHead,
        limits: &Limits,
        mut interims: Interims,
        client: Version,
        mut late: F,
        mut write: impl FnMut(&mut Vec<u8>, Response<'_>),
    ) -> Result<Bytes, Error>
    where
        F: FnMut() -> R,
        R: Future<Output = ()>,
    {
        loop {
            let bytes = self.response(head, limits, &mut late).await?;
            let takes = interims.takes(head, &bytes, clock::now);
            if !takes.map_err(|malformed| self.upstream_failed(malformed))? {
                return Ok(bytes);
            }
            if client == Version::Http11 {
                let mut interim = Vec::with_capacity(bytes.len() + 64);
                write(&mut interim, head.view(&bytes));
                self.interim(&interim).await?;
            }
        }
    }

    /// Sends an interim (1xx) head on to the client. From now on nothing can be tried again.
    ///
    /// # Errors
    /// [`Error`] of the client's side.
    pub async fn interim(&mut self, head: &[u8]) -> Result<(), Error> {
        self.phase = Phase::ResponseRelayed;
        self.upload.client_may_send();
        self.client
            .write_all(&[head], self.deadlines.write)
            .await
            .map_err(|fault| self.client_failed(fault))
    }

    /// Sends the final head and the body to the client, and what is left of the request's body to
    /// the upstream.
    ///
    /// A body with a Content-Length of at most [`HOLD_LIMIT`] is sent on when it is complete, or
    /// after [`Deadlines::hold`]: until then a failure leaves the phase at `Written`. After a
    /// failure of the upstream in phase `ResponseRelayed` everything that came has been sent, and
    /// the client's connection has to be [cut](Stream::cut): what it got is incomplete.
    ///
    /// # Errors
    /// [`Error`] of either side.
    pub async fn finish(
        &mut self,
        head: &[u8],
        incoming: BodyFraming,
        outgoing: BodyFraming,
    ) -> Result<Done, Error> {
        self.hold(incoming).await?;
        if !matches!(incoming, BodyFraming::Empty | BodyFraming::Length(..=SMALL)) {
            self.client.bound_unsent();
        }
        let mut download =
            Download::new(head, (incoming, self.dialect), outgoing, self.client.worker().pipes());
        poll_fn(|cx| {
            if let Poll::Ready(Err(failure)) = self.poll_upload(cx) {
                return Poll::Ready(Err(failure));
            }
            self.poll_download(cx, &mut download)
        })
        .await?;
        self.client.release();
        Ok(Done { upload_done: self.upload.is_done() })
    }

    /// Notices that the client has left. While its request's body is on its way, that is who reads
    /// the body's to notice.
    fn poll_watch(&mut self, cx: &mut Context<'_>, ahead: Ahead) -> Poll<Error> {
        if !self.upload.is_settled() {
            return Poll::Pending;
        }
        self.watch.poll(cx, self.client, ahead).map(|fault| self.client_failed(fault))
    }

    fn client_failed(&self, fault: impl Into<Fault>) -> Error {
        Error { side: Side::Client, fault: fault.into(), phase: self.phase }
    }

    fn upstream_failed(&self, fault: impl Into<Fault>) -> Error {
        Error { side: Side::Upstream, fault: fault.into(), phase: self.phase }
    }
}

#[cfg(test)]
mod tests;

//! Sends a request's body upstream, and keeps it for another attempt as long as it is small.

use std::task::{Context, Poll};

use bytes::Buf;

use super::{Error, Exchange, Phase};
use crate::body::Transfer;
use crate::chunked::Dialect;
use crate::clock;
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::malformed::Malformed;
use crate::pace::Pace;
use crate::stream::Stream;
use crate::wheel::Kind;

/// A body of up to so many bytes, its framing included, can be sent again.
pub const REPLAY_LIMIT: usize = 64 * 1024;

/// A request's body across all attempts. It goes upstream in the framing in which it came, chunks
/// in our spelling.
#[derive(Debug)]
pub struct Upload {
    transfer: Transfer,
    /// Everything taken from the client so far, until that is too much.
    kept: Vec<u8>,
    /// How much of `kept` this attempt has sent.
    sent: usize,
    /// Checked bytes at the front of the client's input that go upstream from there, once nothing
    /// is kept any more.
    direct: usize,
    /// Everything so far is in `kept`. Otherwise it was too much: what is there has to be sent,
    /// then it is freed.
    keeping: bool,
    /// This attempt's upstream takes no more of it; only its response counts.
    refused: bool,
    /// The client waits for a 100 before it sends.
    expecting: bool,
    /// How the client keeps up, once it was waited for; none: it may be as slow as it likes.
    pace: Option<Option<Pace>>,
}

impl Upload {
    /// The body of a request framed like this; `expects_continue` when the client waits for a 100
    /// before it sends.
    pub fn new(framing: BodyFraming, expects_continue: bool) -> Self {
        let transfer = Transfer::new(framing, framing, Dialect::Strict);
        Self {
            transfer,
            kept: Vec::new(),
            sent: 0,
            direct: 0,
            keeping: true,
            refused: false,
            expecting: expects_continue,
            pace: None,
        }
    }

    /// The same, refused when it turns out to have more bytes than this. What a length says is
    /// known from the head ([`BodyFraming::exceeds`]).
    #[must_use]
    pub fn at_most(mut self, bytes: u64) -> Self {
        self.transfer.at_most(bytes);
        self
    }

    /// Begins another attempt. False when what was sent is not kept any more: the request cannot be
    /// tried again.
    pub fn rewind(&mut self) -> bool {
        self.sent = 0;
        self.refused = false;
        self.keeping
    }

    /// Whether all that was taken from the client is kept for another attempt.
    pub(super) fn is_kept(&self) -> bool {
        self.keeping
    }

    /// The client has sent all of it, and the upstream has got all of it.
    pub fn is_done(&self) -> bool {
        self.transfer.is_done() && self.direct == 0 && self.sent == self.kept.len() && !self.refused
    }

    /// The client has sent all of it.
    pub fn is_received(&self) -> bool {
        self.transfer.is_done()
    }

    /// Nothing of it is going to be moved any more in this attempt.
    pub(super) fn is_settled(&self) -> bool {
        self.refused || self.is_done()
    }

    /// The upstream owes an answer: it has got everything, wants nothing, or is asked whether it
    /// does.
    pub(super) fn is_answer_due(&self) -> bool {
        self.expecting || self.is_settled()
    }

    /// A 100 has been relayed: from now on the client owes the body.
    pub(super) fn client_may_send(&mut self) {
        self.expecting = false;
    }

    /// Takes over what the client's connection holds of the body.
    pub(super) fn stage(&mut self, client: &mut Stream) -> Result<(), Malformed> {
        let taken = self.take_over(client);
        // What its client has of such things already may be enough.
        self.keeping = self.keeping && client.may_keep(self.kept.len());
        taken
    }

    fn take_over(&mut self, client: &mut Stream) -> Result<(), Malformed> {
        let input = client.input();
        if self.transfer.is_done() || input.len() == self.direct {
            return Ok(());
        }
        self.expecting = false;
        loop {
            let more = self.transfer.pass(&input[self.direct..])?;
            self.keeping &= self.kept.len() + more <= REPLAY_LIMIT;
            if self.keeping {
                self.kept.extend_from_slice(&input[..more]);
                input.advance(more);
            } else {
                self.direct += more;
            }
            // What is written anew goes behind what is kept, and so not past what is to go from
            // where it is.
            if self.transfer.is_done() || self.direct > 0 || input.is_empty() {
                return Ok(());
            }
            let rewritten = self.transfer.rewrite(input, &mut self.kept)?;
            input.advance(rewritten);
            if rewritten == 0 || input.is_empty() || self.transfer.is_done() {
                self.keeping &= self.kept.len() <= REPLAY_LIMIT;
                return Ok(());
            }
        }
    }

    /// What is kept and has not been sent in this attempt.
    pub(super) fn staged(&self) -> &[u8] {
        &self.kept[self.sent..]
    }

    /// So much of [`staged`](Self::staged) has been sent.
    pub(super) fn advance(&mut self, n: usize) {
        self.sent += n;
        if !self.keeping && self.sent == self.kept.len() {
            self.kept = Vec::new();
            self.sent = 0;
        }
    }
}

impl Exchange<'_> {
    /// Moves what can be moved. Ready when the body is through, or when the upstream takes no more
    /// of it.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.upload.is_settled() {
                return Poll::Ready(Ok(()));
            }
            if let Err(malformed) = self.upload.stage(self.client) {
                return Poll::Ready(Err(self.client_failed(malformed)));
            }
            let direct = self.upload.direct;
            if !self.upload.staged().is_empty() || direct > 0 {
                match self.poll_send_staged(cx) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.poll_client(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.client_failed(Fault::Closed))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(self.client_failed(fault))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// One write upstream. An upstream that refuses the rest of a body has usually answered before:
    /// its response decides.
    fn poll_send_staged(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.upload.keeping {
            self.upstream.bound_unsent();
        }
        let staged = self.upload.staged();
        let kept = staged.len();
        let direct = &self.client.input_ref()[..self.upload.direct];
        match self.upstream.poll_send(cx, &[staged, direct], self.deadlines.write) {
            Poll::Ready(Ok(n)) => {
                self.upload.advance(n.min(kept));
                let of_direct = n.saturating_sub(kept);
                self.upload.direct -= of_direct;
                self.client.input().advance(of_direct);
                Poll::Ready(())
            }
            Poll::Ready(Err(_)) => {
                self.upload.refused = true;
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads more of the body. A client that waits for a 100 owes nothing.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        if self.upload.expecting {
            return self.client.poll_read(cx, 0);
        }
        let read = self.client.poll_fill(cx, 0, Kind::Body, self.deadlines.body);
        match read {
            Poll::Pending => {
                let slowest = || Pace::new(self.client.slowest_request());
                if let Some(pace) = self.upload.pace.get_or_insert_with(slowest) {
                    pace.waits(clock::steady());
                }
            }
            Poll::Ready(Ok(n)) => {
                if let Some(Some(pace)) = &mut self.upload.pace
                    && !pace.moved(n, clock::steady())
                    // What has been answered already goes both ways, as a tunnel does.
                    && self.phase != Phase::ResponseRelayed
                {
                    return Poll::Ready(Err(Fault::Timeout(Kind::Body)));
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        read
    }
}

//! Notices that a peer which waits for an answer has left.
//!
//! A reset tells that at once. A peer that has closed its sending side may have left, or may only
//! have ended its request (a half-close, RFC 9112 §9.6), and the two look alike: the kernel of a
//! peer that has closed its socket still answers keep-alive probes for a minute. Only sending bytes
//! tells them apart, because a peer that has left answers them with a reset. Every answer begins
//! with `HTTP/1.`, so these bytes are sent ahead of the answer, one at a time; a peer that is still
//! there merely gets them a little early.
//!
//! Our own balancers never half-close before an answer. On their connections
//! ([`Stream::set_whole`]) the end of the peer's bytes means that it has left.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;

use super::Stream;
use crate::buffer;
use crate::fault::Fault;
use crate::wheel::{Kind, Timer};

/// How every response to a request of this protocol begins.
const BEGINNING: &[u8] = b"HTTP/1.";
/// How often a peer that has closed its side is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// At which of these looks the next byte goes to it: after 0.1, 0.4, 1.6, 6.4, 25.6 and 102.4 s.
const BYTES_AT: [u32; 6] = [1, 4, 16, 64, 256, 1024];

/// What may be sent to a peer to learn whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// The beginning of its answer, of which nothing has been sent.
    OfAnswer,
    /// Nothing: its answer has begun, and its next piece will tell.
    Nothing,
}

/// One wait.
#[derive(Default)]
pub(crate) struct Watch {
    /// Since the peer has closed its side.
    looking: Option<(Timer, u32)>,
}

impl Watch {
    /// Ready when the peer has left. What it sends meanwhile is received up to a buffer's size: it
    /// is the next request's.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        peer: &mut Stream,
        ahead: Ahead,
    ) -> Poll<Fault> {
        while !peer.0.ended && peer.0.input.len() < buffer::SIZE {
            // Answered from memory while there is nothing to read, and no buffer is taken for it.
            ready!(peer.0.io.poll_readable(cx));
            if let Err(fault) = ready!(peer.poll_read(cx, 0)) {
                return Poll::Ready(fault);
            }
        }
        match (peer.0.ended, peer.0.whole) {
            (false, _) => Poll::Pending,
            (true, true) => Poll::Ready(Fault::Closed),
            (true, false) => self.poll_half_closed(cx, peer, ahead),
        }
    }

    fn poll_half_closed(
        &mut self,
        cx: &mut Context<'_>,
        peer: &mut Stream,
        ahead: Ahead,
    ) -> Poll<Fault> {
        let (timer, looks) = self.looking.get_or_insert_with(|| {
            let timer = Timer::new(peer.0.worker.wheel());
            timer.arm(Kind::Other, LOOK);
            (timer, 0)
        });
        loop {
            ready!(timer.poll(cx));
            timer.arm(Kind::Other, LOOK);
            *looks += 1;
            if let Some(error) = peer.0.io.take_error() {
                return Poll::Ready(error.into());
            }
            if ahead == Ahead::OfAnswer
                && BYTES_AT.contains(looks)
                && let Err(fault) = peer.send_ahead(cx)
            {
                return Poll::Ready(fault);
            }
        }
    }
}

impl Stream {
    /// Declares that the peer never half-closes: once it has sent its last byte it has left, even
    /// if it waits for an answer.
    pub fn set_whole(&mut self) {
        self.0.whole = true;
    }

    /// Waits until the peer has left, while something else is done for it.
    pub async fn left(&mut self, ahead: Ahead) -> Fault {
        let mut watch = Watch::default();
        poll_fn(|cx| watch.poll(cx, self, ahead)).await
    }

    /// Sends the next byte of the answer's beginning, if the connection takes it now.
    fn send_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let Some(byte) = BEGINNING.get(usize::from(self.0.ahead)) else { return Ok(()) };
        let Poll::Ready(written) =
            Pin::new(&mut self.0.io).poll_write(cx, std::slice::from_ref(byte))
        else {
            return Ok(());
        };
        let n = written?;
        self.0.ahead += u8::from(n > 0);
        self.0.sent += n as u64;
        Ok(())
    }

    /// How much of the parts that are to be sent has gone ahead.
    pub(super) fn take_ahead(&mut self, parts: &[&[u8]]) -> usize {
        let ahead = usize::from(std::mem::take(&mut self.0.ahead));
        let first = parts.iter().find(|part| !part.is_empty()).copied().unwrap_or_default();
        if first.starts_with(&BEGINNING[..ahead]) { ahead } else { 0 }
    }
}

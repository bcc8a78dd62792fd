//! How a connection ends: at once, in order, or, where a message broke off, once everything that
//! was sent has arrived.

use std::future::poll_fn;
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::Stream;
use crate::framing::BodyFraming;
use crate::wheel::{Kind, Timer};

/// How often the acknowledgements of a peer are looked at.
const LOOK: Duration = Duration::from_millis(20);

impl Stream {
    /// Closes with a reset, so that the peer cannot take what it got for a complete message. What
    /// it has not received yet is lost.
    pub fn abort(mut self) {
        self.0.io.cut();
    }

    /// Closes after an early or refusing answer: says that no more will be sent, then reads and
    /// drops what the peer still sends (at most `most` bytes or until `deadline`), so that the
    /// answer is not destroyed by a reset (RFC 9112 §9.6).
    pub async fn close(mut self, most: u64, deadline: Duration) {
        if self.0.io.shutdown().await.is_err() {
            return;
        }
        let timer = Timer::new(self.0.worker.wheel());
        let stop = self.0.received.saturating_add(most);
        let discard = async {
            while self.0.received < stop {
                self.0.input.clear();
                match self.fill(Kind::Other, deadline).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        // Either way the connection has had its time.
        timer.within(Kind::Other, deadline, discard).await.unwrap_or_default();
    }

    /// Ends a connection whose message broke off in its middle. The peer gets everything that was
    /// sent, and can tell that more was to come.
    ///
    /// A length that is not reached and a last chunk that is missing show that themselves, so the
    /// connection is closed in order. Where the end of the connection is the end of the message,
    /// only a reset does: it follows when the rest has arrived, as it would destroy what is on its
    /// way; a peer that takes nothing for `patience` is not waited for.
    pub async fn cut(self, framing: BodyFraming, most: u64, patience: Duration) {
        match framing {
            BodyFraming::UntilClose => self.reset_when_delivered(patience).await,
            BodyFraming::Empty | BodyFraming::Length(_) | BodyFraming::Chunked => {
                self.close(most, patience).await
            }
        }
    }

    /// Resets the connection once the peer has acknowledged everything, or nothing for `patience`.
    pub async fn reset_when_delivered(mut self, patience: Duration) {
        if poll_fn(|cx| self.poll_flush(cx, patience)).await.is_err() {
            return self.abort();
        }
        let wheel = self.0.worker.wheel().clone();
        let (mut left, mut waited) = (self.unacknowledged(), Duration::ZERO);
        while left > 0 && waited < patience {
            wheel.sleep(LOOK).await;
            let now = self.unacknowledged();
            waited = if now < left { Duration::ZERO } else { waited + LOOK };
            left = now;
        }
        self.abort();
    }

    /// Bytes that the peer's kernel has not acknowledged; none where that cannot be said, as of a
    /// connection that is gone or in memory.
    fn unacknowledged(&self) -> u32 {
        let Some(socket) = self.0.io.socket() else { return 0 };
        let mut bytes: libc::c_int = 0;
        // SAFETY: SIOCOUTQ, which is TIOCOUTQ on a socket, writes one int, and `bytes` is valid for
        // that write.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if answer == 0 { u32::try_from(bytes).unwrap_or(0) } else { 0 }
    }
}

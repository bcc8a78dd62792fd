//! Moves a long body to the client with splice(2) through a pipe, so that its bytes go from socket
//! to socket within the kernel.
//!
//! Used for a body of known length that is not changed on the way, between two plain sockets. The
//! part that was received together with the head has been sent before.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;

use super::{Error, Exchange, download::Download};
use crate::fault::Fault;
use crate::tunnel::{Pipe, Pipes};
use crate::wheel::Kind;

/// With less than this to come, copying is cheaper than two more system calls on a pipe.
const WORTH: u64 = 24 * 1024;

/// The pipe of one download, while it moves.
pub(super) struct Splicing {
    pipes: Pipes,
    pipe: Option<Pipe>,
    /// Bytes that have gone to the client.
    moved: u64,
    /// This connection cannot, or the host is out of pipes.
    off: bool,
}

impl Splicing {
    pub(super) fn new(pipes: &Pipes) -> Self {
        Self { pipes: pipes.clone(), pipe: None, moved: 0, off: false }
    }

    /// Bytes that have gone to the client this way.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Bytes on their way.
    fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }
}

impl Drop for Splicing {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            self.pipes.give(pipe);
        }
    }
}

impl Exchange<'_> {
    /// Moves what can be moved. Ready with false when the rest has to be copied, with true when
    /// some has been moved.
    pub(super) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        download: &mut Download<'_>,
    ) -> Poll<Result<bool, Error>> {
        if download.splicing.held() > 0 {
            ready!(self.poll_empty(cx, &mut download.splicing))?;
            return Poll::Ready(Ok(true));
        }
        let left = download.transfer.opaque();
        let begun = download.splicing.pipe.is_some();
        if download.splicing.off
            || left == 0
            || (!begun && left < WORTH)
            || !self.upstream.input_ref().is_empty()
        {
            return Poll::Ready(Ok(false));
        }
        if !begun {
            let can = self.upstream.spliceable().is_some() && self.client.spliceable().is_some();
            download.splicing.pipe = if can { download.splicing.pipes.take() } else { None };
            download.splicing.off = download.splicing.pipe.is_none();
            return Poll::Ready(Ok(true));
        }
        self.poll_take(cx, download, left)
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        download: &mut Download<'_>,
        left: u64,
    ) -> Poll<Result<bool, Error>> {
        let (Some(pipe), Some(socket)) =
            (download.splicing.pipe.as_mut(), self.upstream.spliceable())
        else {
            return Poll::Ready(Ok(false));
        };
        let readable = match socket.poll_read_ready(cx) {
            Poll::Ready(readable) => readable,
            Poll::Pending => {
                let late = ready!(self.upstream.poll_reading_deadline(
                    cx,
                    Kind::Body,
                    self.deadlines.body
                ));
                return Poll::Ready(Err(self.upstream_failed(late)));
            }
        };
        if let Err(error) = readable {
            return Poll::Ready(Err(self.upstream_failed(error)));
        }
        match socket.try_io(Interest::READABLE, || pipe.fill(socket, left)) {
            Ok(0) => Poll::Ready(Err(self.upstream_failed(Fault::Closed))),
            Ok(n) => {
                self.upstream.expect_nothing();
                self.upstream.count_spliced(n);
                download.transfer.moved(n);
                Poll::Ready(Ok(true))
            }
            // The readiness is cleared by this; the next turn waits for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(true)),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                download.splicing.off = true;
                Poll::Ready(Ok(false))
            }
            Err(error) => Poll::Ready(Err(self.upstream_failed(error))),
        }
    }

    /// Sends what is in the pipe.
    fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        splicing: &mut Splicing,
    ) -> Poll<Result<(), Error>> {
        let (Some(pipe), Some(socket)) = (splicing.pipe.as_mut(), self.client.spliceable()) else {
            return Poll::Ready(Ok(()));
        };
        match socket.poll_write_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.client_failed(error))),
            Poll::Pending => {
                let late = ready!(self.client.poll_writing_deadline(cx, self.deadlines.write));
                return Poll::Ready(Err(self.client_failed(late)));
            }
        }
        match socket.try_io(Interest::WRITABLE, || pipe.empty(socket)) {
            Ok(n) => {
                self.client.count_sent(n);
                splicing.moved += n as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(self.client_failed(error))),
        }
    }
}

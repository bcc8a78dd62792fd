//! What the client sends on a stream, on its way into the connection in memory.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::RecvStream;
use relay::{chunked::CHUNK_END, stream::Duplex};
use tokio::io::AsyncWrite;

use super::request::{self, Body, Head};

/// Why no more comes.
#[derive(Debug)]
pub enum Error {
    /// The client has reset the stream, or left.
    Left,
    /// It sends what is malformed.
    Refused,
}

/// See the module.
pub struct Upload {
    framing: Body,
    body: Option<RecvStream>,
    /// What goes in next: framing, content, framing.
    front: Vec<u8>,
    content: Bytes,
    back: &'static [u8],
    /// Of `front` and `back` has been written.
    at: (usize, usize),
    /// Of the content that is being written, for the client's window.
    owed: usize,
    /// Nothing comes behind what is there.
    last: bool,
    done: bool,
}

impl Upload {
    /// A request's head, and what follows it on the stream.
    #[must_use]
    pub fn new(head: Head, body: RecvStream) -> Self {
        let Head { bytes, body: framing } = head;
        let body = (framing != Body::None).then_some(body);
        Self {
            framing,
            last: body.is_none(),
            body,
            front: bytes,
            content: Bytes::new(),
            back: b"",
            at: (0, 0),
            owed: 0,
            done: false,
        }
    }

    /// Nothing more goes in.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Moves what can be moved. Ready: nothing more goes in.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn poll(&mut self, cx: &mut Context<'_>, into: &mut Duplex) -> Poll<Result<(), Error>> {
        while !self.done {
            if !ready!(self.poll_write(cx, into)) {
                // Whoever serves the request takes no more of it: what it has answered counts.
                self.stop();
                break;
            }
            if self.last {
                self.finish(cx, into);
                break;
            }
            ready!(self.poll_next(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn stop(&mut self) {
        self.done = true;
        self.body = None;
        self.content = Bytes::new();
    }

    /// All has gone in.
    fn finish(&mut self, cx: &mut Context<'_>, into: &mut Duplex) {
        self.done = true;
        if self.framing == Body::Tunnel {
            // In memory it does not wait.
            drop(Pin::new(into).poll_shutdown(cx));
        }
    }

    /// Writes what is there. False: it is not taken any more.
    fn poll_write(&mut self, cx: &mut Context<'_>, into: &mut Duplex) -> Poll<bool> {
        loop {
            let (front, back) = (&self.front[self.at.0..], &self.back[self.at.1..]);
            let parts = [IoSlice::new(front), IoSlice::new(&self.content), IoSlice::new(back)];
            if parts.iter().all(|part| part.is_empty()) {
                self.written();
                return Poll::Ready(true);
            }
            let Ok(mut n @ 1..) = ready!(Pin::new(&mut *into).poll_write_vectored(cx, &parts))
            else {
                return Poll::Ready(false);
            };
            let of_front = n.min(front.len());
            self.at.0 += of_front;
            n -= of_front;
            let of_content = n.min(self.content.len());
            self.content.advance(of_content);
            self.at.1 += n - of_content;
        }
    }

    /// The client may send as much again.
    fn written(&mut self) {
        self.front.clear();
        (self.back, self.at) = (b"", (0, 0));
        let owed = std::mem::take(&mut self.owed);
        if owed > 0
            && let Some(body) = &mut self.body
        {
            // Of a stream that has ended meanwhile there is none to give back.
            drop(body.flow_control().release_capacity(owed));
        }
    }

    /// Takes what comes next on the stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(body) = &mut self.body else {
            self.last = true;
            return Poll::Ready(Ok(()));
        };
        match ready!(body.poll_data(cx)) {
            Some(Ok(content)) => {
                self.owed = content.len();
                if self.framing == Body::Chunked && !content.is_empty() {
                    request::chunk(&mut self.front, content.len());
                    self.back = CHUNK_END;
                }
                self.content = content;
                Poll::Ready(Ok(()))
            }
            Some(Err(_)) => Poll::Ready(Err(Error::Left)),
            None => {
                let trailers = ready!(body.poll_trailers(cx)).map_err(|_| Error::Left)?;
                // With a length there is no place for them in HTTP/1.1, nor in a tunnel.
                if self.framing == Body::Chunked {
                    request::last_chunk(&mut self.front, trailers.as_ref())
                        .map_err(|_| Error::Refused)?;
                }
                self.last = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}

//! What comes out of the connection in memory, on its way to the client.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream, server::SendResponse};
use relay::{
    method::Method,
    stream::Duplex,
    wheel::{Kind, Timer, Wheel},
};
use tokio::io::AsyncReadExt;

use super::answer::{Answer, Broken, Event};

/// Read at a time: a frame of the size that every client takes.
const ROOM: usize = 16 * 1024;

/// Why no more goes out.
#[derive(Debug)]
pub enum Error {
    /// The client has reset the stream, or left.
    Left,
    /// The answer broke off, or the client takes nothing.
    Broken(Reason),
}

/// See the module.
pub struct Download {
    respond: SendResponse<Bytes>,
    /// Once the answer's head has gone out.
    stream: Option<SendStream<Bytes>>,
    answer: Answer,
    tunnel: bool,
    method: Method,
    input: BytesMut,
    /// What goes out next, and behind it.
    content: Bytes,
    next: Option<Event>,
    done: bool,
    patience: Duration,
    timer: Timer,
    armed: bool,
}

impl Download {
    /// Of the answer to a request of this method.
    #[must_use]
    pub fn new(
        respond: SendResponse<Bytes>,
        method: Method,
        patience: Duration,
        wheel: &Wheel,
    ) -> Self {
        Self {
            respond,
            stream: None,
            answer: Answer::to(method),
            tunnel: false,
            method,
            input: BytesMut::new(),
            content: Bytes::new(),
            next: None,
            done: false,
            patience,
            timer: Timer::new(wheel),
            armed: false,
        }
    }

    /// It is a tunnel now.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Tells the client that nothing more comes.
    pub fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Whether the client has reset the stream, or left.
    pub fn is_left(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.stream {
            Some(stream) => stream.poll_reset(cx).is_ready(),
            None => self.respond.poll_reset(cx).is_ready(),
        }
    }

    /// Moves what can be moved. Ready: the client has it all.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn poll(&mut self, cx: &mut Context<'_>, from: &mut Duplex) -> Poll<Result<(), Error>> {
        while !self.done {
            if !self.content.is_empty() {
                ready!(self.poll_send(cx))?;
                continue;
            }
            let event = match self.next.take() {
                Some(event) => Some(event),
                None => self.answer.next(&mut self.input).map_err(|_| self.broken())?,
            };
            match event {
                Some(event) => self.take(event)?,
                None => ready!(self.poll_read(cx, from))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Interim(interim) => {
                self.respond.send_informational(interim).map_err(|_| Error::Left)
            }
            Event::Head(head, ends) => {
                self.tunnel = self.method == Method::Connect && head.status().is_success();
                self.done = ends;
                let stream = self.respond.send_response(head, ends).map_err(|_| Error::Left)?;
                self.stream = Some(stream);
                Ok(())
            }
            Event::Data(content) => {
                self.content = content;
                // The last frame of the content says that it is the last, if that is known.
                self.next = self.answer.next(&mut self.input).map_err(|_| self.broken())?;
                Ok(())
            }
            Event::Trailers(trailers) => {
                self.done = true;
                self.stream()?.send_trailers(trailers).map_err(|_| Error::Left)
            }
            Event::End => {
                self.done = true;
                self.stream()?.send_data(Bytes::new(), true).map_err(|_| Error::Left)
            }
        }
    }

    fn stream(&mut self) -> Result<&mut SendStream<Bytes>, Error> {
        self.stream.as_mut().ok_or(Error::Broken(Reason::INTERNAL_ERROR))
    }

    /// Sends as much as the client's windows allow.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let length = self.content.len();
        let stream = self.stream()?;
        stream.reserve_capacity(length);
        let room = match stream.capacity() {
            0 => match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => room,
                Poll::Ready(_) => return Poll::Ready(Err(Error::Left)),
                Poll::Pending => return self.poll_patience(cx),
            },
            room => room,
        };
        if room == 0 {
            return self.poll_patience(cx);
        }
        if std::mem::take(&mut self.armed) {
            self.timer.disarm();
        }
        let content = self.content.split_to(room.min(length));
        let ended = self.content.is_empty()
            && (matches!(self.next, Some(Event::End))
                || (self.next.is_none() && self.answer.is_done()));
        self.done = ended;
        Poll::Ready(self.stream()?.send_data(content, ended).map_err(|_| Error::Left))
    }

    /// The client takes nothing just now.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if !self.armed {
            self.timer.arm(Kind::Write, self.patience);
            self.armed = true;
        }
        self.timer.poll(cx).map(|_| Err(Error::Broken(Reason::CANCEL)))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Duplex) -> Poll<Result<(), Error>> {
        if self.input.capacity() - self.input.len() < ROOM / 4 {
            self.input.reserve(ROOM);
        }
        let read = pin!(from.read_buf(&mut self.input)).poll(cx);
        let n = ready!(read).map_err(|_| self.broken())?;
        if n == 0 {
            let end = self.answer.end().map_err(|_: Broken| self.broken())?;
            self.next = Some(end);
        }
        Poll::Ready(Ok(()))
    }

    /// The answer is not whole, and cannot be made whole.
    const fn broken(&self) -> Error {
        Error::Broken(if self.tunnel { Reason::CONNECT_ERROR } else { Reason::INTERNAL_ERROR })
    }
}

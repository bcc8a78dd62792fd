//! What carries a connection's bytes: a socket, a TLS session over one, or memory.
//!
//! An enum instead of a trait object, so that a read or write on a socket costs one comparison more
//! than on the bare socket, and nothing else.
//!
//! All bytes pass [`AsyncRead`] and [`AsyncWrite`] of [`Io`], but for those that splice(2) moves,
//! which are counted by [`Stream::count_spliced`](super::Stream::count_spliced) and
//! [`Stream::count_sent`](super::Stream::count_sent). What is to limit a connection's bandwidth
//! belongs at these four places.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::duplex::Duplex;

pub(crate) enum Io {
    /// Of TCP, or a unix socket, which is read, written, spliced and closed by the same calls. What
    /// is TCP's alone (addresses, options) fails there, and nothing depends on it. A unix socket
    /// cannot be reset either: where only the end of the connection ends a message, as with clients
    /// of HTTP/1.0, its client cannot tell one that was cut.
    Tcp(TcpStream),
    /// A pointer, as a session is larger than everything else of a connection together.
    Tls(Box<TlsStream<TcpStream>>),
    Duplex(Box<Duplex>),
    /// It is closed, or was taken away for a handshake that has not ended.
    Gone,
}

impl Io {
    /// The socket beneath.
    pub(crate) fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Tls(tls) => Some(tls.get_ref().0),
            Self::Duplex(_) | Self::Gone => None,
        }
    }

    /// The socket whose bytes are the connection's own, so that splice(2) may move them.
    pub(crate) fn spliceable(&self) -> Option<&TcpStream> {
        if let Self::Tcp(tcp) = self { Some(tcp) } else { None }
    }

    /// Ready when a read may find something. Only of a socket that is known without trying.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            // An error is what the read finds.
            Self::Tcp(tcp) => tcp.poll_read_ready(cx).map(drop),
            Self::Tls(_) | Self::Duplex(_) | Self::Gone => Poll::Ready(()),
        }
    }

    /// Whether the peer has said something, or its last, as far as the event loop knows: no system
    /// call unless there is something to read. What a TLS session says for itself, as new tickets,
    /// does not count. A byte of what it has said is lost.
    pub(crate) fn has_spoken(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Self::Tcp(tcp) => !is_would_block(&tcp.try_read(&mut byte)),
            Self::Tls(_) | Self::Duplex(_) | Self::Gone => {
                let mut nobody = Context::from_waker(Waker::noop());
                Pin::new(self).poll_read(&mut nobody, &mut ReadBuf::new(&mut byte)).is_ready()
            }
        }
    }

    /// As [`has_spoken`](Self::has_spoken), asking the kernel. Where that has bytes of a TLS
    /// session which the event loop does not know of yet, nobody can say what they are: yes, then.
    pub(crate) fn has_spoken_to_the_kernel(&mut self) -> bool {
        (self.spliceable().is_none() && self.has_spoken()) || self.socket().is_some_and(is_readable)
    }

    /// What has gone wrong with it since somebody looked.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        match self {
            Self::Duplex(duplex) => duplex.is_cut().then(|| io::ErrorKind::ConnectionReset.into()),
            _ => self.socket()?.take_error().ok()?,
        }
    }

    /// Bytes are on their way out that no write waits for any more.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.wants_write())
    }

    /// From now on it ends, as soon as it is dropped, so that nobody can take what was sent for
    /// everything: with a reset, and without a word of TLS.
    pub(crate) fn cut(&mut self) {
        match std::mem::replace(self, Self::Gone) {
            Self::Duplex(duplex) => duplex.cut(),
            // Without the option it ends in an orderly close, of TCP.
            io => drop(io.socket().map(|tcp| tcp.set_zero_linger())),
        }
    }

    /// It is about to be dropped in order: TLS says so, if the socket takes it at once.
    pub(crate) fn say_last(&mut self) {
        if let Self::Tls(tls) = self {
            // Nobody waits for it, and there is nobody to tell that it went wrong.
            drop(Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop())));
        }
    }
}

fn is_readable(tcp: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    !is_would_block(
        &socket2::SockRef::from(tcp)
            .recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT),
    )
}

fn is_would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Io {
    /// A TLS peer that closes without saying so (close_notify, RFC 8446 §6.1) has cut the
    /// connection: `UnexpectedEof`.
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => {
                // What did not fit into the socket goes out while its answer is waited for. That it
                // cannot, the read says.
                if tls.get_ref().1.wants_write() {
                    drop(Pin::new(&mut *tls).poll_flush(cx));
                }
                Pin::new(tls).poll_read(cx, buf)
            }
            Self::Duplex(duplex) => Pin::new(duplex).poll_read(cx, buf),
            Self::Gone => gone(),
        }
    }
}

impl AsyncWrite for Io {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
            Self::Duplex(duplex) => Pin::new(duplex).poll_write(cx, bytes),
            Self::Gone => gone(),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, parts),
            Self::Duplex(duplex) => Pin::new(duplex).poll_write_vectored(cx, parts),
            Self::Gone => gone(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Only TLS holds anything back: what was written is encrypted, and waits for the socket.
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(tls) if tls.get_ref().1.wants_write() => Pin::new(tls).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::Duplex(duplex) => Pin::new(duplex).poll_shutdown(cx),
            Self::Gone => gone(),
        }
    }
}

//! One worker's listening socket: what is accepted from it, and how it comes to its end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{SockFilter, SockRef};

use super::{THIS_HOST, unix};
use crate::clients::Allowance;

/// What connections come out of.
pub(super) enum Accepts {
    Tcp(tokio::net::TcpListener),
    /// With the number of the listener.
    Unix(tokio::net::UnixListener, u16),
}

impl AsFd for Accepts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket, _) => socket.as_fd(),
        }
    }
}

/// One worker's listening socket; served by [`crate::worker::Worker::serve`].
pub struct Listener {
    /// Its [`Listeners`](super::Listeners) look at it while it is open.
    pub(super) accepts: Arc<Accepts>,
    pub(crate) outlives: bool,
    /// Others accept from the same queue.
    pub(crate) shared: bool,
    pub(super) file: Option<Arc<unix::File>>,
    /// Another process accepts from its queue from now on.
    pub(super) handed_over: Arc<AtomicBool>,
    pub(crate) allowance: Arc<Allowance>,
}

impl Listener {
    /// The next connection, and who has made it: through a file, [`THIS_HOST`].
    pub(crate) async fn accept(&self) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
        match &*self.accepts {
            Accepts::Tcp(socket) => socket.accept().await,
            Accepts::Unix(socket, number) => {
                let (stream, _) = socket.accept().await?;
                let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
                let stream = tokio::net::TcpStream::from_std(stream)?;
                Ok((stream, SocketAddr::new(THIS_HOST, *number)))
            }
        }
    }

    /// The next connection that is there, by the kernel's word: the event loop may not have heard
    /// of it yet.
    ///
    /// # Errors
    /// The kernel's: there is none, most often.
    pub(crate) fn accept_now(&self) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
        let (stream, peer) = SockRef::from(&*self.accepts).accept()?;
        stream.set_nonblocking(true)?;
        let peer = match &*self.accepts {
            Accepts::Tcp(_) => peer.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?,
            Accepts::Unix(_, number) => SocketAddr::new(THIS_HOST, *number),
        };
        Ok((tokio::net::TcpStream::from_std(stream.into())?, peer))
    }

    /// Whether another process accepts from its queue, which is to be left as it is.
    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Sees to it that nobody comes any more, if it is a file. Those who have come are accepted.
    pub(crate) fn unlink(&self) {
        if let Some(file) = &self.file {
            drop(file.remove());
        }
    }

    /// Has the kernel drop the first packet of every new connection (a SYN without an ACK). Its
    /// client sends it again after a second (RFC 6298 §2) and then meets whoever listens there, or
    /// nobody. Connections whose first packet was answered before still come to be accepted.
    ///
    /// # Errors
    /// The kernel's, where it takes no filter for a socket.
    pub(crate) fn take_no_more(&self) -> io::Result<()> {
        match &*self.accepts {
            Accepts::Tcp(socket) => socket2::SockRef::from(socket).attach_filter(&NO_SYN),
            // Its file is gone, and a connection is whole at once.
            Accepts::Unix(..) => Ok(()),
        }
    }
}

/// A classic BPF program over a TCP segment, `linux/bpf_common.h`: drops those with SYN and without
/// ACK among their flags (RFC 9293 §3.1, octet 13), and leaves all others whole.
const NO_SYN: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),          // ld byte [13]
    SockFilter::new(0x54, 0, 0, 0x12),        // and SYN|ACK
    SockFilter::new(0x15, 0, 1, 0x02),        // is it SYN alone?
    SockFilter::new(0x06, 0, 0, 0),           // yes: drop it
    SockFilter::new(0x06, 0, 0, 0xffff_ffff), // no: keep it
];

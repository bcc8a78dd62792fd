//! One worker's listening socket: what is accepted from it, and how it comes to its end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use socket2::SockFilter;

use super::{Bound, THIS_HOST, unix};
use crate::clients::Allowance;

/// What connections come out of.
pub(super) enum Accepts {
    Tcp(tokio::net::TcpListener),
    /// With the number of the listener.
    Unix(tokio::net::UnixListener, u16),
}

/// One worker's listening socket; served by [`crate::worker::Worker::serve`].
pub struct Listener {
    pub(super) accepts: Accepts,
    pub(crate) outlives: bool,
    /// Others accept from the same queue.
    pub(crate) shared: bool,
    pub(super) file: Option<Arc<unix::File>>,
    pub(crate) allowance: Arc<Allowance>,
}

/// A socket of which nobody tells when a connection has come.
pub(crate) struct Backlog(Bound, u16);

impl Listener {
    /// The next connection, and who has made it: through a file, [`THIS_HOST`].
    pub(crate) async fn accept(&self) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
        match &self.accepts {
            Accepts::Tcp(socket) => socket.accept().await,
            Accepts::Unix(socket, number) => {
                let (stream, _) = socket.accept().await?;
                let stream = std::net::TcpStream::from(OwnedFd::from(stream.into_std()?));
                let stream = tokio::net::TcpStream::from_std(stream)?;
                Ok((stream, SocketAddr::new(THIS_HOST, *number)))
            }
        }
    }

    /// For what the event loop may not have heard of.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn into_backlog(self) -> io::Result<Backlog> {
        Ok(match self.accepts {
            Accepts::Tcp(socket) => Backlog(Bound::Tcp(socket.into_std()?), 0),
            Accepts::Unix(socket, number) => Backlog(Bound::Unix(socket.into_std()?), number),
        })
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
        match &self.accepts {
            Accepts::Tcp(socket) => socket2::SockRef::from(socket).attach_filter(&NO_SYN),
            // Its file is gone, and a connection is whole at once.
            Accepts::Unix(..) => Ok(()),
        }
    }
}

impl Backlog {
    /// The next connection that is there, if any.
    pub(crate) fn accept(&self) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
        let (stream, peer) = match &self.0 {
            Bound::Tcp(socket) => socket.accept()?,
            Bound::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                (OwnedFd::from(stream).into(), SocketAddr::new(THIS_HOST, self.1))
            }
        };
        stream.set_nonblocking(true)?;
        Ok((tokio::net::TcpStream::from_std(stream)?, peer))
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

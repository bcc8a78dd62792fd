//! How messages reach a place. Connections are made when there is something to send, and made anew
//! a while after they broke.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    time::{Duration, Instant},
};

use cluster_config::document::log::LogAddress;

/// The longest message in a datagram: what log servers take by default (rsyslog has 8 KiB).
pub(super) const MOST_DATAGRAM: usize = 8 * 1024;
/// For a connection, and for each write.
const PATIENCE: Duration = Duration::from_secs(5);
/// A place that was away is asked again after this time.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Transport {
    to: LogAddress,
    open: Option<Open>,
    /// Not before this.
    again: Option<Instant>,
    failing: bool,
}

enum Open {
    Stdout,
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

impl Transport {
    pub(super) fn new(to: &LogAddress) -> Self {
        Self { to: to.clone(), open: None, again: None, failing: false }
    }

    /// Whether each message goes by itself. Known once somebody has answered there.
    pub(super) fn takes_datagrams(&mut self) -> bool {
        self.connect();
        match &self.open {
            Some(open) => matches!(open, Open::Udp(_) | Open::Datagrams(_)),
            None => !matches!(self.to, LogAddress::Stdout | LogAddress::Tcp(..)),
        }
    }

    /// Whether it was sent.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        self.connect();
        let Some(open) = &mut self.open else { return false };
        match open.send(message) {
            Ok(()) => {
                self.failing = false;
                true
            }
            // A datagram that was too long, or refused, says nothing of the next one.
            Err(error) if matches!(open, Open::Udp(_)) => {
                self.complain(&error);
                false
            }
            Err(error) => {
                self.complain(&error);
                self.open = None;
                self.again = Some(relay::clock::now() + AGAIN);
                false
            }
        }
    }

    fn connect(&mut self) {
        if self.open.is_some() || self.again.is_some_and(|again| relay::clock::now() < again) {
            return;
        }
        match connect(&self.to) {
            Ok(open) => {
                self.open = Some(open);
                self.again = None;
            }
            Err(error) => {
                self.complain(&error);
                self.again = Some(relay::clock::now() + AGAIN);
            }
        }
    }

    /// Once per trouble, not once per record.
    fn complain(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::warn!(to = %self.to, %error, "a log target cannot be reached; its copies of \
                records are counted as dropped");
        }
        self.failing = true;
    }
}

impl Open {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(message)?;
                stdout.flush()
            }
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(stream) => stream.write_all(message),
            Self::Datagrams(socket) => socket.send(message).map(drop),
            Self::Stream(stream) => stream.write_all(message),
        }
    }
}

fn connect(to: &LogAddress) -> io::Result<Open> {
    match to {
        LogAddress::Stdout => Ok(Open::Stdout),
        LogAddress::Udp(host, port) => {
            let address = resolve(host, *port)?;
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Ok(Open::Udp(socket))
        }
        LogAddress::Tcp(host, port) => {
            let stream = TcpStream::connect_timeout(&resolve(host, *port)?, PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Open::Tcp(stream))
        }
        LogAddress::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            match socket.connect(path) {
                Ok(()) => {
                    socket.set_write_timeout(Some(PATIENCE))?;
                    Ok(Open::Datagrams(socket))
                }
                Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                    let stream = UnixStream::connect(path)?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    Ok(Open::Stream(stream))
                }
                Err(error) => Err(error),
            }
        }
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let mut addresses = (host, port).to_socket_addrs()?;
    addresses.next().ok_or_else(|| io::Error::other("the name has no address"))
}

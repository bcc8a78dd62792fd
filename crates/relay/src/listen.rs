//! Listening sockets: one per worker, sharing one port through SO_REUSEPORT.
//!
//! The first bind is exclusive, so that a port in use is an error instead of half the connections going to a stranger;
//! only then is the socket opened for the others.
//!
//! A socket that outlives the process ([`Listeners::adopt`]) stays one: every worker accepts from its one queue, which the process leaves as it
//! is when it ends, for the next one to go on with.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

use socket2::{Domain, Protocol, Socket, Type};

use crate::worker::Worker;

/// What listeners are made with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections that the kernel keeps for each worker until they are accepted (bounded by net.core.somaxconn).
    pub backlog: i32,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 4096 }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{0} is in use by another process; stop it or choose another port")]
    InUse(SocketAddr),
    /// Low ports need a privilege.
    #[error("no permission to listen on {0}; choose a port from 1024 on or grant CAP_NET_BIND_SERVICE")]
    Denied(SocketAddr),
    /// The address is not one of this host's.
    #[error("{0} is not an address of this host")]
    NotLocal(SocketAddr),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Denied(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            _ => Self::Io { address, source },
        }
    }
}

/// One address, bound once per worker.
pub struct Listeners {
    address: SocketAddr,
    /// By worker; emptied by [`Listeners::take`].
    sockets: Vec<Mutex<Option<TcpListener>>>,
    /// Somebody else keeps the socket open when this process ends.
    outlives: bool,
}

impl Listeners {
    /// Binds `address` for `workers` workers; port 0 chooses one port for all of them.
    ///
    /// # Errors
    /// [`BindError`], with the remedy in its text.
    pub fn bind(address: SocketAddr, workers: usize, options: &Options) -> Result<Self, BindError> {
        let bind = || -> io::Result<TcpListener> {
            let socket = socket(address)?;
            socket.bind(&address.into())?;
            socket.listen(options.backlog)?;
            Ok(socket.into())
        };
        let first = bind().map_err(|source| BindError::new(address, source))?;
        Self::share(first, workers, options)
    }

    /// Adds listeners for the other workers to one that was bound exclusively before.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses the others.
    pub fn share(first: TcpListener, workers: usize, options: &Options) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = first.local_addr().map_err(|source| BindError::new(unknown, source))?;
        let share = || -> io::Result<Vec<Mutex<Option<TcpListener>>>> {
            let first = Socket::from(first);
            first.set_reuse_port(true)?;
            // Accepted sockets inherit it: one system call less for each connection.
            first.set_tcp_nodelay(true)?;
            first.set_nonblocking(true)?;
            first.listen(options.backlog)?;
            let mut sockets = vec![Mutex::new(Some(first.into()))];
            while sockets.len() < workers {
                let socket = socket(address)?;
                socket.set_reuse_port(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.bind(&address.into())?;
                socket.listen(options.backlog)?;
                sockets.push(Mutex::new(Some(socket.into())));
            }
            Ok(sockets)
        };
        Ok(Self { address, sockets: share().map_err(|source| BindError::new(address, source))?, outlives: false })
    }

    /// Lets every worker accept from one socket that a service manager keeps open. Not through SO_REUSEPORT: each of its sockets has a queue of
    /// its own, and what waits there is reset when the process ends.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses.
    pub fn adopt(inherited: TcpListener, workers: usize) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = inherited.local_addr().map_err(|source| BindError::new(unknown, source))?;
        let duplicate = || -> io::Result<Vec<Mutex<Option<TcpListener>>>> {
            inherited.set_nonblocking(true)?;
            socket2::SockRef::from(&inherited).set_tcp_nodelay(true)?;
            (0..workers.max(1)).map(|_| Ok(Mutex::new(Some(inherited.try_clone()?)))).collect()
        };
        Ok(Self { address, sockets: duplicate().map_err(|source| BindError::new(address, source))?, outlives: true })
    }

    /// The address with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// This worker's listener; once.
    ///
    /// # Errors
    /// When it was taken before, or there is none for this worker, or it cannot be registered.
    pub fn take(&self, worker: &Worker) -> io::Result<Listener> {
        let slot = self.sockets.get(worker.index()).and_then(|slot| slot.lock().ok()?.take());
        let socket = slot.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no listener left for this worker"))?;
        Ok(Listener { tcp: tokio::net::TcpListener::from_std(socket)?, outlives: self.outlives })
    }
}

/// One worker's listening socket; served by [`Worker::serve`].
pub struct Listener {
    pub(crate) tcp: tokio::net::TcpListener,
    pub(crate) outlives: bool,
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections in TIME_WAIT must not keep a restarted process out; a listening socket still does.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != std::net::Ipv6Addr::UNSPECIFIED)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn all_workers_share_the_chosen_port() {
        let listeners = Listeners::bind(loopback(), 3, &Options::default()).unwrap();
        assert_ne!(listeners.local_addr().port(), 0);
        for socket in &listeners.sockets {
            let socket = socket.lock().unwrap();
            assert_eq!(socket.as_ref().unwrap().local_addr().unwrap(), listeners.local_addr());
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_even_among_sharers() {
        let listeners = Listeners::bind(loopback(), 2, &Options::default()).unwrap();
        let again = Listeners::bind(listeners.local_addr(), 2, &Options::default());
        assert!(matches!(again, Err(BindError::InUse(address)) if address == listeners.local_addr()));
        let port = listeners.local_addr();
        drop(listeners);
        Listeners::bind(port, 2, &Options::default()).unwrap();
    }

    #[test]
    fn an_adopted_socket_has_one_queue_and_outlives_its_listeners() {
        use std::io::{Read, Write};
        let kept = TcpListener::bind(loopback()).unwrap();
        let adopted = Listeners::adopt(kept.try_clone().unwrap(), 3).unwrap();
        assert_eq!(adopted.local_addr(), kept.local_addr().unwrap());
        let mut client = std::net::TcpStream::connect(adopted.local_addr()).unwrap();
        client.write_all(b"x").unwrap();
        drop(adopted);
        let again = Listeners::adopt(kept, 2).unwrap();
        let second = again.sockets[1].lock().unwrap().take().unwrap();
        let (mut served, _) = second.accept().unwrap();
        served.set_nonblocking(false).unwrap();
        let mut byte = [0];
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_foreign_address_is_named() {
        let result = Listeners::bind("192.0.2.1:0".parse().unwrap(), 1, &Options::default());
        assert!(matches!(result, Err(BindError::NotLocal(_))));
    }
}

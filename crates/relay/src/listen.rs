//! Listening sockets: one per worker, sharing one port through SO_REUSEPORT.
//!
//! The first bind is exclusive, so that a port in use is an error instead of half the connections
//! going to a stranger; only then is the socket opened for the others.
//!
//! A reload can change what a process listens on. An address that stays keeps its socket, even if
//! something else is served there ([`plan`] decides). An address that overlaps with one that is
//! open (`0.0.0.0:80` in the place of `127.0.0.1:80`, and back) is bound beside it
//! ([`Listeners::open`]), so that no client finds the port closed in between; the kernel's table of
//! sockets then tells whether another process listens there.
//!
//! A socket that a service manager keeps open ([`Listeners::adopt`]) is not opened once per worker:
//! all workers accept from its one queue. The process leaves that queue as it is when it ends, and
//! its successor goes on with it.
//!
//! Before a socket is closed, it stops taking new connections and the handshakes under way are
//! completed (`Listener::take_no_more`). Otherwise a connection that the kernel accepts between the
//! last `accept` and the `close` would be reset, although its client may have sent a request.
//!
//! A process that takes over from another of the same name gets the sockets themselves
//! ([`Listeners::duplicates`], [`Listeners::resume`]): as long as one process has a socket open,
//! nothing that waits in its queue is lost. The one before lets go of them
//! ([`Listeners::hand_over`]).
//!
//! A socket may be a file ([`unix`]), from whose one queue all workers accept. Before it is closed
//! its file is removed, so that nobody comes to wait in vain.

mod address;
mod error;
mod handover;
mod listener;
mod plan;
mod table;
pub mod unix;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, Protocol, Socket, Type};

pub use self::address::{Address, THIS_HOST, is_of_this_host};
pub use self::error::BindError;
use self::listener::Accepts;
pub use self::listener::Listener;
pub use self::plan::{Named, Step, overlap, plan};
use crate::clients::Allowance;
use crate::worker::Worker;

/// What listeners are made with.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connections that the kernel keeps for each worker until they are accepted (bounded by
    /// net.core.somaxconn).
    pub backlog: i32,
    /// Bind also an address that this host does not have now, because it moves between hosts.
    pub freebind: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { backlog: 4096, freebind: false }
    }
}

/// A socket that listens.
#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// How a worker comes to another socket.
enum Again {
    /// All share one, of which this is a duplicate.
    Duplicate(Bound),
    /// Another one is bound to the address.
    Bind(Options),
}

/// One address, bound once per worker.
pub struct Listeners {
    address: Address,
    /// By worker; emptied by [`Listeners::take`].
    sockets: Vec<Mutex<Option<Bound>>>,
    /// A service manager keeps the socket open when this process ends.
    outlives: bool,
    /// The file that it is and that goes with it.
    file: Option<Arc<unix::File>>,
    /// What clients of a file have for a port.
    number: u16,
    /// Bound, and made to listen only when a worker takes it.
    quiet: Option<i32>,
    /// What a worker gets that has given its socket up, and wants one again.
    again: Again,
    /// Those that workers have taken, to be seen while they are open.
    taken: Mutex<Vec<Weak<Accepts>>>,
    /// More than there are workers, from a process that had more of them.
    surplus: Mutex<Vec<TcpListener>>,
    handed_over: Arc<AtomicBool>,
    allowance: Arc<Allowance>,
}

impl Listeners {
    /// Binds `address` for `workers` workers; port 0 chooses one port for all of them.
    ///
    /// # Errors
    /// [`BindError`], with the remedy in its text.
    pub fn bind(address: SocketAddr, workers: usize, options: &Options) -> Result<Self, BindError> {
        let bind = || -> io::Result<TcpListener> {
            let socket = socket(address, options.freebind)?;
            socket.bind(&address.into())?;
            socket.listen(options.backlog)?;
            Ok(socket.into())
        };
        let first = bind().map_err(|source| BindError::new(address, source))?;
        Self::share(first, workers, options)
    }

    /// Binds `address` although this process may listen there already, or at an address that
    /// overlaps: exclusively if possible, else beside its own sockets. In the second case the new
    /// sockets listen once workers take them; until then the old ones take the connections.
    ///
    /// # Errors
    /// [`BindError`]; also when another process listens there and the kernel would share the port.
    pub fn open(address: SocketAddr, workers: usize, options: &Options) -> Result<Self, BindError> {
        match Self::bind(address, workers, options) {
            Err(BindError::InUse(_)) => {}
            decided => return decided,
        }
        if table::a_stranger_listens(address).map_err(|source| BindError::Io { address, source })? {
            return Err(BindError::InUse(address));
        }
        let bind = || -> io::Result<Vec<TcpListener>> {
            let mut sockets = Vec::new();
            while sockets.len() < workers.max(1) {
                let socket = socket(address, options.freebind)?;
                socket.set_reuse_port(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.bind(&address.into())?;
                sockets.push(socket.into());
            }
            Ok(sockets)
        };
        let sockets = bind().map_err(|source| BindError::new(address, source))?;
        Ok(Self::of(address, sockets, Some(options.backlog), Again::Bind(*options)))
    }

    fn of(
        address: SocketAddr,
        sockets: Vec<TcpListener>,
        quiet: Option<i32>,
        again: Again,
    ) -> Self {
        let sockets = sockets.into_iter().map(|socket| Mutex::new(Some(Bound::Tcp(socket))));
        Self {
            address: address.into(),
            sockets: sockets.collect(),
            outlives: matches!(again, Again::Duplicate(_)),
            file: None,
            number: 0,
            quiet,
            again,
            taken: Mutex::default(),
            surplus: Mutex::default(),
            handed_over: Arc::default(),
            allowance: Arc::default(),
        }
    }

    /// Listens at a file for `workers` workers. Its clients are told by the `number` of the
    /// listener, as they have no address.
    ///
    /// # Errors
    /// [`BindError::File`].
    pub fn at_file(
        path: &Arc<Path>,
        access: &unix::Access,
        workers: usize,
        number: u16,
    ) -> Result<Self, BindError> {
        let bind = || {
            let (first, file) = unix::bind(path, access)?;
            let mut sockets = vec![Mutex::new(Some(Bound::Unix(first.try_clone()?)))];
            while sockets.len() < workers {
                sockets.push(Mutex::new(Some(Bound::Unix(first.try_clone()?))));
            }
            Ok((sockets, file, first))
        };
        let (sockets, file, first) =
            bind().map_err(|why| BindError::File { path: path.clone(), why })?;
        Ok(Self {
            address: Address::Unix(path.clone()),
            sockets,
            outlives: false,
            file: Some(Arc::new(file)),
            number,
            quiet: None,
            again: Again::Duplicate(Bound::Unix(first)),
            taken: Mutex::default(),
            surplus: Mutex::default(),
            handed_over: Arc::default(),
            allowance: Arc::default(),
        })
    }

    /// As [`adopt`](Self::adopt), of a file, which stays where it is. For `number` see
    /// [`at_file`](Self::at_file).
    ///
    /// # Errors
    /// [`BindError::File`].
    pub fn adopt_file(
        path: &Arc<Path>,
        inherited: UnixListener,
        workers: usize,
        number: u16,
    ) -> Result<Self, BindError> {
        let duplicate = || -> io::Result<Vec<_>> {
            inherited.set_nonblocking(true)?;
            let duplicate = |_| Ok(Mutex::new(Some(Bound::Unix(inherited.try_clone()?))));
            (0..workers.max(1)).map(duplicate).collect()
        };
        let failed = |why: io::Error| BindError::File { path: path.clone(), why: why.into() };
        Ok(Self {
            address: Address::Unix(path.clone()),
            sockets: duplicate().map_err(failed)?,
            outlives: true,
            file: None,
            number,
            quiet: None,
            again: Again::Duplicate(Bound::Unix(inherited)),
            taken: Mutex::default(),
            surplus: Mutex::default(),
            handed_over: Arc::default(),
            allowance: Arc::default(),
        })
    }

    /// Whether it is a file that this process has made.
    pub const fn is_own_file(&self) -> bool {
        self.file.is_some()
    }

    /// Adds listeners for the other workers to one that was bound exclusively before.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses the others.
    pub fn share(first: TcpListener, workers: usize, options: &Options) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = first.local_addr().map_err(|source| BindError::new(unknown, source))?;
        let share = || -> io::Result<Vec<TcpListener>> {
            let first = Socket::from(first);
            first.set_reuse_port(true)?;
            // Accepted sockets inherit it: one system call less for each connection.
            first.set_tcp_nodelay(true)?;
            first.set_nonblocking(true)?;
            first.listen(options.backlog)?;
            let mut sockets = vec![first.into()];
            while sockets.len() < workers {
                let socket = socket(address, options.freebind)?;
                socket.set_reuse_port(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.bind(&address.into())?;
                socket.listen(options.backlog)?;
                sockets.push(socket.into());
            }
            Ok(sockets)
        };
        Ok(Self::of(
            address,
            share().map_err(|source| BindError::new(address, source))?,
            None,
            Again::Bind(*options),
        ))
    }

    /// Lets every worker accept from one socket that a service manager keeps open. Not through
    /// SO_REUSEPORT: each of its sockets has a queue of its own, and what waits there is reset when
    /// the process ends.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses.
    pub fn adopt(inherited: TcpListener, workers: usize) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let address = inherited.local_addr().map_err(|source| BindError::new(unknown, source))?;
        let duplicate = || -> io::Result<Vec<TcpListener>> {
            inherited.set_nonblocking(true)?;
            socket2::SockRef::from(&inherited).set_tcp_nodelay(true)?;
            (0..workers.max(1)).map(|_| inherited.try_clone()).collect()
        };
        Ok(Self::of(
            address,
            duplicate().map_err(|source| BindError::new(address, source))?,
            None,
            Again::Duplicate(Bound::Tcp(inherited)),
        ))
    }

    /// Where it is, with its real port.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// The address with its real port; of a file, [`THIS_HOST`].
    pub fn local_addr(&self) -> SocketAddr {
        self.address.ip_or_this_host()
    }

    /// What one client may have here.
    pub fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    /// This worker's listener. One that was taken before has been given up since: then another is
    /// made, beside those of the other workers.
    ///
    /// # Errors
    /// When there is none for this worker, or it cannot be made or registered.
    pub fn take(&self, worker: &Worker) -> io::Result<Listener> {
        let slot = self.sockets.get(worker.index()).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "there is no listener for this worker")
        })?;
        let first = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.listener(first.map_or_else(|| self.again(), Ok)?)
    }

    /// A listener for what is left of a process that had more workers: to be closed at once, which
    /// lets those who wait in its queue in.
    ///
    /// # Errors
    /// It cannot be registered.
    pub fn take_surplus(&self) -> io::Result<Option<Listener>> {
        let one = self.surplus.lock().unwrap_or_else(PoisonError::into_inner).pop();
        one.map(|socket| self.listener(Bound::Tcp(socket))).transpose()
    }

    fn listener(&self, socket: Bound) -> io::Result<Listener> {
        let accepts = match socket {
            Bound::Unix(socket) => {
                Accepts::Unix(tokio::net::UnixListener::from_std(socket)?, self.number)
            }
            Bound::Tcp(socket) => {
                if let Some(backlog) = self.quiet {
                    socket2::SockRef::from(&socket).listen(backlog)?;
                }
                Accepts::Tcp(tokio::net::TcpListener::from_std(socket)?)
            }
        };
        let accepts = Arc::new(accepts);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|it| it.strong_count() > 0);
        taken.push(Arc::downgrade(&accepts));
        Ok(Listener {
            accepts,
            handed_over: self.handed_over.clone(),
            outlives: self.outlives,
            shared: matches!(self.again, Again::Duplicate(_)),
            file: self.file.clone(),
            allowance: self.allowance.clone(),
        })
    }
}

impl Listeners {
    fn again(&self) -> io::Result<Bound> {
        match &self.again {
            Again::Duplicate(Bound::Tcp(socket)) => socket.try_clone().map(Bound::Tcp),
            Again::Duplicate(Bound::Unix(socket)) => socket.try_clone().map(Bound::Unix),
            Again::Bind(options) => {
                let address = self.local_addr();
                let socket = socket(address, options.freebind)?;
                socket.set_reuse_port(true)?;
                socket.set_tcp_nodelay(true)?;
                socket.bind(&address.into())?;
                socket.listen(options.backlog)?;
                Ok(Bound::Tcp(socket.into()))
            }
        }
    }
}

impl Drop for Listeners {
    /// What was bound and never served leaves no file, either.
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // What cannot be removed is replaced by whoever listens there next.
            drop(file.remove());
        }
    }
}

fn socket(address: SocketAddr, freebind: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections in TIME_WAIT must not keep a restarted process out; a listening socket still
    // does.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != std::net::Ipv6Addr::UNSPECIFIED)?;
    }
    match address {
        _ if !freebind => {}
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
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
    fn an_address_that_moves_is_bound_before_it_is_there() {
        for elsewhere in ["192.0.2.100:0", "[2001:db8::100]:0"] {
            let address = elsewhere.parse().unwrap();
            let freebind = Options { freebind: true, ..Options::default() };
            let bound = Listeners::open(address, 2, &freebind).expect("bound");
            assert_ne!(bound.local_addr().port(), 0);
            let refused = Listeners::open(address, 2, &Options::default()).map(|_| ());
            assert!(matches!(refused, Err(BindError::NotLocal(_))), "{refused:?}");
        }
    }

    #[test]
    fn all_workers_share_the_chosen_port() {
        let listeners = Listeners::bind(loopback(), 3, &Options::default()).unwrap();
        assert_ne!(listeners.local_addr().port(), 0);
        for socket in &listeners.sockets {
            let socket = tcp(socket.lock().unwrap().take());
            assert_eq!(socket.local_addr().unwrap(), listeners.local_addr());
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_even_among_sharers() {
        let listeners = Listeners::bind(loopback(), 2, &Options::default()).unwrap();
        let again = Listeners::bind(listeners.local_addr(), 2, &Options::default());
        assert!(
            matches!(again, Err(BindError::InUse(address)) if address == listeners.local_addr())
        );
        let port = listeners.local_addr();
        drop(listeners);
        Listeners::bind(port, 2, &Options::default()).unwrap();
    }

    #[test]
    fn an_address_of_ours_is_bound_beside_what_is_open() {
        let options = Options::default();
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let connects = |port| std::net::TcpStream::connect(loopback_at(port)).is_ok();
        for narrowed in [false, true] {
            let port = Listeners::bind(loopback(), 2, &options).unwrap().local_addr().port();
            let (before, after) = if narrowed {
                (any(port), loopback_at(port))
            } else {
                (loopback_at(port), any(port))
            };
            let ours = Listeners::bind(before, 2, &options).unwrap();
            assert!(
                matches!(Listeners::bind(after, 2, &options), Err(BindError::InUse(_))),
                "not by accident"
            );
            let beside = Listeners::open(after, 2, &options).unwrap();
            assert!(connects(port));
            drop(ours);
            assert!(!connects(port), "it takes nobody before a worker does");
            drop(beside);
            // A socket that does not share stays alone, whoever's it is.
            let alone = TcpListener::bind(before).unwrap();
            assert!(matches!(Listeners::open(after, 2, &options), Err(BindError::InUse(_))));
            drop(alone);
            assert!(
                connects_to(&Listeners::open(after, 2, &options).unwrap()),
                "exclusively, it listens at once"
            );
        }
    }

    fn connects_to(listeners: &Listeners) -> bool {
        std::net::TcpStream::connect(loopback_at(listeners.local_addr().port())).is_ok()
    }

    fn tcp(socket: Option<Bound>) -> TcpListener {
        let Some(Bound::Tcp(socket)) = socket else { panic!("no TCP: {socket:?}") };
        socket
    }

    fn loopback_at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
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
        let second = tcp(again.sockets[1].lock().unwrap().take());
        let (mut served, _) = second.accept().unwrap();
        served.set_nonblocking(false).unwrap();
        let mut byte = [0];
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[tokio::test]
    async fn a_closing_socket_takes_what_it_had_and_leaves_the_rest_to_its_successor() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let options = Options::default();
            let old = Listeners::bind(any.parse().unwrap(), 1, &options).unwrap();
            let address = old.local_addr();
            let socket = tcp(old.sockets[0].lock().unwrap().take());
            let old = Listener {
                accepts: Accepts::Tcp(tokio::net::TcpListener::from_std(socket).unwrap()).into(),
                handed_over: Arc::default(),
                outlives: false,
                shared: false,
                file: None,
                allowance: Arc::default(),
            };
            let waits = tokio::net::TcpStream::connect(address).await.unwrap();
            old.take_no_more().unwrap();
            let mut late = std::pin::pin!(tokio::net::TcpStream::connect(address));
            let sent_in_vain = tokio::select! {
                biased;
                _ = &mut late => false,
                () = std::future::ready(()) => true,
            };
            let (_, peer) = old.accept().await.unwrap();
            assert_eq!(peer, waits.local_addr().unwrap());
            let new = Listeners::open(address, 1, &options).unwrap();
            let new = tcp(new.sockets[0].lock().unwrap().take());
            socket2::SockRef::from(&new).listen(16).unwrap();
            let new = tokio::net::TcpListener::from_std(new).unwrap();
            let nothing_came = tokio::select! {
                biased;
                _ = old.accept() => false,
                () = std::future::ready(()) => true,
            };
            drop(old);
            let both = async { tokio::join!(new.accept(), late) };
            let (accepted, late) = tokio::time::timeout(std::time::Duration::from_secs(20), both)
                .await
                .expect("who came late is taken by the successor");
            assert_eq!(accepted.unwrap().1, late.unwrap().local_addr().unwrap());
            assert!(sent_in_vain && nothing_came);
        }
    }

    #[test]
    fn a_foreign_address_is_named() {
        let result = Listeners::bind("192.0.2.1:0".parse().unwrap(), 1, &Options::default());
        assert!(matches!(result, Err(BindError::NotLocal(_))));
    }
}

//! Listening sockets that a service manager opened before this process was started
//! (sd_listen_fds(3)).
//!
//! They outlive the process: while it is started again, connections wait in the socket's queue
//! instead of being refused. A socket is lent, never given away, because a configuration may drop a
//! listener and want it back, and nobody else could bind its address meanwhile.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::{
    error::{Error, ErrorContext},
    takeover::{Handed, Predecessor},
};

/// What they are handed over as.
const INHERITED: &str = "inherited";

const REMEDY: &str = "in the .socket unit write ListenStream=ADDRESS:PORT or a path, and Accept=no";

/// The sockets that this process was started with. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inherited(Arc<Sockets>);

#[derive(Debug, Default)]
struct Sockets {
    all: Vec<Socket>,
    /// Those that somebody listens on, by their place in `all`.
    lent: Mutex<BTreeSet<usize>>,
}

#[derive(Debug)]
struct Socket {
    name: String,
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Tcp(SocketAddr, TcpListener),
    /// At a file.
    Unix(PathBuf, UnixListener),
}

impl fmt::Display for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address, _) => address.fmt(formatter),
            Self::Unix(path, _) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Inherited {
    /// What the environment says was passed to this process: `LISTEN_PID`, `LISTEN_FDS`,
    /// `LISTEN_FDNAMES`.
    ///
    /// # Errors
    /// What was passed is no listening stream socket.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let passed = sd_notify::listen_fds_with_names()
            .context("take over the sockets of the service manager", REMEDY)?;
        let all = passed
            .map(|(descriptor, name)| Socket::of(descriptor, name))
            .collect::<Result<_, _>>()?;
        Ok(Self::of(all))
    }

    /// Those of the process that this one takes over from, or else its own.
    pub(crate) fn resumed(self, predecessor: &Predecessor) -> Self {
        let mut all = Vec::new();
        while let Some(handed) = predecessor.take_if(|it| it.purpose == INHERITED) {
            let name = handed.which;
            all.extend(
                handed.descriptors.into_iter().filter_map(|it| Socket::listening(it, name.clone())),
            );
        }
        if all.is_empty() { self } else { Self::of(all) }
    }

    /// What a successor needs of them: all, as the service manager has passed them.
    pub(crate) fn handed(&self) -> impl Iterator<Item = io::Result<Handed>> + '_ {
        self.0.all.iter().map(|socket| match &socket.listener {
            Listener::Tcp(_, listener) => Handed::one(INHERITED, &socket.name, listener),
            Listener::Unix(_, listener) => Handed::one(INHERITED, &socket.name, listener),
        })
    }

    fn of(all: Vec<Socket>) -> Self {
        Self(Arc::new(Sockets { all, lent: Mutex::default() }))
    }

    /// The socket for an endpoint, if one was inherited: by the endpoint's name
    /// (`FileDescriptorName=`), whatever its address, or else by its address. What is lent shares
    /// the inherited one's queue of connections.
    #[must_use]
    pub fn lend(&self, endpoint: &str, asked: SocketAddr) -> Option<TcpListener> {
        let named = |socket: &Socket| {
            socket.name == endpoint && matches!(socket.listener, Listener::Tcp(..))
        };
        let named = self.0.all.iter().position(named);
        self.duplicate(named.or_else(|| self.place_of(asked))?)
    }

    /// The socket at a file, if one was inherited.
    #[must_use]
    pub fn lend_file(&self, asked: &Path) -> Option<UnixListener> {
        let at = |socket: &Socket| match &socket.listener {
            Listener::Unix(path, listener) if path == asked => Some(listener.try_clone()),
            _ => None,
        };
        let mut all = self.0.all.iter().enumerate();
        let (place, lent) = all.find_map(|(place, socket)| Some((place, at(socket)?)))?;
        self.lent(place, lent)
    }

    /// The socket at an address, if one was inherited.
    #[must_use]
    pub fn lend_at(&self, asked: SocketAddr) -> Option<TcpListener> {
        self.duplicate(self.place_of(asked)?)
    }

    fn place_of(&self, asked: SocketAddr) -> Option<usize> {
        self.0.all.iter().position(|socket| match &socket.listener {
            Listener::Tcp(address, _) => is_same(*address, asked),
            Listener::Unix(..) => false,
        })
    }

    fn duplicate(&self, place: usize) -> Option<TcpListener> {
        let Listener::Tcp(_, listener) = &self.0.all.get(place)?.listener else { return None };
        let lent = listener.try_clone();
        self.lent(place, lent.and_then(|it| it.set_nonblocking(true).map(|()| it)))
    }

    /// Remembers that it is lent.
    fn lent<L>(&self, place: usize, lent: io::Result<L>) -> Option<L> {
        let socket = self.0.all.get(place)?;
        match lent {
            Ok(listener) => {
                self.0.lent.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
                Some(listener)
            }
            Err(error) => {
                tracing::error!(name = socket.name, address = %socket.listener, "cannot use the \
                    inherited socket: {error}");
                None
            }
        }
    }

    /// Sockets that nobody listens on: whoever connects to them waits in vain.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let lent = self.0.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = self.0.all.iter().enumerate().filter(|(place, _)| !lent.contains(place));
        idle.map(|(_, socket)| format!("{} ({})", socket.name, socket.listener)).collect()
    }
}

impl Socket {
    fn of(descriptor: RawFd, name: String) -> Result<Self, Error> {
        // SAFETY: sd_listen_fds(3) has the manager leave these descriptors open for this process
        // alone, which LISTEN_PID proves, and nothing here ever closes them: what is used is a
        // duplicate.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let place = format!("descriptor {descriptor} ({name}), passed by the service manager,");
        let owned = borrowed.try_clone_to_owned().context(format!("take over {place}"), REMEDY)?;
        Self::listening(owned, name).ok_or_else(|| {
            Error::new(format!("{place} is no listening socket of TCP or a file")).remedy(REMEDY)
        })
    }

    fn listening(owned: OwnedFd, name: String) -> Option<Self> {
        let is_stream = getsockopt(&owned.as_fd(), sockopt::SockType).ok()? == SockType::Stream;
        let listens = getsockopt(&owned.as_fd(), sockopt::AcceptConn).ok()?;
        if !is_stream || !listens {
            return None;
        }
        let tcp = TcpListener::from(owned.try_clone().ok()?);
        // Only an address of the Internet families is a `SocketAddr`.
        let listener = match tcp.local_addr() {
            Ok(address) => Listener::Tcp(address, tcp),
            Err(_) => {
                let unix = UnixListener::from(owned);
                let path = unix.local_addr().ok()?.as_pathname()?.to_owned();
                Listener::Unix(path, unix)
            }
        };
        Some(Self { name, listener })
    }
}

/// Whether a socket at `address` serves who asked for `asked`; every address is every address, of
/// whichever family.
fn is_same(address: SocketAddr, asked: SocketAddr) -> bool {
    address == asked
        || (address.port() == asked.port()
            && address.ip().is_unspecified()
            && asked.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, io::Write, net::TcpStream, net::UdpSocket};

    use super::*;

    fn socket(name: &str) -> Socket {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Socket::listening(listener.into(), name.to_owned()).unwrap()
    }

    #[test]
    fn found_by_name_and_by_address_and_missed_when_nobody_asks() {
        let sockets = [socket("proxy"), socket("unknown"), socket("spare")];
        let [first, second, third] = sockets.each_ref().map(|socket| match &socket.listener {
            Listener::Tcp(address, _) => *address,
            Listener::Unix(..) => panic!("TCP"),
        });
        let inherited = Inherited::of(sockets.into());
        let elsewhere = "127.0.0.1:1".parse().unwrap();
        assert_eq!(inherited.lend("proxy", elsewhere).unwrap().local_addr().unwrap(), first);
        assert_eq!(inherited.lend("relay", second).unwrap().local_addr().unwrap(), second);
        assert!(
            inherited.lend("relay", elsewhere).is_none() && inherited.lend_at(elsewhere).is_none()
        );
        assert_eq!(inherited.lend_at(first).unwrap().local_addr().unwrap(), first);
        assert_eq!(inherited.idle(), [format!("spare ({third})")]);
        assert!(Inherited::default().lend("proxy", first).is_none());
    }

    #[test]
    fn a_connection_waits_for_the_next_borrower() {
        let inherited = Inherited::of(vec![socket("proxy")]);
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let address = inherited.lend("proxy", nowhere).unwrap().local_addr().unwrap();
        // The first borrower is gone, as a process that stops is.
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"x").unwrap();
        let (mut served, _) = inherited.lend("proxy", nowhere).unwrap().accept().unwrap();
        let mut byte = [0];
        served.set_nonblocking(false).unwrap();
        served.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn a_file_is_found_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let inherited =
            Inherited::of(vec![Socket::listening(listener.into(), "frontend".into()).unwrap()]);
        assert_eq!(inherited.idle(), [format!("frontend (unix:{})", path.display())]);
        let nowhere = "127.0.0.1:1".parse().unwrap();
        assert!(inherited.lend("frontend", nowhere).is_none(), "a file is no address");
        assert!(inherited.lend_file(Path::new("/run/other.sock")).is_none());
        let lent = inherited.lend_file(&path).unwrap();
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        lent.accept().unwrap();
        assert!(inherited.idle().is_empty());
    }

    #[test]
    fn every_address_is_every_address() {
        for (address, asked, same) in [
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "0.0.0.0:81", false),
            ("10.0.0.1:80", "0.0.0.0:80", false),
            ("10.0.0.1:80", "10.0.0.1:80", true),
        ] {
            assert_eq!(
                is_same(address.parse().unwrap(), asked.parse().unwrap()),
                same,
                "{address} {asked}"
            );
        }
    }

    #[test]
    fn what_does_not_listen_is_no_socket_of_ours() {
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Socket::listening(datagrams.into(), "proxy".into()).is_none());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(Socket::listening(connected.into(), "proxy".into()).is_none());
        let (pipe, _other) = nix::unistd::pipe().unwrap();
        assert!(Socket::listening(pipe, "proxy".into()).is_none());
    }
}

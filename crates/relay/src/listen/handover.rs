//! From one process to the next of the same name: the sockets themselves go over, with what waits
//! in their queues.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Again, BindError, Bound, Listeners, Options, unix};

impl Bound {
    fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Unix(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

impl Listeners {
    /// Goes on with the sockets of an address that another process has bound for its workers: each
    /// has a queue of its own. Missing ones are bound when workers take them.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses.
    pub fn resume(
        mut sockets: Vec<TcpListener>,
        workers: usize,
        options: &Options,
    ) -> Result<Self, BindError> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let first = sockets.first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let address = first.and_then(TcpListener::local_addr);
        let address = address.map_err(|source| BindError::new(unknown, source))?;
        for socket in &sockets {
            socket.set_nonblocking(true).map_err(|source| BindError::new(address, source))?;
        }
        let surplus = sockets.split_off(sockets.len().min(workers.max(1)));
        let mut resumed = Self::of(address, sockets, None, Again::Bind(*options));
        resumed.sockets.resize_with(workers.max(1), Mutex::default);
        resumed.surplus = Mutex::new(surplus);
        Ok(resumed)
    }

    /// The same of a file, which goes with this process from now on. For `number` see
    /// [`at_file`](Self::at_file).
    ///
    /// # Errors
    /// [`BindError::File`].
    pub fn resume_file(
        path: &Arc<Path>,
        socket: UnixListener,
        workers: usize,
        number: u16,
    ) -> Result<Self, BindError> {
        let file = unix::File::of(path)
            .map_err(|why| BindError::File { path: path.clone(), why: why.into() })?;
        let mut resumed = Self::adopt_file(path, socket, workers, number)?;
        resumed.outlives = false;
        resumed.file = Some(Arc::new(file));
        Ok(resumed)
    }

    /// Duplicates of the sockets that are open now, one of each queue, for a process that goes on
    /// with them. None: a service manager keeps the socket, and passes it on by itself.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        if self.outlives {
            return Ok(Vec::new());
        }
        if let Again::Duplicate(shared) = &self.again {
            return Ok(vec![shared.duplicate()?]);
        }
        let mut all = Vec::new();
        for slot in &self.sockets {
            if let Some(bound) = &*slot.lock().unwrap_or_else(PoisonError::into_inner) {
                all.push(bound.duplicate()?);
            }
        }
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for accepts in taken.iter().filter_map(Weak::upgrade) {
            all.push(accepts.as_fd().try_clone_to_owned()?);
        }
        Ok(all)
    }

    /// Another process accepts here from now on: workers let go of the sockets at once when they
    /// stop to accept, and leave alone what waits in them.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        if let Some(file) = &self.file {
            file.give_away();
        }
    }

    /// Whether another process accepts here.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }
}

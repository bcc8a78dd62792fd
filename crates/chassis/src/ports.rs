//! The ports of a process: bound exclusively, announced as endpoints.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    error::{Error, ErrorContext},
    inherited::Inherited,
    status::StatusHandle,
    takeover::{Handed, Predecessor},
};

/// What the sockets of endpoints are handed over as.
const PORT: &str = "port";

/// What to do when a port that was just bound cannot be used.
pub(crate) const ADMIN_REMEDY: &str = "check the address and the limits of this process";

/// Binds ports and announces them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ports {
    inherited: Inherited,
    predecessor: Option<Predecessor>,
    /// Duplicates of what this process listens on until its end.
    kept: Arc<Mutex<Vec<(String, TcpListener)>>>,
    status: StatusHandle,
}

impl Ports {
    pub(crate) fn new(
        inherited: Inherited,
        predecessor: Option<Predecessor>,
        status: StatusHandle,
    ) -> Self {
        Self { inherited, predecessor, kept: Arc::default(), status }
    }

    /// Hands the socket on to a successor, as long as it is not [released](Self::release).
    pub(crate) fn keep(&self, endpoint: &str, listener: &TcpListener) {
        match listener.try_clone() {
            Ok(duplicate) => self.kept().push((endpoint.to_owned(), duplicate)),
            Err(error) => tracing::warn!(endpoint, "cannot be handed over: {error}"),
        }
    }

    /// Lets go of all that was kept.
    pub(crate) fn release(&self) {
        self.kept().clear();
    }

    /// What a successor needs of the ports.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub(crate) fn handed(&self) -> io::Result<Vec<Handed>> {
        let kept = self.kept();
        let kept = kept.iter().map(|(endpoint, it)| Handed::one(PORT, endpoint, it));
        kept.chain(self.inherited.handed()).collect()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(String, TcpListener)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The predecessor's socket for an endpoint, if it listens where this process is to; port 0 is
    /// any port.
    fn resume(&self, endpoint: &str, asked: SocketAddr) -> Option<TcpListener> {
        let mut handed = self.predecessor.as_ref()?.take(PORT, endpoint).into_iter();
        let listener = TcpListener::from(handed.next()?);
        let at = listener.local_addr().ok()?;
        (at == asked || (asked.port() == 0 && at.ip() == asked.ip())).then_some(listener)
    }

    /// Listening sockets that a service manager passed to this process.
    #[must_use]
    pub const fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// Announces an endpoint that is bound elsewhere.
    pub fn announce(&self, endpoint: &str, address: SocketAddr) {
        self.status.add_endpoint(endpoint, address);
    }

    /// Where this process listens itself, by purpose: with
    /// [`ControlEndpoints`](crate::membership::ControlEndpoints) what no client may reach through
    /// it.
    #[must_use]
    pub fn listeners(&self) -> BTreeMap<String, SocketAddr> {
        self.status.endpoints()
    }

    /// Binds a port exclusively (non-blocking) and announces it as an endpoint, with its real
    /// number when 0 was asked for. A socket that was inherited for the endpoint is used instead.
    ///
    /// # Errors
    /// It is in use, or not this machine's.
    pub fn bind(&self, endpoint: &str, address: SocketAddr) -> Result<TcpListener, Error> {
        let refused = |error: io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("stop what listens there, or choose another address for --{endpoint}")
                }
                io::ErrorKind::AddrNotAvailable => {
                    format!("give --{endpoint} an address of this machine")
                }
                io::ErrorKind::PermissionDenied => format!(
                    "choose a port above 1023 for --{endpoint}, or grant CAP_NET_BIND_SERVICE"
                ),
                _ => format!("check --{endpoint}"),
            };
            let sentence = match error.kind() {
                io::ErrorKind::AddrInUse => format!("the {endpoint} address {address} is in use"),
                _ => format!("cannot listen on the {endpoint} address {address}: {error}"),
            };
            Error::new(sentence).remedy(remedy)
        };
        // std sets SO_REUSEADDR (restarts) and not SO_REUSEPORT, so that a port somebody listens on
        // is always refused.
        let inherited = self
            .resume(endpoint, address)
            .or_else(|| self.inherited.lend(endpoint, address))
            .map(Ok);
        let listener = inherited.unwrap_or_else(|| TcpListener::bind(address)).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let real = listener.local_addr().map_err(refused)?;
        self.announce(endpoint, real);
        Ok(listener)
    }

    /// Makes sure that nobody listens on a port, announces it, and leaves it: for a set of
    /// SO_REUSEPORT listeners that follows at once.
    ///
    /// # Errors
    /// As [`Ports::bind`].
    pub fn claim(&self, endpoint: &str, address: SocketAddr) -> Result<SocketAddr, Error> {
        let listener = self.bind(endpoint, address)?;
        listener.local_addr().context(format!("read the {endpoint} address"), ADMIN_REMEDY)
    }

    /// Logs which inherited sockets nothing listens on, now that the process is ready.
    pub(crate) fn warn_of_idle_sockets(&self) {
        for idle in self.inherited.idle() {
            tracing::warn!(
                "nothing listens on the inherited socket {idle}: whoever connects to it waits in \
                 vain; remove it from the .socket unit"
            );
        }
    }
}

//! The ports of a process: bound exclusively, announced as endpoints.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
};

use crate::{
    error::{Error, ErrorContext},
    inherited::Inherited,
    status::StatusHandle,
};

/// What to do when a port that was just bound cannot be used.
pub(crate) const ADMIN_REMEDY: &str = "check the address and the limits of this process";

/// Binds ports and announces them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ports {
    inherited: Inherited,
    status: StatusHandle,
}

impl Ports {
    pub(crate) const fn new(inherited: Inherited, status: StatusHandle) -> Self {
        Self { inherited, status }
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
        let inherited = self.inherited.lend(endpoint, address).map(Ok);
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

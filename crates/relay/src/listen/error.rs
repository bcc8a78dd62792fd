//! Why a socket cannot be had.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::unix;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("{0} is in use by another process; stop it or choose another port")]
    InUse(SocketAddr),
    /// The process has no privilege to bind a low port.
    #[error(
        "no permission to listen on {0}; choose a port from 1024 on or grant CAP_NET_BIND_SERVICE"
    )]
    Denied(SocketAddr),
    /// The address is not one of this host's.
    #[error("{0} is not an address of this host")]
    NotLocal(SocketAddr),
    /// A file that cannot be listened on.
    #[error("cannot listen on unix:{}: {why}", path.display())]
    File {
        /// Where it was to be.
        path: Arc<Path>,
        /// Why not.
        why: unix::Error,
    },
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
    pub(super) fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::PermissionDenied => Self::Denied(address),
            io::ErrorKind::AddrNotAvailable => Self::NotLocal(address),
            _ => Self::Io { address, source },
        }
    }
}

//! What can go wrong between this process and one peer.

use std::io;

use crate::malformed::Malformed;
use crate::tls;
use crate::wheel::{Elapsed, Kind};

/// Why a connection could not be made, read or written. Whose fault that is depends on which side's
/// connection it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody listens at the address.
    #[error("connection refused")]
    Refused,
    /// There is no way to the address.
    #[error("address unreachable")]
    Unreachable,
    /// This host is out of descriptors, ports or memory: not the peer's fault.
    #[error("out of local resources")]
    Exhausted,
    /// The peer did not prove that it is the node that is meant: nothing was sent to it.
    #[error("the peer did not prove that it holds the cluster key")]
    Unproven,
    /// A deadline passed.
    #[error("deadline passed: {0:?}")]
    Timeout(Kind),
    /// The peer closed before the message was complete.
    #[error("connection closed early")]
    Closed,
    /// The peer reset the connection, or does not listen any more to what is written.
    #[error("connection reset")]
    Reset,
    /// What the peer sent has no single meaning.
    #[error("malformed message: {0}")]
    Malformed(#[from] Malformed),
    /// TLS did not come to be, or did not go on.
    #[error("{0}")]
    Tls(#[from] tls::Error),
    /// The wait was called off by the caller.
    #[error("released")]
    Released,
    /// Any other error of the operating system.
    #[error("{0}")]
    Io(io::ErrorKind),
}

/// The process or the host has no descriptor left.
pub(crate) fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl From<Elapsed> for Fault {
    fn from(elapsed: Elapsed) -> Self {
        Self::Timeout(elapsed.0)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            AddrInUse, AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused,
            ConnectionReset, HostUnreachable, NetworkUnreachable, OutOfMemory, TimedOut,
            UnexpectedEof,
        };
        if out_of_descriptors(&error) || error.raw_os_error() == Some(libc::ENOBUFS) {
            return Self::Exhausted;
        }
        match error.kind() {
            ConnectionRefused => Self::Refused,
            HostUnreachable | NetworkUnreachable => Self::Unreachable,
            AddrNotAvailable | AddrInUse | OutOfMemory => Self::Exhausted,
            ConnectionReset | ConnectionAborted | BrokenPipe => Self::Reset,
            // The kernel gave up on the peer's acknowledgements.
            TimedOut => Self::Timeout(Kind::Other),
            // A TLS peer closed without close_notify.
            UnexpectedEof => Self::Closed,
            kind => tls::Error::of(&error).map_or(Self::Io(kind), Self::Tls),
        }
    }
}

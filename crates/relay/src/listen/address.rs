//! Where a socket listens: at an address of this host, or at a file.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Address and port.
    Ip(SocketAddr),
    /// The path of a file.
    Unix(Arc<Path>),
}

impl Address {
    /// At a file.
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::Unix(path.as_ref().into())
    }

    /// The address of the Internet families, if it is one.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The same for whoever needs one: a file is on this host ([`THIS_HOST`]).
    pub fn ip_or_this_host(&self) -> SocketAddr {
        self.ip().unwrap_or_else(|| SocketAddr::new(THIS_HOST, 0))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// What stands for the address of a peer that has none because it came through a file: "this host
/// on this network" (RFC 6890), which no packet of another host can come from. Its port is the
/// number of the listener.
pub const THIS_HOST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether a peer came through a file.
pub fn is_of_this_host(peer: IpAddr) -> bool {
    peer == THIS_HOST
}

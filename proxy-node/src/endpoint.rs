//! Where a connection to a next hop leads: the key by which idle ones are kept.

use std::net::SocketAddr;

/// What an idle connection leads to. None of them is ever used for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Without TLS, to this address.
    Plain(SocketAddr),
    /// TLS to this address, with somebody who has shown to be the host of this name when those were
    /// trusted who belong to the mark.
    Tls(SocketAddr, Box<str>, u64),
    /// TLS with a host and port, as before, in a tunnel through the parent at this address.
    Tunnelled(SocketAddr, Box<str>, u16, u64),
    /// The relay listener at this address, with the node of this name, which has proved that it is
    /// one.
    Node(SocketAddr, Box<str>),
}

impl Endpoint {
    /// Whom the connection is with.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        match self {
            Self::Plain(address)
            | Self::Tls(address, ..)
            | Self::Tunnelled(address, ..)
            | Self::Node(address, _) => *address,
        }
    }
}

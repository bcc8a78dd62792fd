//! What is spoken with those who connect to this node, and how it parts from them.

use std::{net::SocketAddr, time::Duration};

use dataplane::connection::Linger;

/// How much of what a client still sends after its last answer is read, and for how long.
pub const LINGER: Linger = Linger { bytes: 1 << 20, time: Duration::from_secs(2) };

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// With clients, at the address that the configuration names.
    Proxy(SocketAddr),
    /// With balancers and other nodes.
    Relay,
}

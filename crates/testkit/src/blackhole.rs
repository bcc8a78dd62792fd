//! Peers that never answer.

use std::net::{SocketAddr, TcpListener};

/// A listener whose backlog takes connections and whose owner never accepts them.
#[derive(Debug)]
pub struct Blackhole {
    listener: TcpListener,
}

impl Blackhole {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// When the machine has no port left.
    #[must_use]
    pub fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free loopback port") }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never for a bound listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a bound listener has an address")
    }

    /// How many connections wait, taken out of the backlog by this call.
    ///
    /// # Panics
    /// When the listener cannot be made non-blocking.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.listener.set_nonblocking(true).expect("a non-blocking listener");
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

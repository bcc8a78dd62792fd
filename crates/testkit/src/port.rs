//! Ports of loopback that nobody has, for a test that must know one before anybody listens there.
//!
//! A port that the kernel chose and that was given back may be chosen again at once: by the next
//! who asks, or for any connection that begins. These lie below the ports that it chooses from, and
//! are claimed until the process ends.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddress, UnixDatagram},
    },
    sync::{Mutex, PoisonError},
};

/// Below Linux's ephemeral ports (`net.ipv4.ip_local_port_range` begins at 32768).
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// What this process has claimed, and where it looks next.
static CLAIMED: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());

/// An address on 127.0.0.1 where nobody listens, and which no other test is given.
///
/// # Panics
/// When all ports are taken.
#[must_use]
pub fn free() -> SocketAddr {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let span = u32::from(PORTS.end - PORTS.start);
    // Processes begin at different places, so that they seldom ask for the same.
    let first = std::process::id().wrapping_mul(7_919).wrapping_add(claimed.len() as u32);
    for step in 0..span {
        let offset = first.wrapping_add(step) % span;
        let port = PORTS.start + u16::try_from(offset).expect("within the range");
        let name = format!("shoal-test-port-{port}");
        let Ok(claim) =
            UnixAddress::from_abstract_name(name).and_then(|it| UnixDatagram::bind_addr(&it))
        else {
            continue;
        };
        // On every address, as a test may widen it.
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            claimed.push(claim);
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
    panic!("no port from {} to {} is free", PORTS.start, PORTS.end);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_else_is_given_it() {
        let given: BTreeSet<_> = (0..100).map(|_| free()).collect();
        assert_eq!(given.len(), 100);
        for address in given {
            assert!(TcpListener::bind(address).is_ok(), "{address}");
        }
    }
}

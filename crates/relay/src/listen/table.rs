//! Who listens on a port of this host, as the kernel's table tells (proc(5), `/proc/net/tcp`).

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::plan::overlap;

/// A socket of ours that is being closed is in the table for a moment longer than among our
/// descriptors: a stranger's stays there.
const LOOKS: usize = 20;
/// Of a socket that listens.
const LISTENING: &str = "0A";

/// Whether a socket of somebody else listens where one for `address` would; those of this process
/// are all its own, also the ones that are being closed just now.
pub(super) fn a_stranger_listens(address: SocketAddr) -> io::Result<bool> {
    for _ in 0..LOOKS {
        // In this order: one that is closed in between is in the first list, and nobody opens any
        // meanwhile.
        let own = own_sockets()?;
        if listening(address)?.iter().all(|inode| own.contains(inode)) {
            return Ok(false);
        }
        std::thread::yield_now();
    }
    Ok(true)
}

/// The sockets that listen where one for `address` would, by the numbers by which the table knows
/// them.
fn listening(address: SocketAddr) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match std::fs::read_to_string(table) {
            Ok(text) => text,
            // A host without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        found.extend(
            text.lines()
                .filter_map(listener)
                .filter(|(at, _)| overlap(*at, address))
                .map(|(_, inode)| inode),
        );
    }
    Ok(found)
}

/// Every socket of this process.
fn own_sockets() -> io::Result<HashSet<u64>> {
    let number = |entry: io::Result<std::fs::DirEntry>| {
        // One that was closed meanwhile is nobody's.
        let link = std::fs::read_link(entry.ok()?.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(std::fs::read_dir("/proc/self/fd")?.filter_map(number).collect())
}

/// Address and inode of a line about a socket that listens.
fn listener(line: &str) -> Option<(SocketAddr, u64)> {
    let mut columns = line.split_ascii_whitespace();
    let (local, state) = (columns.nth(1)?, columns.nth(1)?);
    if state != LISTENING {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some((SocketAddr::new(ip(address)?, port), columns.nth(5)?.parse().ok()?))
}

/// Words of 32 bits in hexadecimal, each as this machine reads four bytes of the address.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_table() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     \
            0        0 12345 1 0000 100 0 0 10 0";
        let v6 = "   1: 00000000000000000000000001000000:0050 \
            00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     \
            0        0 77 1 0 100 0 0 10 0";
        assert_eq!(listener(v4), Some(("127.0.0.1:8080".parse().unwrap(), 12345)));
        assert_eq!(listener(v6), Some(("[::1]:80".parse().unwrap(), 77)));
        assert_eq!(listener(&v4.replace(" 0A ", " 01 ")), None, "a connection");
        for damaged in [
            "",
            "  sl  local_address rem_address   st",
            "0: 0100007F 0:0 0A",
            "0: 0100007:1F90 0:0 0A 0 0 0 0 0 1",
        ] {
            assert_eq!(listener(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_listener_is_found_and_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = std::net::TcpListener::bind(address).unwrap();
            let at = socket.local_addr().unwrap();
            let found = listening(at).unwrap();
            assert_eq!(found.len(), 1, "{at}");
            assert!(
                own_sockets().unwrap().contains(&found[0]) && !a_stranger_listens(at).unwrap(),
                "{at}"
            );
        }
    }
}

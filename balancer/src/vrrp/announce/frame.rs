//! Ethernet frames that say where an address is. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub type Mac = [u8; 6];

const EVERYBODY: Mac = [0xff; 6];
/// All nodes of IPv6, ff02::1.
const NODES: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ICMP_V6: u8 = 58;
/// Octets of a neighbour advertisement with the target's hardware address.
const ADVERTISEMENT: usize = 32;

/// An ARP announcement: a request for the address by itself.
#[must_use]
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(EVERYBODY);
    frame.extend(mac);
    // Of type ARP, for Ethernet and IPv4, a request.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame.resize(60, 0);
    frame
}

/// A neighbour advertisement that overrides what all nodes of the link know.
#[must_use]
pub fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = Vec::with_capacity(ADVERTISEMENT);
    message.extend([136, 0, 0, 0]);
    // Override; neither solicited nor from a router.
    message.extend([0x20, 0, 0, 0]);
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let check = checksum(address, nodes, &message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut frame = Vec::with_capacity(54 + ADVERTISEMENT);
    frame.extend(NODES);
    frame.extend(mac);
    // Of type IPv6: no flow, 32 octets, hop limit 255.
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, ICMP_V6, 255]);
    frame.extend(address.octets());
    frame.extend(nodes.octets());
    frame.extend(message);
    frame
}

/// Of ICMPv6 (RFC 4443 §2.3).
#[allow(clippy::cast_possible_truncation, reason = "both halves have been added up")]
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let mut covered = Vec::with_capacity(40 + message.len());
    covered.extend(from.octets());
    covered.extend(to.octets());
    covered.extend([0, 0, 0, message.len() as u8, 0, 0, 0, ICMP_V6]);
    covered.extend(message);
    let words = covered.chunks_exact(2).map(|it| u32::from(u16::from_be_bytes([it[0], it[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn an_arp_announcement() {
        let frame = gratuitous_arp(MAC, Ipv4Addr::new(192, 168, 1, 100));
        assert_eq!(frame.len(), 60, "the least that Ethernet carries");
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..32], [2, 0, 0, 0, 0, 1, 192, 168, 1, 100]);
        assert_eq!(frame[32..42], [0, 0, 0, 0, 0, 0, 192, 168, 1, 100]);
    }

    #[test]
    fn a_neighbour_advertisement_has_the_checksum_that_receivers_ask_for() {
        let address: Ipv6Addr = "2001:db8::100".parse().unwrap();
        let frame = neighbour_advertisement(MAC, address);
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!(frame[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        let message = &frame[54..];
        assert_eq!((message[0], message[4] & 0xe0), (136, 0x20));
        assert_eq!(message[24..], [2, 1, 2, 0, 0, 0, 0, 1]);
        let nodes = "ff02::1".parse().unwrap();
        assert_eq!(checksum(address, nodes, message), 0);
        assert_ne!(message[2..4], [0, 0]);
    }
}

//! The header that the kernel leaves before what a raw socket of IPv4 receives (RFC 791 §3.1).

use std::net::Ipv4Addr;

use super::Envelope;

/// What is known from the header, and what follows it; none: it is no whole packet.
#[must_use]
pub fn unwrap(packet: &[u8]) -> Option<(Envelope, &[u8])> {
    let header = packet.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || length < 20 || total < length {
        return None;
    }
    let address = |at: usize| {
        header.get(at..).and_then(|it| it.first_chunk::<4>()).map(|it| Ipv4Addr::from(*it).into())
    };
    let envelope = Envelope { source: address(12)?, destination: address(16)?, ttl: header[8] };
    Some((envelope, packet.get(length..total)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from keepalived 2.2.7.
    const PACKET: [u8; 32] = [
        0x45, 0xc0, 0, 32, 0, 1, 0, 0, 255, 112, 0x18, 0xcc, 192, 168, 1, 11, 224, 0, 0, 18, 0x31,
        52, 100, 1, 0, 20, 6, 0x66, 192, 168, 1, 101,
    ];

    #[test]
    fn a_packet_is_its_header_and_the_rest() {
        let (envelope, rest) = unwrap(&PACKET).expect("whole");
        let source = "192.168.1.11".parse().unwrap();
        let destination = "224.0.0.18".parse().unwrap();
        assert_eq!(envelope, Envelope { source, destination, ttl: 255 });
        assert_eq!(rest, &PACKET[20..]);
        let mut padded = PACKET.to_vec();
        padded.extend([0; 14]);
        assert_eq!(unwrap(&padded).expect("whole").1, rest, "what the link pads is left out");
    }

    #[test]
    fn what_is_no_packet_is_none() {
        for length in 0..PACKET.len() {
            assert_eq!(unwrap(&PACKET[..length]), None, "{length} octets");
        }
        for (at, octet) in [(0, 0x65), (0, 0x44), (3, 19), (2, 1)] {
            let mut wrong = PACKET;
            wrong[at] = octet;
            assert_eq!(unwrap(&wrong), None, "octet {at}");
        }
    }
}

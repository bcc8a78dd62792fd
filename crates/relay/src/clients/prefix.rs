//! Who counts as one client, and which of them live in one network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::listen::is_of_this_host;

/// Marks IPv4 addresses among prefixes: no unicast address begins like this.
const V4: u64 = 0xff00 << 48;
/// An IPv6 client: what one host can usually choose its address from.
const V6_CLIENT: u8 = 64;

/// How many bits of an address name the network that a client lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Of IPv4 addresses, up to 32.
    pub v4: u8,
    /// Of IPv6 addresses, up to 64.
    pub v6: u8,
}

impl Default for Lengths {
    /// The smallest that is announced between networks (IPv4), and what one customer usually gets
    /// (IPv6, RFC 6177).
    fn default() -> Self {
        Self { v4: 24, v6: 48 }
    }
}

/// A client (an IPv4 address, an IPv6 /64), or the network of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    bits: u64,
    /// Of a network, so many bits count. None: a client.
    network: Option<u8>,
    /// Counted at a listener that is not for clients, apart from what the same address has as a
    /// client.
    apart: bool,
}

impl Prefix {
    /// The client that an address belongs to.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => V4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        Self { bits, network: None, apart: false }
    }

    /// The same, at a listener that is not for clients.
    #[must_use]
    pub(super) fn apart(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    /// The network that it lives in.
    #[must_use]
    pub fn network(self, lengths: Lengths) -> Self {
        let (length, dropped) = if self.is_v4() {
            (lengths.v4.min(32), 32 - u32::from(lengths.v4.min(32)))
        } else {
            (lengths.v6.min(V6_CLIENT), u32::from(V6_CLIENT - lengths.v6.min(V6_CLIENT)))
        };
        let kept = u64::MAX.checked_shl(dropped).unwrap_or(0);
        Self { bits: self.bits & kept, network: Some(length), ..self }
    }

    /// Whether this is a network, and so many clients.
    #[must_use]
    pub const fn is_network(self) -> bool {
        self.network.is_some()
    }

    const fn is_v4(self) -> bool {
        self.bits & V4 == V4
    }

    /// Neighbours go to different shards.
    pub(super) const fn shard(self, shards: usize) -> usize {
        (self.bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize % shards
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = Ipv6Addr::from_bits(u128::from(self.bits) << 64);
        if self.is_v4() && is_of_this_host(Ipv4Addr::from_bits(self.bits as u32).into()) {
            // All that have no address count as one.
            return formatter.write_str("unix");
        }
        match (self.is_v4(), self.network) {
            (true, None) => Ipv4Addr::from_bits(self.bits as u32).fmt(formatter),
            (true, Some(length)) => {
                write!(formatter, "{}/{length}", Ipv4Addr::from_bits(self.bits as u32))
            }
            (false, length) => write!(formatter, "{v6}/{}", length.unwrap_or(V6_CLIENT)),
        }
    }
}

/// As whom somebody is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// As a client of its own.
    pub client: Prefix,
    /// As one of many.
    pub network: Prefix,
}

impl Source {
    /// As whom a client at this address is counted.
    #[must_use]
    pub fn of(address: IpAddr, lengths: Lengths) -> Self {
        let client = Prefix::of(address);
        Self { client, network: client.network(lengths) }
    }

    /// The client first.
    pub(crate) const fn levels(&self) -> [Prefix; 2] {
        [self.client, self.network]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn one_host_is_one_client() {
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.0", false),
            ("::c000:201", "192.0.2.1", false),
        ] {
            assert_eq!(of(one) == of(other), same, "{one} {other}");
        }
        assert_eq!(of("192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6").to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn many_hosts_are_one_network() {
        for (lengths, one, other, same) in [
            ((24, 48), "192.0.2.1", "192.0.2.254", true),
            ((24, 48), "192.0.2.1", "::ffff:192.0.2.254", true),
            ((24, 48), "192.0.2.1", "192.0.3.1", false),
            ((23, 48), "192.0.2.1", "192.0.3.1", true),
            ((32, 48), "192.0.2.1", "192.0.2.2", false),
            ((0, 48), "192.0.2.1", "10.0.0.1", true),
            ((0, 0), "192.0.2.1", "2001:db8::1", false),
            ((0, 0), "2001:db8::1", "2002:db8::1", true),
            ((24, 48), "2001:db8:1:2::1", "2001:db8:1:ffff::1", true),
            ((24, 48), "2001:db8:1:2::1", "2001:db8:2:2::1", false),
            ((24, 56), "2001:db8:1:2::1", "2001:db8:1:ff::1", true),
            ((24, 56), "2001:db8:1:2::1", "2001:db8:1:102::1", false),
            ((24, 64), "2001:db8:1:2::1", "2001:db8:1:3::1", false),
        ] {
            let lengths = Lengths { v4: lengths.0, v6: lengths.1 };
            assert_eq!(
                of(one).network(lengths) == of(other).network(lengths),
                same,
                "{lengths:?} {one} {other}"
            );
        }
        let usual = Lengths::default();
        assert_eq!(of("192.0.2.1").network(usual).to_string(), "192.0.2.0/24");
        assert_eq!(of("2001:db8:1:2:3:4:5:6").network(usual).to_string(), "2001:db8:1::/48");
        // Neither is taken for the other where both are as long.
        let whole = Lengths { v4: 32, v6: 64 };
        for client in [of("192.0.2.1"), of("2001:db8::1")] {
            assert_ne!(client.network(whole), client);
            assert!(client.network(whole).is_network() && !client.is_network());
        }
    }
}

//! Which addresses a proxy-node may connect to. The decision is about the address, after name resolution, never about the name.

use super::PortRange;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Loopback, link-local, metadata and the cluster's own ports are denied unless `allow` has them; `deny` adds to that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Egress {
    /// Exceptions.
    pub allow: Vec<EgressAllow>,
    /// Further addresses that are not connected to, unless an exception has them.
    pub deny: Vec<IpNet>,
}

/// One exception.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EgressAllow {
    /// Destinations; at least one.
    pub to: Vec<EgressTarget>,
    /// Ports; empty: every one.
    pub ports: Vec<PortRange>,
    /// Clients; empty: every one that the rules let in.
    pub clients: Vec<IpNet>,
}

/// What an exception is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EgressTarget {
    /// 127.0.0.0/8, ::1.
    Loopback,
    /// 169.254.0.0/16, fe80::/10.
    LinkLocal,
    /// The addresses of the clouds' metadata services.
    Metadata,
    /// Every endpoint of every instance of the cluster, and this process's own listeners. Nothing but this allows them.
    ClusterPorts,
    /// These addresses, except cluster ports.
    Net(IpNet),
}

/// Why an address is not connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressDenial {
    /// Loopback or the unspecified address, which means the same to connect(2).
    Loopback,
    /// Link-local.
    LinkLocal,
    /// A cloud's metadata service.
    Metadata,
    /// One of the cluster's own ports.
    ClusterPort,
    /// Multicast or broadcast: nothing to connect to, and never allowed.
    NotUnicast,
    /// In the bundle's `deny`.
    Denied,
}

impl fmt::Display for EgressDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud metadata service",
            Self::ClusterPort => "one of the cluster's own ports",
            Self::NotUnicast => "a multicast or broadcast address",
            Self::Denied => "an address that proxy.access.egress.deny names",
        })
    }
}

impl Egress {
    /// Whether the node may connect to `target` for `client`. `cluster_port`: whether the target is an endpoint of an instance or one of this
    /// process's own listeners. Addresses that embed an IPv4 address (mapped, compatible, NAT64, 6to4) are judged by that address.
    pub fn decide(&self, client: IpAddr, target: SocketAddr, cluster_port: bool) -> Result<(), EgressDenial> {
        let address = embedded(target.ip());
        if not_unicast(address) {
            return Err(EgressDenial::NotUnicast);
        }
        let Some(denial) = self.category(address, cluster_port) else { return Ok(()) };
        let client = client.to_canonical();
        let allowed = self.allow.iter().any(|allow| {
            allow.to.iter().any(|to| to.lifts(denial, address))
                && (allow.ports.is_empty() || allow.ports.iter().any(|range| range.contains(target.port())))
                && (allow.clients.is_empty() || allow.clients.iter().any(|net| net.contains(&client)))
        });
        if allowed { Ok(()) } else { Err(denial) }
    }

    fn category(&self, address: IpAddr, cluster_port: bool) -> Option<EgressDenial> {
        if cluster_port {
            return Some(EgressDenial::ClusterPort);
        }
        // Metadata first: most of its addresses are link-local too, and an exception for link-local must not open it.
        if METADATA.contains(&address) {
            return Some(EgressDenial::Metadata);
        }
        if is_loopback(address) {
            return Some(EgressDenial::Loopback);
        }
        if is_link_local(address) {
            return Some(EgressDenial::LinkLocal);
        }
        self.deny.iter().any(|net| net.contains(&address)).then_some(EgressDenial::Denied)
    }
}

impl EgressTarget {
    fn lifts(self, denial: EgressDenial, address: IpAddr) -> bool {
        match self {
            Self::Loopback => denial == EgressDenial::Loopback,
            Self::LinkLocal => denial == EgressDenial::LinkLocal,
            Self::Metadata => denial == EgressDenial::Metadata,
            Self::ClusterPorts => denial == EgressDenial::ClusterPort,
            Self::Net(net) => denial != EgressDenial::ClusterPort && net.contains(&address),
        }
    }
}

/// AWS, GCP, Azure, DigitalOcean, OpenStack (IMDS), AWS over IPv6, AWS ECS, Alibaba, Oracle, Azure's wire server.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

fn is_loopback(address: IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 is "this host" (RFC 6890); Linux connects 0.0.0.0 to itself.
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        // fec0::/10, site-local, is deprecated and never a legitimate origin (RFC 3879).
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0) == 0xfe80 || (v6.segments()[0] & 0xffc0) == 0xfec0,
    }
}

fn not_unicast(address: IpAddr) -> bool {
    match address {
        // 240.0.0.0/4 is reserved (RFC 1112) and contains the broadcast address.
        IpAddr::V4(v4) => v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// The IPv4 address inside an IPv6 one, where a gateway or the kernel would unpack it.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // IPv4-compatible (deprecated, RFC 4291 §2.5.5.1); :: and ::1 are not such.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        // NAT64: RFC 6052 and the local prefix of RFC 8215.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(egress: &Egress, client: &str, target: &str) -> Result<(), EgressDenial> {
        egress.decide(client.parse().unwrap(), target.parse().unwrap(), false)
    }

    #[test]
    fn what_is_denied_by_default() {
        let egress = Egress::default();
        let table = [
            ("93.184.216.34:80", None),
            ("10.1.2.3:80", None),
            ("[2606:4700::1]:443", None),
            ("127.0.0.1:80", Some(EgressDenial::Loopback)),
            ("127.9.9.9:80", Some(EgressDenial::Loopback)),
            ("0.0.0.0:80", Some(EgressDenial::Loopback)),
            ("[::]:80", Some(EgressDenial::Loopback)),
            ("[::1]:80", Some(EgressDenial::Loopback)),
            ("[::ffff:127.0.0.1]:80", Some(EgressDenial::Loopback)),
            ("[::127.0.0.1]:80", Some(EgressDenial::Loopback)),
            ("[64:ff9b::7f00:1]:80", Some(EgressDenial::Loopback)),
            ("[2002:7f00:1::]:80", Some(EgressDenial::Loopback)),
            ("169.254.1.1:80", Some(EgressDenial::LinkLocal)),
            ("[fe80::1]:80", Some(EgressDenial::LinkLocal)),
            ("169.254.169.254:80", Some(EgressDenial::Metadata)),
            ("[::ffff:169.254.169.254]:80", Some(EgressDenial::Metadata)),
            ("[fd00:ec2::254]:80", Some(EgressDenial::Metadata)),
            ("224.0.0.1:80", Some(EgressDenial::NotUnicast)),
            ("255.255.255.255:80", Some(EgressDenial::NotUnicast)),
            ("[ff02::1]:80", Some(EgressDenial::NotUnicast)),
        ];
        for (target, denial) in table {
            assert_eq!(decide(&egress, "10.0.0.1", target).err(), denial, "{target}");
        }
    }

    #[test]
    fn an_exception_lifts_only_what_it_names() {
        let egress = Egress {
            allow: vec![
                EgressAllow { to: vec![EgressTarget::Loopback], ports: vec![], clients: vec!["127.0.0.0/8".parse().unwrap()] },
                EgressAllow {
                    to: vec![EgressTarget::Net("10.1.0.0/16".parse().unwrap())],
                    ports: vec![PortRange { first: 80, last: 90 }],
                    clients: vec![],
                },
            ],
            deny: vec!["10.0.0.0/8".parse().unwrap()],
        };
        assert_eq!(decide(&egress, "127.0.0.1", "127.0.0.1:9"), Ok(()));
        assert_eq!(decide(&egress, "::ffff:127.0.0.1", "127.0.0.1:9"), Ok(()));
        assert_eq!(decide(&egress, "10.0.0.1", "127.0.0.1:9"), Err(EgressDenial::Loopback));
        assert_eq!(decide(&egress, "127.0.0.1", "169.254.1.1:9"), Err(EgressDenial::LinkLocal));
        assert_eq!(decide(&egress, "10.0.0.1", "10.1.0.1:80"), Ok(()));
        assert_eq!(decide(&egress, "10.0.0.1", "10.1.0.1:91"), Err(EgressDenial::Denied));
        assert_eq!(decide(&egress, "10.0.0.1", "10.2.0.1:80"), Err(EgressDenial::Denied));
        let target = "127.0.0.1:7001".parse().unwrap();
        assert_eq!(egress.decide("127.0.0.1".parse().unwrap(), target, true), Err(EgressDenial::ClusterPort));
    }
}

//! Which addresses a proxy-node may connect to. The decision is about the address, after name
//! resolution, never about the name.

use super::PortRange;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Loopback, link-local, metadata and the cluster's own ports are denied unless `allow` has them;
/// `deny` adds to that.
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
    /// Every endpoint of every instance of the cluster, and this process's own listeners. Nothing
    /// but this allows them.
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
    /// Whether the node may connect to `target` for `client`. `is_cluster_port`: whether an address
    /// is an endpoint of an instance or one of this process's own listeners. An address that embeds
    /// another (IPv4-mapped, -compatible, NAT64, 6to4, Teredo) is judged by both.
    pub fn decide(
        &self,
        client: IpAddr,
        target: SocketAddr,
        is_cluster_port: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), EgressDenial> {
        let client = client.to_canonical();
        Faces::of(target.ip()).iter().try_for_each(|address| {
            let face = SocketAddr::new(address, target.port());
            self.decide_one(client, face, is_cluster_port(face))
        })
    }

    /// Whether it depends on the client.
    pub fn is_by_client(&self) -> bool {
        self.allow.iter().any(|allow| !allow.clients.is_empty())
    }

    fn decide_one(
        &self,
        client: IpAddr,
        target: SocketAddr,
        cluster_port: bool,
    ) -> Result<(), EgressDenial> {
        let address = target.ip();
        if not_unicast(address) {
            return Err(EgressDenial::NotUnicast);
        }
        let Some(denial) = self.category(address, cluster_port) else { return Ok(()) };
        let allowed = self.allow.iter().any(|allow| {
            allow.to.iter().any(|to| to.lifts(denial, address))
                && (allow.ports.is_empty()
                    || allow.ports.iter().any(|range| range.contains(target.port())))
                && (allow.clients.is_empty()
                    || allow.clients.iter().any(|net| net.contains(&client)))
        });
        if allowed { Ok(()) } else { Err(denial) }
    }

    fn category(&self, address: IpAddr, cluster_port: bool) -> Option<EgressDenial> {
        if cluster_port {
            return Some(EgressDenial::ClusterPort);
        }
        // Metadata first: most of its addresses are link-local too, and an exception for link-local
        // must not open it.
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

/// Where the clouds' metadata services and those for credentials of containers are.
const METADATA: [IpAddr; 14] = [
    // AWS, GCP, Azure, DigitalOcean, Hetzner, OpenStack, Oracle and others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),  // GCP
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)), // OpenStack
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),                    // Scaleway
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),   // Scaleway
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),                    // AWS ECS
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),                   // AWS EKS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),  // AWS EKS
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),                     // Tencent
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),                  // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),                      // Oracle classic
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),                    // Azure's wire server
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
        IpAddr::V6(v6) => {
            (v6.segments()[0] & 0xffc0) == 0xfe80 || (v6.segments()[0] & 0xffc0) == 0xfec0
        }
    }
}

fn not_unicast(address: IpAddr) -> bool {
    match address {
        // 240.0.0.0/4 is reserved (RFC 1112) and contains the broadcast address.
        IpAddr::V4(v4) => v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// The most addresses that one can stand for.
const MOST_FACES: usize = 6;

/// All addresses that connecting to one may reach: itself, and the IPv4 addresses inside it that a
/// gateway or the kernel would unpack. Whoever denies an address denies it in all of its spellings.
#[derive(Clone, Copy, Debug)]
pub struct Faces {
    list: [IpAddr; MOST_FACES],
    count: usize,
}

impl Faces {
    /// Those of an address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let mut faces = Self { list: [address; MOST_FACES], count: 1 };
        if let IpAddr::V6(v6) = address {
            faces.unpack(v6);
        }
        faces
    }

    /// The address itself first; an IPv4-mapped one is the IPv4 address.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.list.iter().take(self.count).copied()
    }

    fn add(&mut self, address: [u8; 4]) {
        let address = IpAddr::from(address);
        let known = self.iter().any(|known| known == address);
        if let Some(slot) = self.list.get_mut(self.count).filter(|_| !known) {
            *slot = address;
            self.count += 1;
        }
    }

    fn unpack(&mut self, address: Ipv6Addr) {
        let (o, s) = (address.octets(), address.segments());
        let last = [o[12], o[13], o[14], o[15]];
        match s {
            // :: and ::1 are no IPv4-compatible ones.
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => {}
            // IPv4-compatible (deprecated, RFC 4291 §2.5.5.1), IPv4-translated (RFC 7915), NAT64's
            // well-known prefix (RFC 6052).
            [0, 0, 0, 0, 0, 0, ..]
            | [0, 0, 0, 0, 0xffff, 0, ..]
            | [0x64, 0xff9b, 0, 0, 0, 0, ..] => self.add(last),
            // The prefix for local NAT64 (RFC 8215) is cut by each network as it likes: all cuts of
            // RFC 6052 §2.2 that lie in it. Zeros are another cut's suffix or padding.
            [0x64, 0xff9b, 1, ..] => {
                for cut in [
                    [o[6], o[7], o[9], o[10]],
                    [o[7], o[9], o[10], o[11]],
                    [o[9], o[10], o[11], o[12]],
                    last,
                ] {
                    if cut[0] != 0 {
                        self.add(cut);
                    }
                }
            }
            // 6to4 (RFC 3056).
            [0x2002, ..] => self.add([o[2], o[3], o[4], o[5]]),
            // Teredo (RFC 4380): the host behind it, hidden from NATs by inversion, and the server.
            [0x2001, 0, ..] => {
                self.add(last.map(|octet| !octet));
                self.add([o[4], o[5], o[6], o[7]]);
            }
            // ISATAP (RFC 5214), under any prefix.
            [.., 0 | 0x200, 0x5efe, _, _] => self.add(last),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(egress: &Egress, client: &str, target: &str) -> Result<(), EgressDenial> {
        egress.decide(client.parse().unwrap(), target.parse().unwrap(), |_| false)
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
                EgressAllow {
                    to: vec![EgressTarget::Loopback],
                    ports: vec![],
                    clients: vec!["127.0.0.0/8".parse().unwrap()],
                },
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
        assert_eq!(
            egress.decide("127.0.0.1".parse().unwrap(), target, |_| true),
            Err(EgressDenial::ClusterPort)
        );
    }

    #[test]
    fn an_address_inside_another_is_denied_in_every_spelling() {
        use EgressDenial::{ClusterPort, Denied, Loopback, Metadata, NotUnicast};
        let deny = ["10.9.0.0/16", "64:ff9b:1:abcd::/64"].map(|network| network.parse().unwrap());
        let egress = Egress { allow: vec![], deny: deny.into() };
        let cluster: SocketAddr = "10.0.0.2:7001".parse().unwrap();
        for (target, want) in [
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::8.8.8.8", None),
            ("2002:808:808::1", None),
            ("2001:0:808:808:0:0:f7f7:f7f7", None),
            ("2001:db8::5efe:1", None),
            ("::ffff:0:127.0.0.1", Some(Loopback)),
            ("::0.0.0.5", Some(Loopback)),
            ("64:ff9b::10.0.0.2", Some(ClusterPort)),
            ("64:ff9b:1::10.0.0.2", Some(ClusterPort)),
            ("64:ff9b:1:a00:0:200::", Some(ClusterPort)),
            ("64:ff9b:1:0a:0:2::", Some(ClusterPort)),
            ("64:ff9b:1:0:a:0:200:0", Some(ClusterPort)),
            ("64:ff9b:1:1:7f:0:100:0", Some(Loopback)),
            ("2002:a00:2::1", Some(ClusterPort)),
            ("::10.0.0.2", Some(ClusterPort)),
            ("::ffff:10.0.0.2", Some(ClusterPort)),
            ("2001::f5ff:fffd", Some(ClusterPort)),
            ("2001:0:a00:2:0:0:f7f7:f7f7", Some(ClusterPort)),
            ("fe80::5efe:a00:2", Some(EgressDenial::LinkLocal)),
            ("2001:db8::200:5efe:10.0.0.2", Some(ClusterPort)),
            ("64:ff9b::a9fe:a9fe", Some(Metadata)),
            ("2002:a9fe:a9fe::", Some(Metadata)),
            ("fd00:ec2::23", Some(Metadata)),
            ("fd20:ce::254", Some(Metadata)),
            ("fd00:c1::a9fe:a9fe", Some(Metadata)),
            ("fd00:42::42", Some(Metadata)),
            ("fe80::a9fe:a9fe", Some(Metadata)),
            ("64:ff9b::224.0.0.1", Some(NotUnicast)),
            ("2002:a09:1::", Some(Denied)),
            ("64:ff9b::10.9.1.1", Some(Denied)),
            ("64:ff9b:1:abcd::8.8.8.8", Some(Denied)),
            ("64:ff9b:1:abce::8.8.8.8", None),
        ] {
            let address = target.parse().unwrap();
            let verdict = egress.decide(
                "10.0.0.1".parse().unwrap(),
                SocketAddr::new(address, 7001),
                |face| face == cluster,
            );
            assert_eq!(verdict.err(), want, "{target}");
        }
    }
}

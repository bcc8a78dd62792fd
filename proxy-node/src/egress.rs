//! Which addresses this node connects to. The decision itself is `cluster_config`'s
//! ([`Egress::decide`]); here is what it needs to know of the cluster: which ports are the
//! cluster's own.
//!
//! Checked for every address that is about to be connected to, after name resolution: a name that
//! points to 127.0.0.1 fools nobody. Instances that advertise a host name are known by that name,
//! and by what it resolves to here ([`ClusterNames`]).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use chassis::probe;
use cluster_config::document::{Egress, egress::EgressDenial};

use crate::request::Destination;

/// A set of port numbers, a bit each. Empty until there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ports(Box<[u64]>);

impl Ports {
    fn insert(&mut self, port: u16) {
        if self.0.is_empty() {
            self.0 = vec![0; 1 << 10].into();
        }
        if let Some(word) = self.0.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    fn contains(&self, port: u16) -> bool {
        self.0.get(usize::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

/// The cluster's own ports: endpoints of instances, and this process's listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPorts {
    exact: HashSet<SocketAddr>,
    /// Every port of `exact` and `wildcard`: nearly every request goes to another, and nothing more
    /// is asked of it.
    any: Ports,
    /// Ports of listeners on every address of this host.
    wildcard: HashSet<u16>,
    /// This host's addresses.
    own: HashSet<IpAddr>,
    /// Endpoints advertised by host name.
    names: HashSet<(String, u16)>,
}

impl ClusterPorts {
    /// `endpoints` of all instances, `listeners` of this process, and the addresses of this host.
    #[must_use]
    pub fn new(
        endpoints: impl IntoIterator<Item = SocketAddr>,
        listeners: impl IntoIterator<Item = SocketAddr>,
        own: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let mut ports = Self {
            own: own.into_iter().map(|address| address.to_canonical()).collect(),
            ..Self::default()
        };
        for address in endpoints.into_iter().chain(listeners) {
            ports.any.insert(address.port());
            if address.ip().is_unspecified() {
                ports.wildcard.insert(address.port());
            } else {
                ports.exact.insert(canonical(address));
            }
        }
        ports
    }

    /// The same, and the endpoints that are advertised by host name: the names in lower case,
    /// without a dot at the end.
    #[must_use]
    pub fn with_names(self, names: HashSet<(String, u16)>) -> Self {
        Self { names, ..self }
    }

    /// Whether a destination as the client names it is one of the cluster's own ports, wherever the
    /// name points. `host`: in lower case, no dot at the end.
    #[must_use]
    pub fn contains_name(&self, host: &str, port: u16) -> bool {
        // The usual case, no names at all, allocates nothing.
        !self.names.is_empty() && self.names.contains(&(host.to_owned(), port))
    }

    /// Whether an address is one of the cluster's own ports.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        if !self.any.contains(address.port()) {
            return false;
        }
        let address = canonical(address);
        let here = || {
            address.ip().is_loopback()
                || address.ip().is_unspecified()
                || self.own.contains(&address.ip())
        };
        if self.exact.contains(&address) || (self.wildcard.contains(&address.port()) && here()) {
            return true;
        }
        // Linux connects the unspecified address to loopback; 127.0.0.0/8 is all one host.
        let elsewhere_on_loopback = address.ip().is_unspecified() || address.ip().is_loopback();
        elsewhere_on_loopback
            && self
                .exact
                .iter()
                .any(|exact| exact.port() == address.port() && exact.ip().is_loopback())
    }
}

/// Built-in targets of the health-checkers: nobody reaches them through this node but the checker
/// itself, who signs what it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeTargets {
    keys: HashMap<SocketAddr, Option<probe::Key>>,
    ports: ClusterPorts,
}

impl ProbeTargets {
    /// These, with the keys of their checkers.
    #[must_use]
    pub fn new(keys: HashMap<SocketAddr, Option<probe::Key>>) -> Self {
        Self { ports: ClusterPorts::new(keys.keys().copied(), [], []), keys }
    }

    /// Whether this is one of them, by any way to it.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        !self.keys.is_empty() && self.ports.contains(address)
    }

    /// The checker's key, where the address is that of a target; none where it is of a version that
    /// signs nothing.
    #[must_use]
    pub fn key(&self, address: SocketAddr) -> Option<Option<&probe::Key>> {
        self.keys.get(&canonical(address)).map(Option::as_ref)
    }

    /// Whether an address is kept from whoever asks for `destination`. One that is named by its
    /// address was judged with the request: it is a probe.
    #[must_use]
    pub fn hides(&self, destination: &Destination, address: SocketAddr) -> bool {
        destination.address.is_none() && self.contains(address)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether the node may connect to an `address` of a destination for `client`. Who names a
/// checker's target by its address was screened with the request: it is that checker, and its
/// target is where it is, at a loopback address on a host that has everything.
pub fn permits(
    egress: &Egress,
    ports: &ClusterPorts,
    targets: &ProbeTargets,
    client: IpAddr,
    destination: &Destination,
    address: SocketAddr,
) -> Result<(), EgressDenial> {
    let named = destination.address.map(|named| SocketAddr::new(named, destination.port));
    if named.is_some_and(|named| targets.key(named).is_some()) {
        return Ok(());
    }
    check(egress, ports, client, &destination.host, address)?;
    if targets.hides(destination, address) { Err(EgressDenial::ClusterPort) } else { Ok(()) }
}

/// Whether the node may connect to `target` for `client`, who asked for `host`.
pub fn check(
    egress: &Egress,
    ports: &ClusterPorts,
    client: IpAddr,
    host: &str,
    target: SocketAddr,
) -> Result<(), EgressDenial> {
    let named = ports.contains_name(host, target.port());
    egress.decide(client, target, |face| named || ports.contains(face))
}

/// The same for a destination that is not resolved here, because a parent proxy does that: what its
/// name or literal address alone tell.
pub fn check_unresolved(
    egress: &Egress,
    ports: &ClusterPorts,
    client: IpAddr,
    destination: &Destination,
) -> Result<(), EgressDenial> {
    let Destination { host, address, port, .. } = destination;
    match address {
        Some(address) => check(egress, ports, client, host, SocketAddr::new(*address, *port)),
        None if ports.contains_name(host, *port) => {
            egress.decide(client, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port), |_| true)
        }
        None => Ok(()),
    }
}

/// The addresses of the host names under which instances are advertised, as last resolved. A name
/// that cannot be resolved now keeps the addresses that it had: the instance is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterNames(BTreeMap<String, Vec<IpAddr>>);

impl ClusterNames {
    /// Takes what the names resolve to now, `None` where that is not known; names that are not
    /// advertised any more are forgotten.
    #[must_use]
    pub fn resolved(mut self, answers: Vec<(String, Option<Vec<IpAddr>>)>) -> Self {
        let known = answers.into_iter().filter_map(|(name, addresses)| {
            let before = self.0.remove(&name);
            Some((name, addresses.or(before)?))
        });
        Self(known.collect())
    }

    /// What endpoints advertised by name are at.
    pub fn endpoints(&self, names: &HashSet<(String, u16)>) -> Vec<SocketAddr> {
        let at = |(name, port): &(String, u16)| -> Vec<SocketAddr> {
            self.0
                .get(name)
                .into_iter()
                .flatten()
                .map(|address| SocketAddr::new(*address, *port))
                .collect()
        };
        names.iter().flat_map(at).collect()
    }
}

/// The addresses of this host's interfaces.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use cluster_config::document::egress::{EgressAllow, EgressTarget};

    use super::*;

    #[test]
    fn every_special_address_and_every_way_to_our_own_ports() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let ports = ClusterPorts::new(
            [socket("10.0.0.2:7001"), socket("127.0.0.1:7101")],
            [socket("0.0.0.0:3128"), socket("10.0.0.1:3129")],
            ["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        );
        let strict = Egress::default();
        let lab = Egress {
            allow: vec![EgressAllow {
                to: vec![EgressTarget::Loopback],
                ports: vec![],
                clients: vec![],
            }],
            deny: vec![],
        };
        use EgressDenial::{ClusterPort, LinkLocal, Loopback, Metadata, NotUnicast};
        for (target, under_strict, under_lab) in [
            ("192.0.2.1:80", Ok(()), Ok(())),
            ("10.0.0.2:80", Ok(()), Ok(())),
            ("10.0.0.2:7001", Err(ClusterPort), Err(ClusterPort)),
            ("[::ffff:10.0.0.2]:7001", Err(ClusterPort), Err(ClusterPort)),
            ("127.0.0.1:7101", Err(ClusterPort), Err(ClusterPort)),
            ("127.0.0.2:7101", Err(ClusterPort), Err(ClusterPort)),
            ("0.0.0.0:7101", Err(ClusterPort), Err(ClusterPort)),
            ("[::1]:7101", Err(ClusterPort), Err(ClusterPort)),
            ("127.0.0.1:3128", Err(ClusterPort), Err(ClusterPort)),
            ("10.0.0.1:3128", Err(ClusterPort), Err(ClusterPort)),
            ("[2001:db8::1]:3128", Err(ClusterPort), Err(ClusterPort)),
            ("10.0.0.1:3129", Err(ClusterPort), Err(ClusterPort)),
            ("192.0.2.1:3128", Ok(()), Ok(())),
            ("127.0.0.1:80", Err(Loopback), Ok(())),
            ("127.255.255.254:80", Err(Loopback), Ok(())),
            ("0.0.0.0:80", Err(Loopback), Ok(())),
            ("[::]:80", Err(Loopback), Ok(())),
            ("[::1]:80", Err(Loopback), Ok(())),
            ("[::ffff:127.0.0.1]:80", Err(Loopback), Ok(())),
            ("[64:ff9b::7f00:1]:80", Err(Loopback), Ok(())),
            ("169.254.169.254:80", Err(Metadata), Err(Metadata)),
            ("[::ffff:169.254.169.254]:80", Err(Metadata), Err(Metadata)),
            ("[fd00:ec2::254]:80", Err(Metadata), Err(Metadata)),
            ("[fd20:ce::254]:80", Err(Metadata), Err(Metadata)),
            ("[64:ff9b::10.0.0.2]:7001", Err(ClusterPort), Err(ClusterPort)),
            ("[64:ff9b::127.0.0.1]:7101", Err(ClusterPort), Err(ClusterPort)),
            ("[2002:a00:1::]:3128", Err(ClusterPort), Err(ClusterPort)),
            ("[::10.0.0.2]:7001", Err(ClusterPort), Err(ClusterPort)),
            ("[::10.0.0.2]:80", Ok(()), Ok(())),
            ("169.254.1.1:80", Err(LinkLocal), Err(LinkLocal)),
            ("[fe80::1]:80", Err(LinkLocal), Err(LinkLocal)),
            ("224.0.0.1:80", Err(NotUnicast), Err(NotUnicast)),
            ("255.255.255.255:80", Err(NotUnicast), Err(NotUnicast)),
            ("[ff02::1]:80", Err(NotUnicast), Err(NotUnicast)),
        ] {
            let client = "127.0.0.1".parse().unwrap();
            assert_eq!(
                check(&strict, &ports, client, "name.example", socket(target)),
                under_strict,
                "{target}, strict"
            );
            assert_eq!(
                check(&lab, &ports, client, "name.example", socket(target)),
                under_lab,
                "{target}, lab"
            );
        }
    }

    #[test]
    fn ports_advertised_by_name_are_known_by_name_and_by_address() {
        let names: HashSet<_> =
            [("registry.example".to_owned(), 7001), ("node-1.example".to_owned(), 3128)].into();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let answers = vec![
            ("registry.example".to_owned(), Some(vec![address(1)])),
            ("node-1.example".to_owned(), None),
        ];
        let known = ClusterNames::default().resolved(answers);
        let ports = |known: &ClusterNames| {
            ClusterPorts::new(known.endpoints(&names), [], []).with_names(names.clone())
        };
        let verdict = |known: &ClusterNames, host: &str, last, port| {
            check(
                &Egress::default(),
                &ports(known),
                address(9),
                host,
                SocketAddr::new(address(last), port),
            )
            .is_ok()
        };
        for (host, last, port, allowed) in [
            ("registry.example", 7, 7001, false), // by its name, whatever that says today
            ("registry.example", 1, 80, true),
            ("another-name.example", 1, 7001, false), // by its address
            ("192.0.2.1", 1, 7001, false),
            ("192.0.2.2", 2, 7001, true),
            ("node-1.example", 5, 3128, false), // never resolved
            ("other.example", 5, 3128, true),
        ] {
            assert_eq!(verdict(&known, host, last, port), allowed, "{host} at {last}, port {port}");
        }

        let unresolved = |host: &str, port| {
            let destination =
                Destination { host: host.into(), address: host.parse().ok(), port, tls: false };
            check_unresolved(&Egress::default(), &ports(&known), address(9), &destination)
        };
        assert_eq!(unresolved("registry.example", 7001), Err(EgressDenial::ClusterPort));
        assert_eq!(unresolved("192.0.2.1", 7001), Err(EgressDenial::ClusterPort));
        assert_eq!(unresolved("169.254.169.254", 80), Err(EgressDenial::Metadata));
        assert_eq!(unresolved("registry.example", 80), Ok(()));
        assert_eq!(unresolved("elsewhere.example", 7001), Ok(()));

        let later = known.clone().resolved(vec![
            ("registry.example".to_owned(), None),
            ("node-1.example".to_owned(), Some(vec![address(5)])),
        ]);
        assert!(
            !verdict(&later, "192.0.2.1", 1, 7001),
            "what cannot be resolved now keeps its addresses"
        );
        assert!(!verdict(&later, "192.0.2.5", 5, 3128));
        assert_eq!(later.resolved(Vec::new()), ClusterNames::default());
    }

    #[test]
    fn this_host_has_a_loopback_address() {
        assert!(own_addresses().contains(&"127.0.0.1".parse().unwrap()));
    }
}

//! Which endpoints an instance may have. Pure.
//!
//! Every proxy-node refuses to connect its clients to the endpoints of the cluster, and balancers
//! send requests there: whoever has a certificate must not name an address that is somebody else's.
//! An instance may be at the address that it registers from, at what its certificate was issued for
//! (`shoal pki issue --host`), and where the registry was told that instances are (`--advertised`).

use std::{net::IpAddr, str::FromStr};

use cluster::{Instance, Service};
use ipnet::IpNet;

/// More are nothing that a process of ours has.
const MOST: usize = 16;
/// What endpoints are for; a balancer has its frontends beside them, whose names the configuration
/// chooses.
const PURPOSES: [&str; 10] =
    ["proxy", "relay", "icp", "grpc", "admin", "dns", "consul", "console", "socket", "target"];

/// Where instances may be beside where they register from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advertised {
    /// Anywhere, under any name.
    Any,
    /// At the addresses of a network.
    Network(IpNet),
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self::Network).map_err(|_| {
            format!("{text:?} is no network such as 10.0.0.0/8, no address, and not `any`")
        })
    }
}

/// Who registers, as far as it is proved.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The address of its connection.
    pub address: IpAddr,
    /// Host names and addresses in its certificate.
    pub hosts: &'a [String],
}

/// What the registry knows of its own host, and was told of others.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Addresses of this host: whoever comes over loopback is here.
    pub own: Vec<IpAddr>,
    /// See [`Advertised`].
    pub advertised: Vec<Advertised>,
}

/// Why an instance is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MOST`].
    #[error("{0} endpoints: {MOST} are the most")]
    TooMany(usize),
    /// Nothing of ours listens for that.
    #[error("{0:?} is no endpoint of a {1}")]
    Purpose(String, Service),
    /// Somebody else's address.
    #[error(
        "endpoint {purpose} is at {host}, and the connection comes from {from}: issue the \
         certificate with `--host {host}`, or start the \
         registry with --advertised and the network that instances are in"
    )]
    Elsewhere {
        /// What it is for.
        purpose: String,
        /// Where it is said to be.
        host: String,
        /// Where the connection comes from.
        from: IpAddr,
    },
}

/// Takes out what leads nowhere, and checks what is left.
///
/// # Errors
/// The first endpoint that cannot be its.
pub fn check(instance: &mut Instance, from: From<'_>, trusted: &Trusted) -> Result<(), Error> {
    let address = from.address.to_canonical();
    // The loopback address of another host is nothing to anybody.
    instance.endpoints.retain(|_, endpoint| {
        address.is_loopback() || !literal(host(endpoint)).is_some_and(|ip| ip.is_loopback())
    });
    if instance.endpoints.len() > MOST {
        return Err(Error::TooMany(instance.endpoints.len()));
    }
    for (purpose, endpoint) in &instance.endpoints {
        if instance.service != Service::Balancer && !PURPOSES.contains(&purpose.as_str()) {
            return Err(Error::Purpose(purpose.clone(), instance.service));
        }
        let host = host(endpoint);
        if !is_its_own(host, address, from.hosts, trusted) {
            return Err(Error::Elsewhere {
                purpose: purpose.clone(),
                host: host.to_owned(),
                from: address,
            });
        }
    }
    Ok(())
}

fn is_its_own(host: &str, from: IpAddr, hosts: &[String], trusted: &Trusted) -> bool {
    if trusted.advertised.contains(&Advertised::Any) {
        return true;
    }
    let Some(ip) = literal(host) else {
        let local = from.is_loopback() && host.eq_ignore_ascii_case("localhost");
        return local || hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
    };
    let here = || {
        from.is_loopback()
            && (ip.is_loopback() || trusted.own.iter().any(|own| own.to_canonical() == ip))
    };
    let certified = || hosts.iter().any(|known| literal(known) == Some(ip));
    let told = || {
        trusted
            .advertised
            .iter()
            .any(|it| matches!(it, Advertised::Network(network) if network.contains(&ip)))
    };
    ip == from || here() || certified() || told()
}

/// `host:port` without the port, and without the brackets of an IPv6 address.
fn host(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cluster::InstanceId;

    use super::*;

    fn instance(service: Service, endpoints: &[(&str, &str)]) -> Instance {
        let endpoints = endpoints
            .iter()
            .map(|(purpose, address)| ((*purpose).to_owned(), (*address).to_owned()))
            .collect::<BTreeMap<_, _>>();
        Instance {
            service,
            name: "n".into(),
            id: InstanceId(uuid::Uuid::nil()),
            generation: 0,
            endpoints,
            datacenter: String::new(),
            zone: String::new(),
            tags: vec![],
            weight: 1,
            version: String::new(),
            applied_revision: String::new(),
            applied_hash: String::new(),
        }
    }

    #[test]
    fn an_endpoint_is_where_its_instance_is() {
        let own = vec!["192.0.2.1".parse().unwrap()];
        let trusted = Trusted { own, advertised: vec!["198.51.100.0/24".parse().unwrap()] };
        let hosts =
            ["node-7.example".to_owned(), "203.0.113.9".to_owned(), "2001:db8::9".to_owned()];
        for (from, endpoint, good) in [
            ("192.0.2.7", "192.0.2.7:3129", true),
            ("::ffff:192.0.2.7", "192.0.2.7:3129", true),
            ("192.0.2.7", "192.0.2.8:3129", false),
            ("192.0.2.7", "93.184.216.34:80", false),
            ("192.0.2.7", "node-7.example:3129", true),
            ("192.0.2.7", "NODE-7.example:3129", true),
            ("192.0.2.7", "node-8.example:3129", false),
            ("192.0.2.7", "203.0.113.9:3129", true),
            ("192.0.2.7", "[2001:db8::9]:3129", true),
            ("192.0.2.7", "198.51.100.3:3129", true),
            ("192.0.2.7", "192.0.2.1:3129", false),
            ("192.0.2.7", "localhost:3129", false),
            ("127.0.0.1", "127.0.0.1:3129", true),
            ("127.0.0.1", "127.0.0.9:3129", true),
            ("127.0.0.1", "localhost:3129", true),
            ("127.0.0.1", "192.0.2.1:3129", true),
            ("127.0.0.1", "192.0.2.8:3129", false),
            ("::1", "[::1]:3129", true),
        ] {
            let mut instance = instance(Service::ProxyNode, &[("relay", endpoint)]);
            let from = From { address: from.parse().unwrap(), hosts: &hosts };
            assert_eq!(
                check(&mut instance, from, &trusted).is_ok(),
                good,
                "{endpoint} from {}",
                from.address
            );
        }
        let any = Trusted { advertised: vec![Advertised::Any], ..Trusted::default() };
        let from = From { address: "192.0.2.7".parse().unwrap(), hosts: &[] };
        assert!(
            check(
                &mut instance(Service::ProxyNode, &[("relay", "behind.nat.example:1")]),
                from,
                &any
            )
            .is_ok()
        );
    }

    #[test]
    fn few_and_known_ones_and_none_that_lead_nowhere() {
        let from = From { address: "192.0.2.7".parse().unwrap(), hosts: &[] };
        let mut both = instance(
            Service::ProxyNode,
            &[("relay", "192.0.2.7:3129"), ("admin", "127.0.0.1:7102")],
        );
        assert_eq!(check(&mut both, from, &Trusted::default()), Ok(()));
        assert_eq!(both.endpoints.keys().collect::<Vec<_>>(), ["relay"]);
        let mut foreign = instance(Service::ProxyNode, &[("www", "192.0.2.7:80")]);
        assert!(matches!(check(&mut foreign, from, &Trusted::default()), Err(Error::Purpose(..))));
        assert!(
            check(
                &mut instance(Service::Balancer, &[("www", "192.0.2.7:80")]),
                from,
                &Trusted::default()
            )
            .is_ok()
        );
        let names: Vec<String> = (0..17).map(|number| format!("f{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "192.0.2.7:80")).collect();
        assert_eq!(
            check(&mut instance(Service::Balancer, &many), from, &Trusted::default()),
            Err(Error::TooMany(17))
        );
    }
}

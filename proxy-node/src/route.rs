//! Where a request goes: to the origin, or through a parent proxy. Pure.

use std::net::IpAddr;

use cluster_config::document::proxy::Direct;

use crate::{
    dns::is_localhost,
    parent::{self, Parents},
    request::Destination,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Straight to the origin.
    Direct(&'a Destination),
    /// Through a parent; another one is tried when it fails.
    Parents(&'a Destination, &'a Parents),
}

/// Chooses. With parents configured everything goes through them: a node behind a corporate proxy
/// has no other way out. Loopback is the exception, since it means this host, and a parent would
/// connect to itself; and what the operator calls direct.
#[must_use]
pub fn choose<'a>(
    destination: &'a Destination,
    parents: &'a Parents,
    direct: &Direct,
) -> Route<'a> {
    if parents.is_unused() || is_loopback(destination) || is_direct(destination, direct) {
        Route::Direct(destination)
    } else {
        Route::Parents(destination, parents)
    }
}

fn is_loopback(destination: &Destination) -> bool {
    destination.address.map_or_else(
        || is_localhost(&destination.host),
        |address| address.to_canonical().is_loopback(),
    )
}

fn is_direct(destination: &Destination, direct: &Direct) -> bool {
    let address = destination.address.map(|address| address.to_canonical());
    direct.dstdomain.iter().any(|pattern| pattern.matches(&destination.host))
        || address
            .is_some_and(|address| direct.dst.iter().any(|network| network.contains(&address)))
}

impl Route<'_> {
    /// For people: the way of a request of a client for a URL.
    #[must_use]
    pub fn describe(&self, url: &str, client: IpAddr) -> String {
        match self {
            Self::Direct(destination) => format!("origin {}", destination.authority()),
            Self::Parents(_, parents) if parents.is_empty() => "parent: none is known".to_owned(),
            Self::Parents(_, parents) => {
                let names: Vec<String> = parent::order(parents, url, client)
                    .into_iter()
                    .map(ToString::to_string)
                    .collect();
                format!("parent {}", names.join(", else "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents(host: &str) -> Parents {
        let document = cluster_config::document::proxy::Parent::at(host.into(), 3128);
        Parents::new(&[document.into()], &Default::default(), &Parents::default())
    }

    #[test]
    fn everything_but_this_host_goes_through_the_parents() {
        let parents = parents("proxy.example");
        for (host, direct) in [
            ("origin.example", false),
            ("192.0.2.1", false),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("localhost", true),
            ("a.localhost", true),
            ("notlocalhost", false),
        ] {
            let destination =
                Destination { host: host.into(), address: host.parse().ok(), port: 80, tls: false };
            assert_eq!(
                choose(&destination, &parents, &Direct::default()) == Route::Direct(&destination),
                direct,
                "{host}"
            );
            assert_eq!(
                choose(&destination, &Parents::default(), &Direct::default()),
                Route::Direct(&destination),
                "{host}"
            );
        }
    }

    #[test]
    fn what_is_called_direct_goes_past_the_parents() {
        let parents = parents("proxy.example");
        let domain = |name: &str, subdomains| cluster_config::document::DomainPattern {
            name: name.into(),
            subdomains,
            only_below: false,
        };
        let direct = Direct {
            dstdomain: vec![domain("corp.example", true), domain("one.example", false)],
            dst: ["10.0.0.0/8", "2001:db8::7/128"]
                .map(|network| network.parse().expect("a network"))
                .into(),
            always: Vec::new(),
        };
        for (host, goes_direct) in [
            ("corp.example", true),
            ("a.corp.example", true),
            ("acorp.example", false),
            ("one.example", true),
            ("a.one.example", false),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.1.2.3", false),
            ("2001:db8::7", true),
            ("2001:db8::8", false),
        ] {
            let destination =
                Destination { host: host.into(), address: host.parse().ok(), port: 80, tls: false };
            assert_eq!(
                choose(&destination, &parents, &direct) == Route::Direct(&destination),
                goes_direct,
                "{host}"
            );
        }
    }
}

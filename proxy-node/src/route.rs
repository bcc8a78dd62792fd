//! Where a request goes: to the origin, or through a parent proxy. Pure.

use std::fmt;

use cluster_config::document::proxy::Parent;

use crate::{dns::is_localhost, request::Destination};

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Straight to the origin.
    Direct(&'a Destination),
    /// Through a parent; the next one is tried when it cannot be reached.
    Parents(&'a Destination, &'a [Parent]),
}

/// Chooses. With parents configured everything goes through them: a node behind a corporate proxy has no other way out. Loopback is the
/// exception: it means this host, and a parent would connect to itself.
#[must_use]
pub fn choose<'a>(destination: &'a Destination, parents: &'a [Parent]) -> Route<'a> {
    let loopback = destination.address.map_or_else(|| is_localhost(&destination.host), |address| address.to_canonical().is_loopback());
    if parents.is_empty() || loopback { Route::Direct(destination) } else { Route::Parents(destination, parents) }
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(destination) => write!(formatter, "origin {}", destination.authority()),
            Self::Parents(_, parents) => {
                let names: Vec<String> = parents.iter().map(|parent| format!("{}:{}", parent.host, parent.port)).collect();
                write!(formatter, "parent {}", names.join(", else "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_this_host_goes_through_the_parents() {
        let parents = [Parent { host: "proxy.example".into(), port: 3128 }];
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
            let destination = Destination { host: host.into(), address: host.parse().ok(), port: 80 };
            assert_eq!(choose(&destination, &parents) == Route::Direct(&destination), direct, "{host}");
            assert_eq!(choose(&destination, &[]), Route::Direct(&destination), "{host}");
        }
    }
}

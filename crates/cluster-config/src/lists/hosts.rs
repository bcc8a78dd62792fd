//! The lines of a hosts file: an address that leads nowhere, then the names that are to lead there.

use super::terms;
use crate::document::DomainPattern;
use crate::units::Invalid;
use std::net::{IpAddr, Ipv4Addr};

/// Names that every hosts file has for the machine itself and its networks. They are no entries of
/// a list.
const LOCAL: [&str; 16] = [
    "localhost",
    "localhost.localdomain",
    "localhost4",
    "localhost4.localdomain4",
    "localhost6",
    "localhost6.localdomain6",
    "local",
    "loopback",
    "broadcasthost",
    "0.0.0.0",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
];
/// As the others, added by Debian.
const ALL_HOSTS: &str = "ip6-allhosts";

/// The address that a line of a hosts file begins with; `fe80::1%lo0` has a zone.
pub fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next().unwrap_or_default().parse().ok()
}

/// The names that are to lead nowhere.
pub fn read(address: IpAddr, entry: &str) -> Result<Vec<DomainPattern>, Invalid> {
    let names = entry.split_whitespace().skip(1).filter(|name| !is_local(name));
    let mut named = Vec::new();
    for name in names {
        if !leads_nowhere(address) {
            let remedy = format!("write 0.0.0.0 {name} to name it, or remove the line");
            return Err(Invalid::new(
                format!(
                    "this gives `{name}` the address {address}, which does not say that it is in \
                     the list"
                ),
                remedy,
            ));
        }
        if name.starts_with('.') || self::address(name).is_some() {
            return Err(Invalid::new(
                format!("`{name}` is not a name of a hosts file"),
                "write host names after the address",
            ));
        }
        named.push(terms::parse_domain(name)?);
    }
    Ok(named)
}

fn is_local(name: &str) -> bool {
    LOCAL.iter().chain([&ALL_HOSTS]).any(|local| name.eq_ignore_ascii_case(local))
}

fn leads_nowhere(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_unspecified() || address.is_loopback() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}

//! Networks, and what Squid takes for them.

use crate::units::Invalid;
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Networks of a range that are listed.
const SHOWN: usize = 12;

/// `192.168.1.0/24`, `10.0.0.1`, `2001:db8::/32`. Bits beyond the prefix are an error: they are a
/// slip more often than not.
pub fn parse_network(text: &str) -> Result<IpNet, Invalid> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| {
        let otherwise = || {
            "write an IP address or a network, as in 192.168.1.7, 192.168.1.0/24 or 2001:db8::/32"
                .to_owned()
        };
        Invalid::new(
            format!("`{text}` is not a network"),
            masked(text).or_else(|| range(text)).unwrap_or_else(otherwise),
        )
    })?;
    if network.trunc() != network {
        let meant = network.trunc();
        return Err(Invalid::new(
            format!("`{text}` has bits beyond its prefix"),
            format!("write {meant}, or {} for the one address", network.addr()),
        ));
    }
    Ok(canonical_network(network))
}

/// `192.168.1.100/24`: an address that an interface can have, with its network's prefix.
pub fn parse_interface_address(text: &str) -> Result<IpNet, Invalid> {
    let otherwise = "write an address with its network's prefix, as in 192.168.1.100/24";
    if let Ok(address) = text.parse::<IpAddr>() {
        let whole = if address.is_ipv4() { 24 } else { 64 };
        return Err(Invalid::new(
            format!("`{text}` has no prefix"),
            format!("write that of its network, as in {address}/{whole}"),
        ));
    }
    if let Some((address, rest)) = text.split_once(' ') {
        return Err(Invalid::new(
            format!("`{text}` is more than an address"),
            format!("write {address} alone (not `{}`)", rest.trim()),
        ));
    }
    let net: IpNet = text.parse().map_err(|_| {
        Invalid::new(format!("`{text}` is not an address with a prefix"), otherwise)
    })?;
    let address = net.addr();
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        let message = format!("`{text}` is an address that no interface can lend to clients");
        return Err(Invalid::new(message, otherwise));
    }
    let network_itself = match net {
        IpNet::V4(net) => net.prefix_len() < 31 && net.addr() == net.network(),
        IpNet::V6(net) => net.prefix_len() < 127 && net.addr() == net.network(),
    };
    let broadcast =
        matches!(net, IpNet::V4(it) if it.prefix_len() < 31 && it.addr() == it.broadcast());
    if network_itself || broadcast || address.to_canonical() != address {
        return Err(Invalid::new(format!("`{text}` is not the address of a host"), otherwise));
    }
    Ok(net)
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is: nobody ever connects from or
/// to the other spelling.
pub fn canonical_network(network: IpNet) -> IpNet {
    let mapped = |v6: &ipnet::Ipv6Net| {
        Ipv4Net::new(v6.addr().to_ipv4_mapped()?, v6.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(v6) => mapped(&v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

/// How `10.0.0.0/255.0.0.0`, which Squid takes, is written.
fn masked(text: &str) -> Option<String> {
    let (address, mask) = text.split_once('/')?;
    let prefix = ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()?;
    Some(format!("write {}", IpNet::new(address.parse().ok()?, prefix).ok()?.trunc()))
}

/// How `10.0.0.1-10.0.0.20`, which Squid takes, is written: the networks that make it up, if they
/// are few.
fn range(text: &str) -> Option<String> {
    let (first, last) = text.split_once('-')?;
    let nets: Vec<IpNet> = match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            ipnet::Ipv4Subnets::new(first, last, 0).take(SHOWN + 1).map(IpNet::from).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            ipnet::Ipv6Subnets::new(first, last, 0).take(SHOWN + 1).map(IpNet::from).collect()
        }
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            return Some(
                "it runs backwards, and there are no ranges here: write networks".to_owned(),
            );
        }
        _ => return None,
    };
    let written = || nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(if nets.len() <= SHOWN {
        format!("a range is written as its networks: {}", written())
    } else {
        "write networks, as in 192.168.1.0/24: there are no ranges here".to_owned()
    })
}

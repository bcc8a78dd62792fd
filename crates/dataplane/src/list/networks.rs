//! A set of networks as sorted ranges: a question is one binary search, however large the set is.

use std::net::IpAddr;

use cluster_config::terms;
use ipnet::IpNet;

/// IPv4 and IPv6 networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Whether an address is in one of the networks. An IPv4-mapped address counts as the IPv4
    /// address in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => within(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => within(&self.v6, u128::from(v6)),
        }
    }

    /// Whether any of some addresses is in one of the networks.
    pub fn contains_any(&self, mut addresses: impl Iterator<Item = IpAddr>) -> bool {
        addresses.any(|address| self.contains(address))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match terms::canonical_network(network) {
                IpNet::V4(net) => v4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => v6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }
}

fn merged<N: Copy + Ord>(mut ranges: Vec<(N, N)>) -> Vec<(N, N)> {
    ranges.sort_unstable();
    let mut out: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(open) if first <= open.1 => open.1 = open.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

fn within<N: Copy + Ord>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks() {
        let set: Networks = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.168.1.7/32",
            "2001:db8::/32",
            "::ffff:172.16.0.0/108",
            "::ffff:198.51.100.9/128",
        ]
        .iter()
        .map(|net| net.parse().unwrap())
        .collect();
        for (address, want) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("172.31.1.1", true),
            ("::ffff:172.16.1.1", true),
            ("172.32.1.1", false),
            ("198.51.100.9", true),
            ("0.0.0.0", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), want, "{address}");
        }
        assert!(!Networks::default().contains("1.2.3.4".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn agrees_with_the_networks_themselves(
            nets in proptest::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..20),
            address in any::<[u8; 4]>(),
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(net, prefix)| IpNet::new(net.into(), prefix).unwrap().trunc())
                .collect();
            let address = IpAddr::from(address);
            let set: Networks = nets.iter().copied().collect();
            prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
        }
    }
}

//! What the addresses of a host mean for an instance. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::LIFETIME;

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its interface.
    pub index: u32,
    pub net: IpNet,
    /// Seconds that it is valid; `u32::MAX`: for good.
    pub valid: u32,
    /// Another one of its network came first.
    pub secondary: bool,
    /// Not to be used yet, or never.
    pub tentative: bool,
}

/// What keeps it from taking part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Somebody put an address there that stays.
    Elsewhere { address: IpAddr, index: u32 },
    /// It has no address of its own.
    Nothing { family: &'static str },
}

/// Wanted ones that are there and end by themselves. Nobody else gives addresses a lifetime as
/// short as ours, so that this tells what a process of ours has put or left there from what others
/// hold.
#[must_use]
pub fn ours(present: &[Present], index: u32, wanted: &[IpNet]) -> Vec<IpNet> {
    let ours = present.iter().filter(|it| is_wanted(it, wanted) && is_ours(it, index));
    ours.map(|it| it.net).collect()
}

/// Decides where advertisements come from. The owner's addresses may be there for good.
///
/// # Errors
/// The instance cannot take part.
pub fn judge(
    present: &[Present],
    index: u32,
    wanted: &[IpNet],
    owner: bool,
) -> Result<IpAddr, Held> {
    let strange = present
        .iter()
        .find(|it| is_wanted(it, wanted) && !is_ours(it, index) && !(owner && it.index == index));
    if let Some(held) = strange {
        return Err(Held::Elsewhere { address: held.net.addr(), index: held.index });
    }
    let v4 = wanted.first().is_none_or(|net| net.addr().is_ipv4());
    let speaks = |it: &&Present| {
        let right = match it.net.addr() {
            IpAddr::V4(_) => v4,
            IpAddr::V6(address) => !v4 && address.is_unicast_link_local(),
        };
        let moves = is_wanted(it, wanted) && (!owner || is_ours(it, index));
        right && it.index == index && !it.tentative && !moves
    };
    let own = present.iter().filter(speaks).min_by_key(|it| it.secondary);
    let family = if v4 { "IPv4" } else { "link-local IPv6" };
    Ok(own.ok_or(Held::Nothing { family })?.net.addr())
}

fn is_wanted(it: &Present, wanted: &[IpNet]) -> bool {
    wanted.iter().any(|net| net.addr() == it.net.addr())
}

fn is_ours(it: &Present, index: u32) -> bool {
    it.index == index && it.valid <= LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: u32 = u32::MAX;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn present(index: u32, text: &str, valid: u32) -> Present {
        Present { index, net: net(text), valid, secondary: false, tentative: false }
    }

    #[test]
    fn what_is_there_decides_whether_an_instance_takes_part() {
        let wanted = [net("10.0.0.100/24"), net("10.0.0.101/24")];
        let own = present(2, "10.0.0.1/24", FOREVER);
        let other = present(3, "10.9.0.1/24", FOREVER);
        let judge = |more: &[Present]| {
            let all = [&[present(1, "127.0.0.1/8", FOREVER), other, own], more].concat();
            judge(&all, 2, &wanted, false)
        };
        let source = own.net.addr();
        assert_eq!(judge(&[]), Ok(source));
        // A left-over of a process that died.
        let left = present(2, "10.0.0.100/24", 1);
        assert_eq!(judge(&[left]), Ok(source));
        assert_eq!(ours(&[own, other, left], 2, &wanted), [left.net]);
        assert_eq!(ours(&[own, other, left], 3, &wanted), []);
        for (index, valid) in [(2, FOREVER), (2, 3600), (3, FOREVER), (3, 1)] {
            let address = wanted[1].addr();
            let held = Err(Held::Elsewhere { address, index });
            assert_eq!(judge(&[present(index, "10.0.0.101/32", valid)]), held);
        }
    }

    #[test]
    fn the_owner_has_them_for_good() {
        let wanted = [net("10.0.0.1/24")];
        let own = [present(2, "10.0.0.1/24", FOREVER)];
        assert_eq!(judge(&own, 2, &wanted, true), Ok(wanted[0].addr()));
        assert_eq!(ours(&own, 2, &wanted), []);
        let address = wanted[0].addr();
        assert_eq!(judge(&own, 2, &wanted, false), Err(Held::Elsewhere { address, index: 2 }));
        assert_eq!(judge(&own, 3, &wanted, true), Err(Held::Elsewhere { address, index: 2 }));
    }

    #[test]
    fn it_speaks_from_an_address_of_its_own() {
        let wanted = [net("10.0.0.100/24")];
        let first = Present { secondary: true, ..present(2, "10.0.0.7/24", FOREVER) };
        let second = present(2, "10.0.0.8/24", FOREVER);
        let source = |present: &[Present]| judge(present, 2, &wanted, false);
        assert_eq!(source(&[first, second]), Ok(second.net.addr()));
        assert_eq!(source(&[first]), Ok(first.net.addr()));
        assert_eq!(
            source(&[present(2, "10.0.0.100/24", 2)]),
            Err(Held::Nothing { family: "IPv4" })
        );
    }

    #[test]
    fn over_ipv6_it_speaks_from_its_link_local_address() {
        let wanted = [net("2001:db8::100/64")];
        let global = present(2, "2001:db8::1/64", FOREVER);
        let local = present(2, "fe80::1/64", FOREVER);
        let tentative = Present { tentative: true, ..local };
        let source = |present: &[Present]| judge(present, 2, &wanted, false);
        assert_eq!(source(&[global, local]), Ok(local.net.addr()));
        let none = Err(Held::Nothing { family: "link-local IPv6" });
        assert_eq!(source(&[global, tentative]), none);
    }
}

//! Addresses that move between balancers.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::super::{Context, unknown};
use crate::{document::balancer as document, schema::balancer as schema};

/// As many addresses as keepalived takes in one instance.
const ADDRESSES: usize = 20;
/// Letters of an interface's name, as Linux bounds them.
const INTERFACE: usize = 15;

pub(super) fn compile(context: &mut Context, written: Vec<schema::Vrrp>) -> Vec<document::Vrrp> {
    let names = written.iter().map(|it| it.name.value.as_str());
    context.unique("vrrp instance", names, |index| format!("vrrp/{index}/name"));
    distinct(context, &written);
    let compiled = written
        .into_iter()
        .enumerate()
        .map(|(index, it)| instance(context, it, &format!("vrrp/{index}")));
    compiled.collect()
}

fn instance(context: &mut Context, written: schema::Vrrp, path: &str) -> document::Vrrp {
    if written.interface.value.len() > INTERFACE {
        context.error(
            &format!("{path}/interface"),
            format!("`{}` is too long for the name of an interface", written.interface.value),
            format!("write the name that `ip link` shows, at most {INTERFACE} letters"),
        );
    }
    interval(context, &written, path);
    addresses(context, &written, path);
    priorities(context, &written, path);
    peers(context, &written, path);
    if written.version == 3 && written.auth_pass.is_some() {
        context.error(
            &format!("{path}/auth_pass"),
            "version 3 has no passwords (RFC 9568 §9)",
            "remove auth_pass, or write version: 2",
        );
    }
    let track_weight = track(context, &written, path);
    let byte = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    document::Vrrp {
        name: written.name.value,
        interface: written.interface.value,
        virtual_router_id: byte(written.virtual_router_id),
        version: byte(written.version),
        priority: written.priority,
        advert_interval: written.advert_interval.value,
        auth_pass: written
            .auth_pass
            .map(|it| it.value.strip_prefix("secret:").unwrap_or(&it.value).to_owned()),
        addresses: written.addresses.into_iter().map(|it| it.value).collect(),
        preempt: !written.nopreempt,
        preempt_delay: written.preempt_delay.value,
        unicast_peers: written.unicast_peers,
        track_weight,
    }
}

fn interval(context: &mut Context, written: &schema::Vrrp, path: &str) {
    let (interval, text) = (written.advert_interval.value, written.advert_interval.text());
    let millis = interval.as_millis();
    let path = format!("{path}/advert_interval");
    if written.version == 2 {
        if millis == 0 || !millis.is_multiple_of(1000) || interval > Duration::from_secs(255) {
            context.error(
                &path,
                format!("`{text}` cannot be said in version 2 of VRRP"),
                "write whole seconds, 1s to 255s, or version: 3",
            );
        }
    } else if !(10..=40_950).contains(&millis) || !millis.is_multiple_of(10) {
        context.error(
            &path,
            format!("`{text}` cannot be said in version 3 of VRRP"),
            "write 10ms to 40950ms in steps of 10ms",
        );
    }
}

fn addresses(context: &mut Context, written: &schema::Vrrp, path: &str) {
    let Some(first) = written.addresses.first().map(|it| it.value) else {
        let place = format!("{path}/addresses");
        // Something wrong was said of those that are written.
        if context.written.at(&place).is_none_or(|it| it.items().is_empty()) {
            context.error(
                &place,
                "no address that moves",
                "write at least one, as in [192.168.1.100/24]",
            );
        }
        return;
    };
    if written.addresses.len() > ADDRESSES {
        context.error(
            &format!("{path}/addresses"),
            format!("{} addresses in one instance", written.addresses.len()),
            format!("write at most {ADDRESSES}, and the others into an instance of their own"),
        );
    }
    let is_v4 = |address: IpAddr| address.is_ipv4();
    for (index, it) in written.addresses.iter().enumerate() {
        let path = format!("{path}/addresses/{index}");
        if is_v4(it.value.addr()) != is_v4(first.addr()) {
            context.error(
                &path,
                "IPv4 and IPv6 addresses in one instance",
                "write an instance for each; the virtual_router_id may be the same",
            );
        } else if written.version == 2 && !is_v4(it.value.addr()) {
            context.error(
                &path,
                format!("version 2 of VRRP has no IPv6 addresses such as `{}`", it.text()),
                "write version: 3",
            );
        }
    }
}

fn priorities(context: &mut Context, written: &schema::Vrrp, path: &str) {
    if written.priority.is_empty() {
        context.error(
            &format!("{path}/priority"),
            "no balancer has a priority, so that nobody would hold the addresses",
            "name the balancers, as in {balancer-1: 100, balancer-2: 90}",
        );
    }
    for (name, priority) in &written.priority {
        if *priority == 0 {
            context.error(
                &format!("{path}/priority/{name}"),
                format!("priority 0 of `{name}` would say that it leaves"),
                "write 1 to 254 (255 for the one that owns the addresses), or leave it out",
            );
        }
    }
    let owners: Vec<_> =
        written.priority.iter().filter(|(_, priority)| **priority == 255).collect();
    if let [(first, _), .., (last, _)] = owners[..] {
        context.error(
            &format!("{path}/priority/{last}"),
            format!("both `{first}` and `{last}` own the addresses (255)"),
            "let at most one have 255",
        );
    }
}

fn peers(context: &mut Context, written: &schema::Vrrp, path: &str) {
    let v4 = written.addresses.first().is_none_or(|it| it.value.addr().is_ipv4());
    for (index, peer) in written.unicast_peers.iter().enumerate() {
        let path = format!("{path}/unicast_peers/{index}");
        match peer.parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() != v4 => context.error(
                &path,
                format!("`{peer}` is not of the family of the addresses that move"),
                "write the peer's other address, or its name",
            ),
            Ok(_) => {}
            Err(_) if written.priority.contains_key(peer) => {}
            Err(_) => context.error(
                &path,
                format!("`{peer}` is neither an address nor a balancer with a priority here"),
                unknown(peer, written.priority.keys().map(String::as_str)),
            ),
        }
    }
}

/// What an unhealthy balancer loses.
fn track(context: &mut Context, written: &schema::Vrrp, path: &str) -> u8 {
    let own = |limit: fn(&u8) -> bool| written.priority.values().copied().filter(limit);
    let lowest = own(|_| true).min().unwrap_or(1);
    let highest = own(|it| *it < 255).max().unwrap_or(1);
    let needed = highest.saturating_sub(lowest).saturating_add(1).min(253);
    let Some(weight) = written.track.weight else { return needed };
    let weight = u8::try_from(weight).unwrap_or(253);
    let several = written.priority.len() > 1;
    if several && weight != 0 && weight < needed && written.priority.values().all(|it| *it > 0) {
        context.warning(
            &format!("{path}/track/weight"),
            format!(
                "an unhealthy balancer of priority {highest} would still be {} and not below the \
                 lowest of the others, {lowest}",
                highest.saturating_sub(weight)
            ),
            format!("write {needed} or more, or leave it out"),
        );
    }
    weight
}

/// Two instances that would hear each other's advertisements as their own, or hold one address
/// both.
fn distinct(context: &mut Context, written: &[schema::Vrrp]) {
    let mut routers: BTreeMap<_, usize> = BTreeMap::new();
    let mut addresses: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (index, it) in written.iter().enumerate() {
        let v4 = it.addresses.first().is_none_or(|it| it.value.addr().is_ipv4());
        let router = (it.interface.value.clone(), it.virtual_router_id, v4);
        if let Some(first) = routers.get(&router) {
            context.error(
                &format!("vrrp/{index}/virtual_router_id"),
                format!(
                    "`{}` has virtual_router_id {} on {} already",
                    written[*first].name.value, it.virtual_router_id, it.interface.value
                ),
                "give each instance of an interface its own, from 1 to 255",
            );
        } else {
            routers.insert(router, index);
        }
        for (place, address) in it.addresses.iter().enumerate() {
            match addresses.get(&address.value.addr()) {
                Some(first) => context.error(
                    &format!("vrrp/{index}/addresses/{place}"),
                    format!("`{first}` has {} already", address.value.addr()),
                    "let each address move once",
                ),
                None => {
                    addresses.insert(address.value.addr(), it.name.value.clone());
                }
            }
        }
    }
}

//! The proxy auto-configuration file of a frontend: a script that tells a browser which proxy to
//! ask for a URL. Made from who is usable now: first the nodes that an object belongs to by the
//! hash that balancers go by ([`dataplane::ring`]), so that one copy serves everybody, then the
//! balancers, then, if the bundle says so, the origin itself. Pure.
//!
//! The language of these files is what Netscape once described; browsers differ in what else they
//! have, so that the script needs nothing beyond `ECMAScript` 3.

use std::{collections::BTreeMap, fmt::Write as _};

use cluster_config::document::balancer::{Balance, Pac};
use dataplane::{hash::hash, ring};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{snapshot::Pool, standing::Standing};

/// Its registered type.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";
/// Browsers keep it for so long; who is gone meanwhile is passed over by them.
pub const CACHE_CONTROL: &str = "public, max-age=60";

const FUNCTIONS: &str = include_str!("pac/functions.js");

/// What the script is made of.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// What the bundle says.
    pub settings: &'a Pac,
    /// Of the frontend's backend.
    pub pool: &'a Pool,
    /// Where clients reach proxy-nodes, by name; `host:port`.
    pub nodes: &'a BTreeMap<String, String>,
    /// By what the client asked for the file.
    pub asked: &'a str,
    /// Clients speak TLS with the balancers.
    pub secure: bool,
}

/// The file.
#[must_use]
pub fn script(facts: &Facts<'_>) -> String {
    let Facts { settings, pool, .. } = facts;
    let nodes = if settings.nodes == 0 { Vec::new() } else { nodes(facts) };
    let count = if nodes.is_empty() { 0 } else { settings.nodes };
    let network = |it: &IpNet| match it {
        IpNet::V4(it) => json!([it.addr().octets(), it.prefix_len()]),
        IpNet::V6(it) => json!([it.addr().octets(), it.prefix_len()]),
    };
    let networks: Vec<Value> = settings.bypass_networks.iter().map(network).collect();
    let domains = settings.bypass.iter().map(|it| json!([it.name, it.subdomains, it.only_below]));
    let domains: Vec<Value> = domains.collect();
    let by_url = pool.settings.balance == Balance::UriHash;
    let mut out = String::from("// Which proxy to ask; made by Shoal from who is usable.\n");
    for (name, value) in [
        ("NODES", Value::from(nodes)),
        ("COUNT", count.into()),
        ("OTHERS", others(facts).into()),
        ("DOMAINS", domains.into()),
        ("NETWORKS", networks.into()),
        ("LOCAL_NAMES", settings.bypass_local_names.into()),
        ("BY_URL", by_url.into()),
    ] {
        // No text of ours ends a script: JSON escapes quotes and control characters.
        writeln!(out, "var {name} = {value};").unwrap_or_default();
    }
    out.push_str(FUNCTIONS);
    out
}

/// Names, addresses and points of the ring of the nodes that get requests now.
fn nodes(Facts { pool, nodes, .. }: &Facts<'_>) -> Vec<Value> {
    let first = pool.plan.tiers().first().filter(|it| it.standing() == Standing::Usable);
    let members = first.map_or(&[][..], |it| it.members());
    let usable: Vec<_> = members
        .iter()
        .filter_map(|(index, _)| pool.servers.get(*index))
        .filter_map(|it| Some((it, nodes.get(&it.server.name)?)))
        .collect();
    let counts = ring::counts(usable.iter().map(|(it, _)| (it.weight, 100)));
    let rows = usable.iter().zip(counts);
    rows.map(|((it, address), count)| json!([it.server.name, address, count])).collect()
}

/// Who is asked when no node answers.
fn others(Facts { settings, asked, secure, .. }: &Facts<'_>) -> Vec<String> {
    let kind = if *secure { "HTTPS" } else { "PROXY" };
    let named = |(host, port): &(String, u16)| match host.contains(':') {
        true => format!("{kind} [{host}]:{port}"),
        false => format!("{kind} {host}:{port}"),
    };
    let mut all: Vec<String> = settings.proxies.iter().map(named).collect();
    if all.is_empty() {
        all.push(format!("{kind} {asked}"));
    }
    if settings.direct {
        all.push("DIRECT".to_owned());
    }
    all
}

/// What a client says that it asked for, if nothing in it could end up as more than one proxy;
/// with the port of the frontend where it says none.
#[must_use]
pub fn asked(host: &str, port: u16) -> Option<String> {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b".-_:[]".contains(&it);
    if host.is_empty() || host.len() > 255 || !host.bytes().all(plain) {
        return None;
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, after)| !after.is_empty() && after.bytes().all(|it| it.is_ascii_digit()));
    Some(if has_port { host.to_owned() } else { format!("{host}:{port}") })
}

/// Its entity tag.
#[must_use]
pub fn etag(script: &str) -> String {
    format!("\"{:016x}\"", hash(script.as_bytes()))
}

#[cfg(test)]
mod tests;

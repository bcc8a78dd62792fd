//! Lists of domains and addresses: what the node's compact sets answer is what comparing with every
//! entry answers.

use std::net::IpAddr;

use cluster_config::lists;
use dataplane::list::{self, Networks};

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "list",
    check,
    words: &[
        b"\n",
        b"\r\n",
        b"#",
        b".",
        b"..",
        b".example.com",
        b"www.example.com",
        b"EXAMPLE.com",
        b"com",
        b"*",
        b"10.0.0.0/8",
        b"10.0.0.1",
        b"::/0",
        b"2001:db8::/32",
        b"::ffff:10.0.0.1",
        b"/33",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"xn--",
        b"_dmarc.",
        b"-a.",
        b" ",
        b"0.0.0.0 ",
        b"127.0.0.1\t",
        b"localhost",
        b"||",
        b"^",
        b"$important",
        b"!",
        b" CNAME .",
        b"*.",
        b"$ORIGIN rpz.",
        b"@ SOA (",
        b")",
        b";",
    ],
    executions: 30_000,
};

/// A line with a host (or an address), then the list.
fn check(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let asked = String::from_utf8_lossy(parts.next().unwrap_or_default())
        .trim()
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let list = parts.next().unwrap_or_default();

    let patterns: Vec<_> = lists::domains(list).collect();
    let valid: Vec<_> = patterns.iter().filter_map(|pattern| pattern.as_ref().ok()).collect();
    for pattern in &valid {
        // What lies only below a name has no plain form: it is the wildcard of a zone.
        let written =
            if pattern.only_below { format!("{pattern} CNAME .") } else { pattern.to_string() };
        let again: Vec<_> = lists::domains(written.as_bytes()).collect();
        assert_eq!(again, [Ok((*pattern).clone())], "an entry is written as it is read");
        assert_eq!(pattern.matches(&pattern.name), !pattern.only_below);
    }
    let lines = list.split(|byte| *byte == b'\n').count();
    for bad in patterns.iter().filter_map(|pattern| pattern.as_ref().err()) {
        assert!(
            (1..=lines).contains(&(bad.line as usize))
                && !bad.message.is_empty()
                && !bad.remedy.is_empty(),
            "{bad:?}"
        );
    }
    if let Ok(domains) = list::domains(list) {
        assert_eq!(valid.len(), patterns.len(), "a list with a bad line is not loaded");
        let hosts = valid.iter().flat_map(|pattern| {
            [pattern.name.clone(), format!("a.{}", pattern.name), format!("a{}", pattern.name)]
        });
        for host in hosts.chain([asked.clone()]) {
            let any = valid.iter().any(|pattern| pattern.matches(&host));
            assert_eq!(domains.contains(&host), any, "whether {host:?} is in the list");
        }
    }

    let networks: Vec<_> = lists::networks(list).filter_map(Result::ok).collect();
    let set: Networks = networks.iter().copied().collect();
    let edges = networks.iter().flat_map(|network| [network.network(), network.broadcast()]);
    for address in edges.chain(asked.parse::<IpAddr>()) {
        let canonical = address.to_canonical();
        // An IPv4-mapped address is asked for as the IPv4 address in it, whatever family the entry
        // was written in.
        if canonical == address {
            assert_eq!(
                set.contains(address),
                networks.iter().any(|network| network.contains(&address)),
                "whether {address} is in the list"
            );
        }
    }
}

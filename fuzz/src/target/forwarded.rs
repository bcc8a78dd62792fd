//! X-Forwarded-For: whose request it is. Nobody becomes somebody else by what they write into a
//! field.

use std::net::{IpAddr, Ipv4Addr};

use cluster_config::document::proxy::ForwardedFor;
use dataplane::list::Networks;
use ipnet::IpNet;
use proxy_node::request::{self, Forwarded, Sender, Trust};

use super::{HEAD_WORDS, request};
use crate::Target;

/// See the module.
pub const TARGET: Target = Target { name: "forwarded", check, words: WORDS, executions: 40_000 };

const WORDS: &[&[u8]] = &[
    b"X-Forwarded-For: ",
    b"10.0.0.1",
    b"10.255.255.255",
    b"203.0.113.9",
    b"::1",
    b"[2001:db8::1]",
    b"[2001:db8::1]:80",
    b"::ffff:10.0.0.1",
    b"1.2.3.4:80",
    b"\"",
    b"unknown",
    b", ",
    b",",
    b"\r\nX-Forwarded-For: ",
    b"_hidden",
    b"%eth0",
    HEAD_WORDS[0],
];

/// A client that nobody knows, and a proxy that is trusted.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const DOWNSTREAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
const HEARSAY: &[u8] = b"X-Forwarded-For: 192.0.2.66\r\n";

fn check(bytes: &[u8]) {
    let Some(head) = request(bytes) else { return };
    let trusted: IpNet = IpNet::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8).expect("a network");
    let downstreams: Networks = [trusted].into_iter().collect();
    let view = head.view(bytes);
    for unbelieved in [ForwardedFor::Replace, ForwardedFor::Append, ForwardedFor::Delete] {
        let trust = Trust { downstreams: &downstreams, unbelieved };
        for (sender, source) in [
            (Sender::Client, STRANGER),
            (Sender::BalancerForOne, STRANGER),
            (Sender::BalancerForOne, DOWNSTREAM),
        ] {
            let client = request::client(view, sender, source, &trust);
            assert_eq!(
                client.address, source,
                "what {source} writes at {sender:?} is not believed"
            );
            assert_ne!(client.forwarded, Forwarded::Keep, "nor passed on as it came");
        }
    }
    let trust = Trust { downstreams: &downstreams, unbelieved: ForwardedFor::Replace };
    for (sender, source) in [(Sender::Client, DOWNSTREAM), (Sender::BalancerPooled, DOWNSTREAM)] {
        let address = request::client(view, sender, source, &trust).address;
        if downstreams.contains(address) {
            continue;
        }
        // Found behind trusted proxies only: whatever a client wrote before it is hearsay and
        // changes nothing.
        let first_line =
            bytes.windows(2).skip(1).position(|pair| pair == b"\r\n").map_or(0, |at| at + 3);
        let more = [&bytes[..first_line], HEARSAY, &bytes[first_line..]].concat();
        let Some(head) = request(&more) else { continue };
        let again = request::client(head.view(&more), sender, source, &trust).address;
        assert_eq!(again, address, "hearsay in front changed whose request it is");
    }
}

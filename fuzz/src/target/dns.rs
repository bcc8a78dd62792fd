//! Answers of name servers: whatever they hold, only addresses that were asked for come out, and
//! few.

use proxy_node::dns::message::{self, Family, Reply};

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "dns",
    check,
    words: &[
        b"\0\x07\x81\x80\0\x01\0\x01\0\0\0\0",
        b"\0\x07\x81\x83\0\x01\0\0\0\0\0\0",
        b"\x03www\x04host\x04test\0\0\x01\0\x01",
        b"\x03www\x04host\x04test\0\0\x1c\0\x01",
        b"\xc0\x0c",
        b"\xc0\x10",
        b"\xff\xff",
        b"\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01",
        b"\0\x1c\0\x01\0\0\0\x3c\0\x10",
        b"\0\x05\0\x01\0\0\0\x3c\0\x07\x04real\xc0\x10",
        b"\0\x29\x04\xd0\0\0\0\0\0\0",
        b"\x3f",
        b"\0",
    ],
    executions: 60_000,
};

fn check(bytes: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let query = message::encode(7, "www.host.test", family).expect("a name");
        // As it came, and behind a head and a question that are believed.
        let mut believed = query.clone();
        believed[2..4].copy_from_slice(&[0x81, 0x80]);
        if let Some(count) = bytes.first() {
            believed[7] = *count;
        }
        believed.extend_from_slice(bytes.get(1..).unwrap_or_default());
        for answer in [bytes, &believed] {
            if let Some(Reply::Addresses(addresses, _)) = message::decode(answer, &query) {
                assert!((1..=64).contains(&addresses.len()));
                assert!(
                    addresses.iter().all(|address| address.is_ipv6() == (family == Family::V6)),
                    "{addresses:?}"
                );
            }
        }
        assert!(message::decode(&believed, &query).is_some(), "what is believed is an answer");
    }
    if let Ok(host) = std::str::from_utf8(bytes)
        && let Some(query) = message::encode(7, host, Family::V4)
    {
        assert!(
            query.len() <= 12 + 255 + 4 && message::decode(&query, &query).is_none(),
            "a question is no answer"
        );
    }
}

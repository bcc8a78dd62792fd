//! Advertisements of VRRP, with the header of IPv4 before them or without: whatever is read says
//! the same when it is written again, and is believed by nobody who has agreed on something else.

use std::net::IpAddr;

use balancer::vrrp::packet::{Advertisement, Agreed, Envelope, ipv4};

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "vrrp",
    check,
    words: &[
        b"\x21\x33\x64\x01",
        b"\x31\x34\x64\x01",
        b"\x45\xc0\x00\x20",
        b"\xff\x70",
        b"\x00\x14",
        b"\x00\x00",
        b"\xe0\x00\x00\x12",
        b"\xc0\xa8\x01\x64",
        b"1234\0\0\0\0",
    ],
    executions: 100_000,
};

fn check(bytes: &[u8]) {
    if let Some((envelope, rest)) = ipv4::unwrap(bytes) {
        assert!(bytes.len() >= 20 + rest.len(), "what is unwrapped was there");
        read(rest, envelope);
    }
    for (source, destination) in
        [("192.168.1.11", "224.0.0.18"), ("fe80::1", "ff02::12"), ("10.0.0.1", "10.0.0.2")]
    {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (source, destination) = (address(source), address(destination));
        read(bytes, Envelope { source, destination, ttl: 255 });
        let routed = Envelope { source, destination, ttl: 254 };
        assert!(Advertisement::read(bytes, routed).is_err(), "it came through a router");
    }
}

fn read(bytes: &[u8], envelope: Envelope) {
    let Ok(said) = Advertisement::read(bytes, envelope) else { return };
    assert!(!said.addresses.is_empty() && said.virtual_router_id != 0);
    assert!(said.priority == 0 || !said.interval.is_zero());
    let again = said.write(envelope.source, envelope.destination);
    assert_eq!(Advertisement::read(&again, envelope).as_ref(), Ok(&said), "the same once more");
    let agreed = Agreed {
        version: said.version,
        virtual_router_id: said.virtual_router_id,
        interval: said.interval,
        password: said.password,
    };
    assert!(said.agrees(&agreed).is_ok());
    let other = said.virtual_router_id.wrapping_add(1);
    assert!(said.agrees(&Agreed { virtual_router_id: other, ..agreed }).is_err());
}

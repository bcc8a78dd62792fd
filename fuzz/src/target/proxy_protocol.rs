//! PROXY headers on the relay listener: a verdict on a beginning is the verdict on the whole, what
//! is written back is read alike, and a TLV that means nothing to us changes nothing.

use relay::proxy_protocol::{self, Command, Header};

use crate::Target;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// PP2_TYPE_NOOP, one byte of value.
const NOOP: [u8; 4] = [0x04, 0, 1, 0xaa];

/// See the module.
pub const TARGET: Target = Target {
    name: "proxy_protocol",
    check,
    words: &[
        SIGNATURE,
        b"\x20\x00",
        b"\x21\x11\x00\x0c",
        b"\x21\x21\x00\x24",
        b"\x20\x00\x00\x00",
        b"\xe1\x00\x20",
        b"\x04\x00\x01",
        b"\x03\x00\x04",
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"\r\n",
        b"255.255.255.255",
        b"::1",
        b"::ffff:1.2.3.4",
        b"65536",
        b"00080",
        b" ",
    ],
    executions: 40_000,
};

fn check(bytes: &[u8]) {
    let whole = proxy_protocol::parse(bytes);
    for len in 0..bytes.len().min(1100) {
        let partial = proxy_protocol::parse(&bytes[..len]);
        assert!(
            partial == Ok(None) || partial == whole,
            "a beginning of {len} bytes says something else"
        );
    }
    let Ok(Some((header, len))) = whole else { return };
    assert!(len <= bytes.len());
    assert_eq!(proxy_protocol::parse(&bytes[..len]), whole, "what follows does not matter");
    if bytes.starts_with(SIGNATURE) {
        with_noop(&bytes[..len], header);
    }
    let mut out = Vec::new();
    match (header.command, &header.addresses) {
        (Command::Local, _) => proxy_protocol::encode_local(&mut out, header.nonce.as_ref()),
        (Command::Proxy, Some(addresses)) => {
            proxy_protocol::encode_proxy(&mut out, addresses, header.nonce.as_ref())
        }
        (Command::Proxy, None) => return,
    }
    assert_eq!(
        proxy_protocol::parse(&out),
        Ok(Some((header, out.len()))),
        "written and read again"
    );
}

/// The same header with one more TLV at its end.
fn with_noop(bytes: &[u8], header: Header) {
    let mut longer = [bytes, &NOOP].concat();
    let Ok(length) = u16::try_from(longer.len() - 16) else { return };
    longer[14..16].copy_from_slice(&length.to_be_bytes());
    match proxy_protocol::parse(&longer) {
        Err(proxy_protocol::Invalid::TooLong) => {}
        read => assert_eq!(read, Ok(Some((header, longer.len()))), "a TLV of no meaning"),
    }
}

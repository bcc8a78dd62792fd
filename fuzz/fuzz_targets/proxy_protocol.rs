//! PROXY headers: no panic, a verdict on a beginning is the verdict on the whole, and what is written back is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use relay::proxy_protocol::{self, Command};

fuzz_target!(|bytes: &[u8]| {
    let whole = proxy_protocol::parse(bytes);
    for len in 0..bytes.len().min(1100) {
        let partial = proxy_protocol::parse(&bytes[..len]);
        assert!(partial == Ok(None) || partial == whole);
    }
    let Ok(Some((header, len))) = whole else { return };
    assert!(len <= bytes.len());
    let mut out = Vec::new();
    match (header.command, &header.addresses) {
        (Command::Local, _) => proxy_protocol::encode_local(&mut out, header.token.as_ref()),
        (Command::Proxy, Some(addresses)) => proxy_protocol::encode_proxy(&mut out, addresses, header.token.as_ref()),
        (Command::Proxy, None) => return,
    }
    assert_eq!(proxy_protocol::parse(&out), Ok(Some((header, out.len()))));
});

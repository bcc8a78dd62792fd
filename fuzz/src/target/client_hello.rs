//! ClientHellos where TLS passes through unread: a verdict on a beginning is the verdict on the
//! whole, there is one in time, what follows does not matter, and a name is one.

use relay::client_hello::{self, MOST};

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "client_hello",
    check,
    words: &[
        b"\x16\x03\x01",
        b"\x16\x03\x01\x00\x01",
        b"\x16\x03\x03\x00\x00",
        b"\x01\x00",
        b"\x03\x03",
        b"\x00\x00",
        b"\x00\x00\x00\x10",
        b"\x00\x10\x00\x00\x0d",
        b"\x00\x00\x09a.example",
        b"\x13\x01",
        b"\x01\x00",
        b".example.",
        b"..",
        b"\xff\xff",
        b"\x40\x00",
    ],
    executions: 40_000,
};

fn check(bytes: &[u8]) {
    let whole = client_hello::parse(bytes);
    for length in 0..bytes.len().min(600) {
        let part = client_hello::parse(&bytes[..length]);
        assert!(
            part == Ok(None) || part == whole,
            "a beginning of {length} bytes says something else"
        );
    }
    assert!(whole != Ok(None) || bytes.len() < MOST, "no verdict on {} bytes", bytes.len());
    let Ok(Some(hello)) = &whole else { return };
    assert_eq!(client_hello::parse(&[bytes, b"\x17more"].concat()), whole, "what follows");
    if let Some(name) = &hello.name {
        let good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(!name.is_empty() && name.len() <= 253 && name.bytes().all(good), "{name:?}");
        assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name:?}");
    }
}

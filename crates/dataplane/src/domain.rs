//! The host of a request's target, as access records are counted and searched by it.

use std::borrow::Cow;

/// What is kept of a host, in bytes: names have 253 at most.
const LONGEST: usize = 256;

/// The host of `http://[user@]host[:port]/…` or of `host:port`, in lower case; `-` when there is
/// none.
#[must_use]
pub fn domain(target: &str) -> Cow<'_, str> {
    let rest = match target.split_once("://") {
        Some((_, rest)) => rest,
        None if target.starts_with('/') => "",
        None => target,
    };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let host = match place.split_once(']') {
        Some((inside, _)) => inside.trim_start_matches('['),
        None => place.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.');
    let host = &host[..host.floor_char_boundary(LONGEST)];
    if host.is_empty() {
        Cow::Borrowed("-")
    } else if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (target, expected) in [
            ("http://Example.COM/a?b", "example.com"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com.?x", "example.com"),
            ("http://user:pass@example.com/", "example.com"),
            ("http://[2001:DB8::1]:80/", "2001:db8::1"),
            ("example.com:443", "example.com"),
            ("[::1]:443", "::1"),
            ("/origin-form", "-"),
            ("*", "*"),
            ("http://", "-"),
            ("", "-"),
        ] {
            assert_eq!(domain(target), expected, "{target}");
        }
        assert_eq!(domain(&format!("http://{}/", "ü".repeat(300))).len(), 256);
    }
}

//! The one normal form of what a request asks for (RFC 9110 §4.2.3, RFC 3986 §6.2): what rules
//! judge, what the cache keeps it under, what the origin is asked for, and what is explained. Pure.
//!
//! Scheme and host in lower case, no dot at the host's end, an address in its one spelling (RFC
//! 5952; an IPv4-mapped one as the IPv4 address that is connected to), no port where it is the
//! scheme's own, escapes only where they are needed and with upper-case digits, no dot segments,
//! and a path. Whoever judges one spelling and fetches another can be walked around by the third.
//!
//! A target that is normal already, the usual case, is seen to be so in one pass without an
//! allocation.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::head::Request;
use crate::method::Method;
use crate::target::{Authority, Host, Scheme, Target};

/// The normal form of a request's target; `None`: it is normal as it stands.
pub fn of_request(request: Request<'_>) -> Option<String> {
    of_target(request.target_text(), &request.target(), request.method())
}

/// The normal form of a target that was parsed from `text`; `None`: `text` is normal.
pub fn of_target(text: &str, target: &Target<'_>, method: Method) -> Option<String> {
    match target {
        Target::Absolute { scheme, authority, path } => {
            // RFC 9112 §3.2.4: OPTIONS without a path asks about the whole server, and says so by
            // having none.
            let rootless = path.is_empty() && method == Method::Options;
            let normal = text.starts_with(scheme.as_str())
                && is_normal_authority(authority, Some(*scheme))
                && (rootless || (path.starts_with('/') && is_normal_path(path)));
            if normal {
                return None;
            }
            let mut out = String::with_capacity(text.len() + 8);
            out.push_str(scheme.as_str());
            out.push_str("://");
            push_authority(&mut out, authority, Some(*scheme));
            if !rootless {
                push_path(&mut out, path);
            }
            // What only looked abnormal: an escape that is needed.
            (out != text).then_some(out)
        }
        Target::Authority(authority) => {
            if is_normal_authority(authority, None) {
                return None;
            }
            let mut out = String::with_capacity(text.len());
            push_authority(&mut out, authority, None);
            (out != text).then_some(out)
        }
        // Neither is asked of a proxy.
        Target::Origin(_) | Target::Asterisk => None,
    }
}

/// The normal form of an absolute URL; `None`: it is none that a client could ask a proxy for.
pub fn url(text: &str) -> Option<String> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return None;
    }
    let target = Target::parse(text, Method::Get).ok()?;
    matches!(target, Target::Absolute { .. })
        .then(|| of_target(text, &target, Method::Get).unwrap_or_else(|| text.to_owned()))
}

/// The normal form of a path without a query: as it stands, without an allocation, in the usual
/// case that nothing in it looks otherwise.
pub fn path(path: &str) -> Cow<'_, str> {
    if path.starts_with('/') && !path.contains('?') && is_normal_path(path) {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len() + 1);
    push_path(&mut normal, path);
    Cow::Owned(normal)
}

/// Appends the normal form of a path with its query.
pub fn push_path(out: &mut String, path: &str) {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut decoded = String::with_capacity(path.len());
    push_decoded(&mut decoded, path);
    push_without_dots(out, &decoded);
    push_decoded(out, query);
}

/// Nothing in it looks like an escape or a dot segment. False may still be normal; true is.
fn is_normal_path(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Without a branch for each byte the first pass becomes vector instructions; most paths have no
    // escape and few dots.
    let (mut escapes, mut dots) = (false, false);
    for byte in bytes {
        escapes |= *byte == b'%';
        dots |= *byte == b'.';
    }
    if escapes {
        return false;
    }
    !dots || !bytes.windows(2).any(|pair| pair == b"/.")
}

/// False may still be normal; true is. `scheme`: `None` where the port always stays (CONNECT).
fn is_normal_authority(authority: &Authority<'_>, scheme: Option<Scheme>) -> bool {
    let host_len = match authority.host {
        Host::Name(name) => {
            if name.ends_with('.') || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return false;
            }
            name.len()
        }
        // It was read from the one spelling that it has.
        Host::V4(_) => authority.text.find(':').unwrap_or(authority.text.len()),
        Host::V6(_) => return false,
    };
    let port = authority.text.get(host_len..).unwrap_or_default();
    match (authority.port, scheme) {
        (None, _) => port.is_empty(),
        (Some(number), Some(scheme)) if number == scheme.default_port() => false,
        (Some(_), _) => !port.starts_with(":0"),
    }
}

fn push_authority(out: &mut String, authority: &Authority<'_>, scheme: Option<Scheme>) {
    push_host(out, authority.host);
    match (authority.port, scheme) {
        (Some(port), Some(scheme)) if port == scheme.default_port() => {}
        (Some(port), _) => {
            out.push(':');
            out.push_str(&port.to_string());
        }
        (None, _) => {}
    }
}

fn push_host(out: &mut String, host: Host<'_>) {
    match host.address().map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => out.push_str(&address.to_string()),
        Some(IpAddr::V6(address)) => {
            out.push('[');
            out.push_str(&address.to_string());
            out.push(']');
        }
        None => {
            if let Host::Name(name) = host {
                out.extend(
                    name.strip_suffix('.')
                        .unwrap_or(name)
                        .chars()
                        .map(|letter| letter.to_ascii_lowercase()),
                );
            }
        }
    }
}

/// RFC 3986 §6.2.2: an escape of a character that needs none becomes the character, the others get
/// upper-case digits. A `%` that begins no escape stays, and so do the two that follow it as far as
/// they are escapes, or the next hop might read an escape that was none here.
fn push_decoded(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    // Where the last `%` that begins no escape was written.
    let mut stray = None;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .filter(|digits| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let Some(&[high, low]) = digits else {
            if *byte == b'%' {
                stray = Some(out.len());
            }
            out.push(char::from(*byte));
            at += 1;
            continue;
        };
        let value = hexadecimal(high) << 4 | hexadecimal(low);
        let is_behind_stray = stray.is_some_and(|stray| out.len() - stray <= 2);
        if is_unreserved(value) && !is_behind_stray {
            out.push(char::from(value));
        } else {
            out.push('%');
            out.push(char::from(high.to_ascii_uppercase()));
            out.push(char::from(low.to_ascii_uppercase()));
        }
        at += 3;
    }
}

fn hexadecimal(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or_default()
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §5.2.4, for a path that begins with `/`, or is empty and becomes `/`.
fn push_without_dots(out: &mut String, path: &str) {
    let start = out.len();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    let parent =
                        out.get(start..).and_then(|written| written.rfind('/')).unwrap_or(0);
                    out.truncate(start + parent);
                }
                if is_last {
                    out.push('/');
                }
            }
            other => {
                out.push('/');
                out.push_str(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(text: &str) -> String {
        url(text).unwrap_or_else(|| panic!("{text} is no URL"))
    }

    #[test]
    fn spellings_of_one_url() {
        for (spellings, want) in [
            (
                &[
                    "http://host.test",
                    "HTTP://Host.TEST:80/",
                    "http://host.test./",
                    "http://host.test:80",
                ][..],
                "http://host.test/",
            ),
            (&["http://host.test?q", "http://HOST.test:80?q"], "http://host.test/?q"),
            (&["https://host.test:443/", "HTTPS://host.test"], "https://host.test/"),
            (&["https://host.test:80/"], "https://host.test:80/"),
            (
                &[
                    "http://host.test/ads/1",
                    "http://host.test/%61ds/1",
                    "http://host.test/%61%64%73/%31",
                ],
                "http://host.test/ads/1",
            ),
            (
                &[
                    "http://h/a/./b/../c",
                    "http://h/a/%2e/b/%2E%2e/c",
                    "http://h/../a/c",
                    "http://h/x/../../a/c",
                ],
                "http://h/a/c",
            ),
            (&["http://h/..", "http://h/.", "http://h/a/..", "http://h/%2e%2e/"], "http://h/"),
            (&["http://h/a/.", "http://h/a/b/.."], "http://h/a/"),
            (&["http://h/a//b", "http://h/a/c/..//b"], "http://h/a//b"),
            (&["http://h/a//../b"], "http://h/a/b"),
            (&["http://h/%3a%2F%c3%a9", "http://h/%3A%2f%C3%A9"], "http://h/%3A%2F%C3%A9"),
            (&["http://h/?a=%7e../..&b=/./"], "http://h/?a=~../..&b=/./"),
            (&["http://h/.a/..b/c./d..", "http://h/%2ea/..b/c./d.."], "http://h/.a/..b/c./d.."),
            (
                &["http://127.0.0.9/", "http://[::ffff:127.0.0.9]/", "http://[::FFFF:7f00:9]:80"],
                "http://127.0.0.9/",
            ),
            (&["http://[2001:DB8:0:0::0:1]:80/", "http://[2001:db8::1]/"], "http://[2001:db8::1]/"),
            (&["http://[2001:db8::1]:8080/"], "http://[2001:db8::1]:8080/"),
            (&["http://h/100%", "http://h/100%"], "http://h/100%"),
            (&["http://h/%%36%31", "http://h/%%361"], "http://h/%%361"),
            (&["http://h/%a%62%63"], "http://h/%a%62c"),
            (&["http://h/%u0061"], "http://h/%u0061"),
        ] {
            for text in spellings {
                assert_eq!(normal(text), want, "{text}");
            }
        }
        for text in ["ftp://h/", "/a", "http://h/#a", "http://h/a b", "http://", "a:80", "*"] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_that_is_normal_is_not_copied() {
        for text in ["/", "/a/b.deb", "/a//b", "/.a/..b"] {
            assert!(matches!(path(text), Cow::Borrowed(it) if it == text) || text == "/.a/..b");
        }
        assert_eq!(path("/%61/../b"), "/b");
    }

    #[test]
    fn the_target_of_a_tunnel_keeps_its_port() {
        for (text, want) in [
            ("host.test:443", None),
            ("HOST.test:443", Some("host.test:443")),
            ("host.test.:443", Some("host.test:443")),
            ("[::ffff:7f00:9]:443", Some("127.0.0.9:443")),
            ("[2001:db8::1]:443", None),
            ("[2001:DB8::1]:443", Some("[2001:db8::1]:443")),
            ("127.0.0.9:80", None),
        ] {
            let target = Target::parse(text, Method::Connect).unwrap();
            assert_eq!(of_target(text, &target, Method::Connect).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn what_is_asked_of_the_whole_server_has_no_path() {
        let of =
            |text| of_target(text, &Target::parse(text, Method::Options).unwrap(), Method::Options);
        assert_eq!(of("http://h"), None);
        assert_eq!(of("http://H:80").as_deref(), Some("http://h"));
        assert_eq!(of("http://h?q").as_deref(), Some("http://h/?q"));
        assert_eq!(of("*"), None);
    }

    /// One of the spellings of a normal URL, as a seed says.
    fn respelled(host: &str, path: &str, mut seed: u64) -> String {
        let mut coin = move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            seed >> 62 == 0
        };
        let mut out = String::from(if coin() { "HtTp://" } else { "http://" });
        out.extend(
            host.chars().map(|letter| if coin() { letter.to_ascii_uppercase() } else { letter }),
        );
        out.push_str(if coin() { "." } else { "" });
        out.push_str(if coin() { ":80" } else { "" });
        for byte in path.bytes() {
            if byte == b'/' {
                for (dots, here) in
                    [("/.", coin()), ("/x%2fy/..", coin()), ("/%2E", coin()), ("/z/%2e%2E", coin())]
                {
                    out.push_str(if here { dots } else { "" });
                }
                out.push('/');
            } else if is_unreserved(byte) && coin() {
                out.push_str(&if coin() { format!("%{byte:02X}") } else { format!("%{byte:02x}") });
            } else {
                out.push(char::from(byte));
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_path_is_as_in_its_url(text in "/[ -~&&[^# ?]]{0,40}") {
            let whole = normal(&format!("http://h{text}"));
            prop_assert_eq!(format!("http://h{}", path(&text)), whole);
        }

        #[test]
        fn the_normal_form_is_its_own(
            path in "(/|\\?)[ -~&&[^# ]]{0,40}",
            host in "[A-Za-z0-9_-]{1,9}\\.[a-z]{2,3}\\.?",
            port in proptest::option::of(1_u16..),
        ) {
            let port = port.map_or(String::new(), |port| format!(":{port}"));
            let once = normal(&format!("http://{host}{port}{path}"));
            prop_assert_eq!(normal(&once), once.clone());
            let target = Target::parse(&once, Method::Get).unwrap();
            prop_assert_eq!(of_target(&once, &target, Method::Get), None);
        }

        #[test]
        fn every_spelling_has_the_same(
            path in "/[a-z0-9~_-]{0,6}(/[a-zA-Z0-9~_-]{1,6}){0,4}/?",
            host in "[a-z0-9-]{1,9}\\.[a-z]{2,3}",
            seed in any::<u64>(),
        ) {
            let plain = normal(&format!("http://{host}{path}"));
            let other = respelled(&host, &path, seed);
            prop_assert_eq!(normal(&other), plain, "{}", other);
        }
    }
}

//! Request targets (RFC 9112 §3.2) and authorities, strictly: what two programs could resolve to
//! different places is refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::malformed::Malformed;
use crate::method::Method;

/// A request target, in one of the four forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// `http://host/path`: what clients send to a proxy. With `https` a client asks the proxy to do
    /// TLS for it; the node decides.
    Absolute {
        /// The scheme.
        scheme: Scheme,
        /// Host and port.
        authority: Authority<'a>,
        /// Path and query as received: may be empty, or begin with `?`.
        path: &'a str,
    },
    /// `host:port`: CONNECT, and only CONNECT. The port is always there.
    Authority(Authority<'a>),
    /// `/path`.
    Origin(&'a str),
    /// `*`: OPTIONS, and only OPTIONS.
    Asterisk,
}

/// The scheme of an absolute target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The port that an authority without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl<'a> Target<'a> {
    /// Takes a target apart. `text` holds visible ASCII without `#`.
    pub fn parse(text: &'a str, method: Method) -> Result<Self, Malformed> {
        if method == Method::Connect {
            let authority = Authority::parse(text).ok_or(Malformed::Authority)?;
            return if authority.port.is_some() {
                Ok(Self::Authority(authority))
            } else {
                Err(Malformed::Authority)
            };
        }
        if text.starts_with('/') {
            return Ok(Self::Origin(text));
        }
        if text == "*" {
            return if method == Method::Options {
                Ok(Self::Asterisk)
            } else {
                Err(Malformed::Target)
            };
        }
        let (scheme, rest) = split_scheme(text)?;
        let path_at =
            rest.bytes().position(|byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let authority = Authority::parse(authority).ok_or(Malformed::Authority)?;
        Ok(Self::Absolute { scheme, authority, path })
    }

    /// The authority that the target itself names.
    pub fn authority(&self) -> Option<Authority<'a>> {
        match *self {
            Self::Absolute { authority, .. } | Self::Authority(authority) => Some(authority),
            Self::Origin(_) | Self::Asterisk => None,
        }
    }
}

/// A target that was taken apart, without the text: what it was parsed from gives it back without
/// parsing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    Absolute { scheme: Scheme, authority: AuthorityParts, path_at: u16 },
    Authority(AuthorityParts),
    Origin,
    Asterisk,
}

/// Where an authority is in the text of its target, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthorityParts {
    at: u16,
    len: u16,
    host: HostParts,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostParts {
    Name { len: u16 },
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Parts {
    /// Those of a target that was parsed from `text`. A part that begins beyond 64 KiB cannot be
    /// told: heads are shorter.
    pub(crate) fn of(target: &Target<'_>, text: &str) -> Self {
        let offset = |part: &str| short(part.as_ptr() as usize - text.as_ptr() as usize);
        let authority = |it: &Authority<'_>| AuthorityParts {
            at: offset(it.text),
            len: short(it.text.len()),
            host: match it.host {
                Host::Name(name) => HostParts::Name { len: short(name.len()) },
                Host::V4(address) => HostParts::V4(address),
                Host::V6(address) => HostParts::V6(address),
            },
            port: it.port,
        };
        match target {
            Target::Absolute { scheme, authority: it, path } => {
                Self::Absolute { scheme: *scheme, authority: authority(it), path_at: offset(path) }
            }
            Target::Authority(it) => Self::Authority(authority(it)),
            Target::Origin(_) => Self::Origin,
            Target::Asterisk => Self::Asterisk,
        }
    }

    /// The target again.
    pub(crate) fn join<'a>(&self, text: &'a str) -> Target<'a> {
        match self {
            Self::Absolute { scheme, authority, path_at } => Target::Absolute {
                scheme: *scheme,
                authority: authority.join(text),
                path: text.get(usize::from(*path_at)..).unwrap_or_default(),
            },
            Self::Authority(authority) => Target::Authority(authority.join(text)),
            Self::Origin => Target::Origin(text),
            Self::Asterisk => Target::Asterisk,
        }
    }
}

impl AuthorityParts {
    fn join<'a>(&self, target: &'a str) -> Authority<'a> {
        let text = target
            .get(usize::from(self.at)..usize::from(self.at) + usize::from(self.len))
            .unwrap_or_default();
        let host = match self.host {
            HostParts::Name { len } => Host::Name(text.get(..usize::from(len)).unwrap_or_default()),
            HostParts::V4(address) => Host::V4(address),
            HostParts::V6(address) => Host::V6(address),
        };
        Authority { host, port: self.port, text }
    }
}

fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Scheme and what follows `://`.
fn split_scheme(text: &str) -> Result<(Scheme, &str), Malformed> {
    for (prefix, scheme) in [("http://", Scheme::Http), ("https://", Scheme::Https)] {
        if let Some((start, rest)) = text.split_at_checked(prefix.len())
            && start.eq_ignore_ascii_case(prefix)
        {
            return Ok((scheme, rest));
        }
    }
    let scheme = text.split_once("://").ok_or(Malformed::Target)?.0;
    Err(if is_scheme(scheme) { Malformed::Scheme } else { Malformed::Target })
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )` (RFC 3986 §3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// `host[:port]`, without user information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authority<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port, if one is written; never 0. (Zeros in front of it are not in the way.)
    pub port: Option<u16>,
    /// All of it, as received.
    pub text: &'a str,
}

impl<'a> Authority<'a> {
    /// `None` if this is not one: user information, a port that is zero or none, a name that is
    /// none, a number that some resolvers take for an address. An empty port is the scheme's (RFC
    /// 3986 §3.2.3), and zeros in front of one mean nothing.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (literal, after) = rest.split_once(']')?;
                // The scoped form (`fe80::1%eth0`) means something on one machine only; the parser
                // refuses it.
                let host = Host::V6(literal.parse().ok()?);
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => {
                let (host, port) =
                    text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                (Host::parse(host)?, port)
            }
        };
        let port = match port {
            Some("") | None => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        Some(Self { host, port, text })
    }

    /// Whether the port is written as we would write it.
    pub fn is_plain(&self) -> bool {
        let text = self.text.as_bytes();
        let Some(port) = self.port else { return text.last() != Some(&b':') };
        let digits = port.checked_ilog10().unwrap_or_default() as usize + 1;
        text.len().checked_sub(digits + 1).is_some_and(|colon| text[colon] == b':')
    }

    /// The host as received, in brackets where it is an IPv6 address.
    pub fn host_text(&self) -> &'a str {
        let colon = self.text.rfind(':').filter(|at| !self.text[*at..].contains(']'));
        colon.map_or(self.text, |at| &self.text[..at])
    }

    /// The same in the plain spelling: the host as received, and its port in decimal if there is
    /// one.
    pub fn plainly(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host_text()),
            None => self.host_text().to_owned(),
        }
    }
}

/// 1 to 65535, in decimal.
fn parse_port(digits: &str) -> Option<u16> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.trim_start_matches('0').parse().ok()
}

/// The host of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// A name: letters, digits, `-`, `_` and dots, as received (case too, and a final dot).
    Name(&'a str),
    /// An IPv4 address in dotted decimal.
    V4(Ipv4Addr),
    /// An IPv6 address; in brackets on the wire.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// A name or an IPv4 address. What ends in a number is an address or nothing: `127.1`,
    /// `0x7f.0.0.1`, `0177.0.0.1` and `2130706433` mean loopback to some resolvers, and would walk
    /// around a rule about addresses.
    fn parse(text: &'a str) -> Option<Self> {
        let labels = text.strip_suffix('.').unwrap_or(text).as_bytes();
        if labels.len() > 253 {
            return None;
        }
        let mut label_at = 0;
        for (at, byte) in labels.iter().enumerate() {
            if *byte == b'.' {
                if !is_label_length(at - label_at) {
                    return None;
                }
                label_at = at + 1;
            } else if !byte.is_ascii_alphanumeric() && *byte != b'-' && *byte != b'_' {
                return None;
            }
        }
        let last = &labels[label_at..];
        if !is_label_length(last.len()) {
            return None;
        }
        if is_number(last) { text.parse().ok().map(Self::V4) } else { Some(Self::Name(text)) }
    }

    /// The address, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        match *self {
            Self::Name(_) => None,
            Self::V4(address) => Some(address.into()),
            Self::V6(address) => Some(address.into()),
        }
    }
}

fn is_label_length(len: usize) -> bool {
    (1..=63).contains(&len)
}

/// Decimal or octal digits, or `0x` and hexadecimal ones.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', hexadecimal @ ..] => hexadecimal.iter().all(u8::is_ascii_hexdigit),
        _ => label.iter().all(u8::is_ascii_digit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_apart_is_put_together_again() {
        for (text, method) in [
            ("http://a/", Method::Get),
            ("HTTPS://Example.COM.:8080?q=/x", Method::Get),
            ("http://1.2.3.4:080/a?b", Method::Post),
            ("http://[::1]:443", Method::Options),
            ("http://[2001:db8::1]/", Method::Get),
            ("http://a:", Method::Get),
            ("a:443", Method::Connect),
            ("1.2.3.4:1", Method::Connect),
            ("[::1]:65535", Method::Connect),
            ("/x?y", Method::Get),
            ("*", Method::Options),
        ] {
            let target = Target::parse(text, method).expect(text);
            assert_eq!(Parts::of(&target, text).join(text), target);
        }
    }

    #[test]
    fn authorities() {
        let accepted = [
            ("a", Host::Name("a"), None),
            ("Example.COM.:8080", Host::Name("Example.COM."), Some(8080)),
            ("_srv.x-y.z:1", Host::Name("_srv.x-y.z"), Some(1)),
            ("1.2.3.4.example", Host::Name("1.2.3.4.example"), None),
            ("0xg", Host::Name("0xg"), None),
            ("127.0.0.1:65535", Host::V4(Ipv4Addr::LOCALHOST), Some(65535)),
            ("[::1]", Host::V6(Ipv6Addr::LOCALHOST), None),
            ("[::1]:443", Host::V6(Ipv6Addr::LOCALHOST), Some(443)),
            ("a:", Host::Name("a"), None),
            ("a:080", Host::Name("a"), Some(80)),
            ("1.2.3.4:", Host::V4(Ipv4Addr::new(1, 2, 3, 4)), None),
            ("[::1]:", Host::V6(Ipv6Addr::LOCALHOST), None),
            ("[::1]:000443", Host::V6(Ipv6Addr::LOCALHOST), Some(443)),
        ];
        for (text, host, port) in accepted {
            assert_eq!(Authority::parse(text), Some(Authority { host, port, text }), "{text}");
        }
        let refused = [
            "",
            ":",
            ":80",
            "a:0",
            "a:00",
            "a:+80",
            "a:-1",
            "a:65536",
            "a:99999999999",
            "a:b",
            "a:80:80",
            "a b",
            "user@a",
            "u:p@a",
            "a..b",
            ".a",
            ".",
            "..",
            "a,b",
            "a%2eb",
            "a/b",
            "a\\b",
            "a?b",
            "*",
            "a*",
            "é",
            "[::1",
            "::1",
            "::1]",
            "[::1]a",
            "[::1]80",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "127.1",
            "127.0.0.1.",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "0x",
            "2130706433",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "a.1",
            "a.0x1",
            "127.0.0.01",
        ];
        for text in refused {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
        assert_eq!(Authority::parse(&"a".repeat(64)), None);
        assert_eq!(Authority::parse(&"a.".repeat(128)), None);
        assert!(Authority::parse(&format!("{}a", "a.".repeat(126))).is_some());
    }

    #[test]
    fn the_plain_spelling() {
        for (text, plain) in [
            ("a", "a"),
            ("a:80", "a:80"),
            ("a:", "a"),
            ("A:0065535", "A:65535"),
            ("[::1]", "[::1]"),
            ("[::1]:", "[::1]"),
            ("[::1]:01", "[::1]:1"),
            ("a:10", "a:10"),
            ("a:9", "a:9"),
        ] {
            let authority = Authority::parse(text).expect("an authority");
            assert_eq!(
                (authority.plainly().as_str(), authority.is_plain()),
                (plain, text == plain),
                "{text}"
            );
        }
    }

    #[test]
    fn forms() {
        let authority = |text| Authority::parse(text).expect("an authority");
        let absolute =
            |scheme, host, path| Ok(Target::Absolute { scheme, authority: authority(host), path });
        let cases = [
            ("http://a/b?c", Method::Get, absolute(Scheme::Http, "a", "/b?c")),
            ("HTTP://a", Method::Get, absolute(Scheme::Http, "a", "")),
            ("http://a:80?x", Method::Get, absolute(Scheme::Http, "a:80", "?x")),
            ("https://[::1]:8/", Method::Post, absolute(Scheme::Https, "[::1]:8", "/")),
            ("http://a", Method::Options, absolute(Scheme::Http, "a", "")),
            ("/", Method::Get, Ok(Target::Origin("/"))),
            ("//a/b", Method::Get, Ok(Target::Origin("//a/b"))),
            ("*", Method::Options, Ok(Target::Asterisk)),
            ("a:443", Method::Connect, Ok(Target::Authority(authority("a:443")))),
            ("*", Method::Get, Err(Malformed::Target)),
            ("a:443", Method::Get, Err(Malformed::Target)),
            ("a/b", Method::Get, Err(Malformed::Target)),
            ("?q", Method::Get, Err(Malformed::Target)),
            ("://a/", Method::Get, Err(Malformed::Target)),
            ("ht_tp://a/", Method::Get, Err(Malformed::Target)),
            ("ftp://a/", Method::Get, Err(Malformed::Scheme)),
            ("http://", Method::Get, Err(Malformed::Authority)),
            ("http:///x", Method::Get, Err(Malformed::Authority)),
            ("http://u@a/", Method::Get, Err(Malformed::Authority)),
            ("http://a@b:80/", Method::Get, Err(Malformed::Authority)),
            ("http://a\\@b/", Method::Get, Err(Malformed::Authority)),
            ("a", Method::Connect, Err(Malformed::Authority)),
            ("/", Method::Connect, Err(Malformed::Authority)),
            ("*", Method::Connect, Err(Malformed::Authority)),
            ("http://a:1/", Method::Connect, Err(Malformed::Authority)),
        ];
        for (text, method, expected) in cases {
            assert_eq!(Target::parse(text, method), expected, "{method:?} {text}");
        }
    }
}

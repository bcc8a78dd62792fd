//! Host and port, strictly: what some resolver takes for another place is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

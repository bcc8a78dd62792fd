//! The PROXY protocol, versions 1 and 2: who the client is, said by the balancer in front of the
//! first request.
//!
//! Source: "The PROXY protocol, versions 1 & 2" (haproxy.org, doc/proxy-protocol.txt). On the relay
//! listener a header holds a nonce in a TLV of type 0xE1 (for private use): with it the proof
//! of both sides begins ([`crate::proof`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::proof::Nonce;

/// The TLV type of our nonce. 0xE0 was the static proof of versions before.
pub const NONCE_TYPE: u8 = 0xE1;
/// The TLV type, of no content, by which a node says that it is one: what it asks for it has from
/// its clients, and nobody else is asked for it.
pub const NODE_TYPE: u8 = 0xE2;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, CRLF included.
const V1_MAX: usize = 107;
/// Bytes after the first 16 of version 2; addresses, our nonce and a few TLVs of other balancers
/// need far less.
const V2_MAX: usize = 1024;
const UNIX_ADDRESSES: usize = 216;

/// Why a header is refused. The connection is closed without an answer: whoever speaks here is no
/// balancer of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum Invalid {
    #[error("no PROXY header")]
    NotProxy,
    #[error("PROXY header too long")]
    TooLong,
    #[error("bad PROXY version 1 line")]
    Line,
    #[error("bad PROXY version or command")]
    Command,
    #[error("PROXY address family or protocol not supported")]
    Family,
    #[error("PROXY header shorter than its addresses")]
    Addresses,
    #[error("bad PROXY TLV")]
    Tlv,
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// The sender's own: a probe, or a pooled connection that carries many clients' requests.
    Local,
    /// One client's.
    Proxy,
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub command: Command,
    /// The client and the address that it connected to, where they are known.
    pub addresses: Option<Addresses>,
    /// What the node's proof has to answer.
    pub nonce: Option<Nonce>,
    /// Its sender is a node of the cluster, and no balancer.
    pub of_node: bool,
}

/// Both ends of the client's connection. IPv4 addresses mapped into IPv6 are given as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Reads the header at the beginning of a connection. `None`: it is not all there; call again with
/// the same bytes and more. Otherwise the header and its length.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    if begins(bytes, SIGNATURE) {
        parse_v2(bytes)
    } else if begins(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err(Invalid::NotProxy)
    }
}

/// Whether `bytes` begins with `prefix`, as far as it goes.
fn begins(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    let window = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() < V1_MAX { Ok(None) } else { Err(Invalid::TooLong) };
    };
    let line = window[..=end]
        .strip_suffix(b"\r\n")
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(Invalid::Line)?;
    let rest = line.strip_prefix("PROXY ").ok_or(Invalid::Line)?;
    let addresses = if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        None
    } else {
        Some(v1_addresses(rest).ok_or(Invalid::Line)?)
    };
    Ok(Some((Header { command: Command::Proxy, addresses, nonce: None, of_node: false }, end + 1)))
}

/// `TCP4 source destination port port`.
fn v1_addresses(text: &str) -> Option<Addresses> {
    let mut words = text.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let word = words.next()?;
        let padded = word.len() > 1 && word.starts_with('0');
        if padded || !word.bytes().all(|byte| byte.is_ascii_digit()) {
            None
        } else {
            word.parse().ok()
        }
    };
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return None;
    }
    Some(Addresses {
        source: SocketAddr::new(source.to_canonical(), source_port),
        destination: SocketAddr::new(destination.to_canonical(), destination_port),
    })
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Invalid> {
    let Some((first, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let command = match first[12] {
        0x20 => Command::Local,
        0x21 => Command::Proxy,
        _ => return Err(Invalid::Command),
    };
    let len = usize::from(u16::from_be_bytes([first[14], first[15]]));
    if len > V2_MAX {
        return Err(Invalid::TooLong);
    }
    let Some(rest) = rest.get(..len) else { return Ok(None) };
    let (addresses, tlvs) = match first[13] {
        0x00 => (None, rest),
        0x11 => inet4(rest).ok_or(Invalid::Addresses)?,
        0x21 => inet6(rest).ok_or(Invalid::Addresses)?,
        0x31 | 0x32 => (None, rest.get(UNIX_ADDRESSES..).ok_or(Invalid::Addresses)?),
        _ => return Err(Invalid::Family),
    };
    let (nonce, of_node) = find_ours(tlvs)?;
    // What a LOCAL header says about addresses is to be ignored.
    let addresses = if command == Command::Local { None } else { addresses };
    Ok(Some((Header { command, addresses, nonce, of_node }, 16 + len)))
}

type WithTlvs<'a> = (Option<Addresses>, &'a [u8]);

fn inet4(bytes: &[u8]) -> Option<WithTlvs<'_>> {
    let (block, tlvs) = bytes.split_first_chunk::<12>()?;
    let [a, b, c, d, e, f, g, h, ports @ ..] = *block;
    Some((Some(addresses([a, b, c, d].into(), [e, f, g, h].into(), ports)), tlvs))
}

fn inet6(bytes: &[u8]) -> Option<WithTlvs<'_>> {
    let (source, rest) = bytes.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (ports, tlvs) = rest.split_first_chunk::<4>()?;
    Some((Some(addresses((*source).into(), (*destination).into(), *ports)), tlvs))
}

fn addresses(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Addresses {
    let [a, b, c, d] = ports;
    Addresses {
        source: SocketAddr::new(source.to_canonical(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination.to_canonical(), u16::from_be_bytes([c, d])),
    }
}

/// Walks over all TLVs, so that a malformed one behind ours is noticed too. Two nonces are one too
/// many.
fn find_ours(mut tlvs: &[u8]) -> Result<(Option<Nonce>, bool), Invalid> {
    let (mut nonce, mut of_node) = (None, false);
    while let Some((&[kind, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, behind) = rest.split_at_checked(len).ok_or(Invalid::Tlv)?;
        match kind {
            NONCE_TYPE => {
                let value = Nonce::try_from(value).map_err(|_| Invalid::Tlv)?;
                if nonce.replace(value).is_some() {
                    return Err(Invalid::Tlv);
                }
            }
            NODE_TYPE if !value.is_empty() => return Err(Invalid::Tlv),
            NODE_TYPE => of_node = true,
            _ => {}
        }
        tlvs = behind;
    }
    if tlvs.is_empty() { Ok((nonce, of_node)) } else { Err(Invalid::Tlv) }
}

/// Appends a version 2 header for a connection of a node's own, to another node.
pub fn encode_of_node(out: &mut Vec<u8>, nonce: &Nonce) {
    let from = out.len();
    encode_local(out, Some(nonce));
    push_tlv(out, NODE_TYPE, &[]);
    set_length(out, from);
}

/// Appends a version 2 header for a connection of our own.
pub fn encode_local(out: &mut Vec<u8>, nonce: Option<&Nonce>) {
    begin(out, 0x20, 0x00, 0, nonce);
    push_nonce(out, nonce);
}

/// Appends a version 2 header for a client's connection. Addresses of different families are both
/// written as IPv6.
pub fn encode_proxy(out: &mut Vec<u8>, addresses: &Addresses, nonce: Option<&Nonce>) {
    let Addresses { source, destination } = addresses;
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            begin(out, 0x21, 0x11, 12, nonce);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            begin(out, 0x21, 0x21, 36, nonce);
            out.extend_from_slice(&as_v6(from).octets());
            out.extend_from_slice(&as_v6(to).octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    push_nonce(out, nonce);
}

/// What TLS told of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tls<'a> {
    /// The name that it asked for.
    pub authority: Option<&'a str>,
    /// As OpenSSL writes it: `TLSv1.3`.
    pub version: &'a str,
    /// It has shown a certificate that was verified.
    pub verified: bool,
    /// The common name in that one's subject.
    pub common_name: Option<&'a str>,
}

/// PP2_TYPE_AUTHORITY, PP2_TYPE_SSL, PP2_SUBTYPE_SSL_VERSION, PP2_SUBTYPE_SSL_CN.
const AUTHORITY: u8 = 0x02;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
/// PP2_CLIENT_SSL; PP2_CLIENT_CERT_CONN and PP2_CLIENT_CERT_SESS.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;
/// Longer texts are left out: a name that is cut is another's.
const LONGEST_TEXT: usize = 255;

/// Appends a version 2 header for a client's connection with TLVs of what TLS told of it. None: the
/// client has no address.
pub fn encode_secured(out: &mut Vec<u8>, addresses: Option<&Addresses>, tls: &Tls<'_>) {
    let from = out.len();
    match addresses {
        Some(addresses) => encode_proxy(out, addresses, None),
        None => begin(out, 0x21, 0x00, 0, None),
    }
    let short = |text: &&str| text.len() <= LONGEST_TEXT;
    if let Some(name) = tls.authority.filter(short) {
        push_tlv(out, AUTHORITY, name.as_bytes());
    }
    let mut ssl = vec![CLIENT_SSL | if tls.verified { CLIENT_CERTIFICATE } else { 0 }];
    // Zero: it was verified.
    ssl.extend_from_slice(&u32::from(!tls.verified).to_be_bytes());
    push_tlv(&mut ssl, SSL_VERSION, tls.version.as_bytes());
    if let Some(name) = tls.common_name.filter(short) {
        push_tlv(&mut ssl, SSL_CN, name.as_bytes());
    }
    push_tlv(out, SSL, &ssl);
    set_length(out, from);
}

/// Writes how long the header is that begins there. Two texts and addresses are far below 64 KiB.
fn set_length(out: &mut [u8], from: usize) {
    let length = u16::try_from(out.len() - from - 16).unwrap_or(u16::MAX);
    out[from + 14..from + 16].copy_from_slice(&length.to_be_bytes());
}

fn push_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

/// Appends a line of version 1 for a client's connection.
pub fn encode_line(out: &mut Vec<u8>, addresses: &Addresses) {
    let Addresses { source, destination } = addresses;
    let line = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {} {}\r\n", source.port(), destination.port())
        }
        (from, to) => format!(
            "PROXY TCP6 {} {} {} {}\r\n",
            as_v6(from),
            as_v6(to),
            source.port(),
            destination.port()
        ),
    };
    out.extend_from_slice(line.as_bytes());
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn begin(out: &mut Vec<u8>, command: u8, family: u8, addresses: u16, nonce: Option<&Nonce>) {
    let len = addresses + if nonce.is_some() { 35 } else { 0 };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[command, family]);
    out.extend_from_slice(&len.to_be_bytes());
}

fn push_nonce(out: &mut Vec<u8>, nonce: Option<&Nonce>) {
    if let Some(nonce) = nonce {
        out.extend_from_slice(&[NONCE_TYPE, 0, 32]);
        out.extend_from_slice(nonce);
    }
}

#[cfg(test)]
mod tests;

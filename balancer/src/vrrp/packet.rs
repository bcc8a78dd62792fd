//! Advertisements as octets: version 2 (RFC 3768, with the passwords of RFC 2338) and version 3
//! (RFC 9568). Pure; whatever comes from the network is read or refused, and never panics.
//!
//! ```text
//!  0        8        16       24      31
//! | ver/typ |  vrid  | priority| count |
//! | v2: auth, interval | v3: interval  | checksum (16 bits)
//! | addresses …                        |
//! | v2: 8 octets of password           |
//! ```
//!
//! The checksum of version 3 covers a pseudo header in both families. Some routers leave it out for
//! IPv4 (keepalived calls that `checksum_compatibility old`), so what is received may be without;
//! what is sent has it.

pub mod ipv4;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

/// Of IP.
pub const PROTOCOL: u8 = 112;
/// Of every advertisement: one that came through a router has less.
pub const TTL: u8 = 255;
/// Octets before the addresses.
const HEADER: usize = 8;
/// Octets of a password.
const PASSWORD: usize = 8;
/// The one type of message.
const ADVERTISEMENT: u8 = 1;
/// Authentication of version 2: none, and a password in the clear.
const NO_AUTH: u8 = 0;
const SIMPLE: u8 = 1;

/// Which VRRP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 3768.
    V2,
    /// RFC 9568.
    V3,
}

/// What a password is padded to.
pub type Password = [u8; PASSWORD];

/// What all routers of an instance have to agree about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub version: Version,
    pub virtual_router_id: u8,
    /// Version 2 refuses another one; version 3 learns it.
    pub interval: Duration,
    /// Of version 2.
    pub password: Option<Password>,
}

/// What a master says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub version: Version,
    pub virtual_router_id: u8,
    /// 0: it leaves.
    pub priority: u8,
    pub interval: Duration,
    pub addresses: Vec<IpAddr>,
    pub password: Option<Password>,
}

/// How an advertisement came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// Why an advertisement is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("its TTL is {0} and not 255: it came through a router")]
    Ttl(u8),
    #[error("it is cut off")]
    Short,
    #[error("it is version {0} of VRRP")]
    Version(u8),
    #[error("its type is {0}, which is no advertisement")]
    Type(u8),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it names no address")]
    NoAddress,
    #[error("its virtual_router_id is {0}")]
    Router(u8),
    #[error("its advert_interval is {} ms", .0.as_millis())]
    Interval(Duration),
    #[error("its kind of authentication is {0}")]
    Authentication(u8),
    #[error("its auth_pass is another one")]
    Password,
}

impl Error {
    /// A word for it, for counting.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ttl(_) => "ttl",
            Self::Short => "length",
            Self::Version(_) => "version",
            Self::Type(_) => "type",
            Self::Checksum => "checksum",
            Self::NoAddress => "count",
            Self::Router(_) => "virtual_router_id",
            Self::Interval(_) => "interval",
            Self::Authentication(_) | Self::Password => "authentication",
        }
    }
}

impl Advertisement {
    /// The octets, to be sent from one address to the other.
    #[must_use]
    pub fn write(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + self.addresses.len() * 16 + PASSWORD);
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let version = if self.version == Version::V2 { 2 } else { 3 };
        out.extend([version << 4 | ADVERTISEMENT, self.virtual_router_id, self.priority, count]);
        match self.version {
            Version::V2 => {
                out.push(if self.password.is_some() { SIMPLE } else { NO_AUTH });
                out.push(u8::try_from(self.interval.as_secs()).unwrap_or(u8::MAX));
            }
            Version::V3 => {
                let hundredths = u16::try_from(self.interval.as_millis() / 10).unwrap_or(0xfff);
                out.extend(hundredths.min(0xfff).to_be_bytes());
            }
        }
        out.extend([0, 0]);
        for address in self.addresses.iter().take(usize::from(count)) {
            match address {
                IpAddr::V4(address) => out.extend(address.octets()),
                IpAddr::V6(address) => out.extend(address.octets()),
            }
        }
        if self.version == Version::V2 {
            out.extend(self.password.unwrap_or_default());
        }
        let sum = match self.version {
            Version::V2 => sum(0, &out),
            Version::V3 => sum(pseudo_header(source, destination, out.len()), &out),
        };
        out[6..8].copy_from_slice(&(!fold(sum)).to_be_bytes());
        out
    }

    /// Reads what came and checks everything that can be checked without knowing the instance.
    ///
    /// # Errors
    /// Which rule it breaks (RFC 3768 §7.1, RFC 9568 §7.1).
    pub fn read(bytes: &[u8], envelope: Envelope) -> Result<Self, Error> {
        if envelope.ttl != TTL {
            return Err(Error::Ttl(envelope.ttl));
        }
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(Error::Short)?;
        let [first, virtual_router_id, priority, count, fourth, fifth, ..] = *header;
        let version = match (first >> 4, envelope.source) {
            (2, IpAddr::V4(_)) => Version::V2,
            (3, _) => Version::V3,
            (other, _) => return Err(Error::Version(other)),
        };
        if first & 0xf != ADVERTISEMENT {
            return Err(Error::Type(first & 0xf));
        }
        let size = if envelope.source.is_ipv4() { 4 } else { 16 };
        let named = usize::from(count) * size;
        let tail = if version == Version::V2 { PASSWORD } else { 0 };
        if rest.len() < named + tail {
            return Err(Error::Short);
        }
        check_sum(version, bytes, envelope)?;
        if count == 0 {
            return Err(Error::NoAddress);
        }
        if virtual_router_id == 0 {
            return Err(Error::Router(0));
        }
        let interval = match version {
            Version::V2 => Duration::from_secs(fifth.into()),
            Version::V3 => {
                Duration::from_millis(u64::from(u16::from_be_bytes([fourth & 0xf, fifth])) * 10)
            }
        };
        // Nobody can keep such an interval, and who believed it would be master at once.
        if interval.is_zero() && priority != 0 {
            return Err(Error::Interval(interval));
        }
        let password = match (version, fourth) {
            (Version::V3, _) | (Version::V2, NO_AUTH) => None,
            (Version::V2, SIMPLE) => rest.get(named..).and_then(|it| it.first_chunk()).copied(),
            (Version::V2, other) => return Err(Error::Authentication(other)),
        };
        let addresses = rest[..named].chunks_exact(size).filter_map(address).collect();
        Ok(Self { version, virtual_router_id, priority, interval, addresses, password })
    }

    /// Whether a router that goes by this may believe it.
    ///
    /// # Errors
    /// Where the two do not agree.
    pub fn agrees(&self, agreed: &Agreed) -> Result<(), Error> {
        if self.virtual_router_id != agreed.virtual_router_id {
            return Err(Error::Router(self.virtual_router_id));
        }
        if self.version != agreed.version {
            return Err(Error::Version(if self.version == Version::V2 { 2 } else { 3 }));
        }
        if self.version == Version::V2 {
            match (&self.password, &agreed.password) {
                (None, Some(_)) => return Err(Error::Authentication(NO_AUTH)),
                (Some(_), None) => return Err(Error::Authentication(SIMPLE)),
                (said, own) if said != own => return Err(Error::Password),
                _ => {}
            }
            if self.interval != agreed.interval {
                return Err(Error::Interval(self.interval));
            }
        }
        Ok(())
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => octets.first_chunk::<4>().map(|it| Ipv4Addr::from(*it).into()),
        _ => octets.first_chunk::<16>().map(|it| Ipv6Addr::from(*it).into()),
    }
}

fn check_sum(version: Version, bytes: &[u8], envelope: Envelope) -> Result<(), Error> {
    let good = |start| fold(sum(start, bytes)) == 0xffff;
    let pseudo = || pseudo_header(envelope.source, envelope.destination, bytes.len());
    let right = match (version, envelope.source) {
        (Version::V2, _) => good(0),
        (Version::V3, IpAddr::V4(_)) => good(pseudo()) || good(0),
        (Version::V3, IpAddr::V6(_)) => good(pseudo()),
    };
    if right { Ok(()) } else { Err(Error::Checksum) }
}

/// What the checksum of version 3 begins with (RFC 9568 §5.2.8).
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u32 {
    let both = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => sum(sum(0, &from.octets()), &to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => sum(sum(0, &from.octets()), &to.octets()),
        _ => 0,
    };
    both + u32::from(PROTOCOL) + u32::try_from(length).unwrap_or(0)
}

/// Adds sixteen-bit words; an IP packet's worth of them cannot overflow.
fn sum(start: u32, bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    };
    bytes.chunks(2).map(word).fold(start, u32::wrapping_add)
}

#[allow(clippy::cast_possible_truncation, reason = "both halves have been added up")]
const fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;

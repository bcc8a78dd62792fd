//! A line of the access log in Squid's native format: `%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru
//! %[un %Sh/%<a %mt`, and behind these ten columns the request's id: who reads Squid's logs reads
//! the columns that it knows.

use std::{fmt, io::Write, net::IpAddr, time::Duration};

use dataplane::{
    filter::Facts,
    trace::{
        Trace,
        span::{self, Tracer},
    },
};
use opentelemetry::KeyValue;
use relay::rewrite::push_decimal;
use uuid::Uuid;

/// How a request was answered, in Squid's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing usable was there.
    #[default]
    Miss,
    /// From the disk, fresh.
    Hit,
    /// From memory, fresh.
    MemHit,
    /// From memory, stale, and validated behind the answer.
    StaleHit,
    /// From memory, fresh for this client: it had it already.
    ImsHit,
    /// From the fill of another request for the same thing (Squid's collapsed forwarding).
    Collapsed,
    /// Stale, and the origin said that it is still good.
    RefreshUnmodified,
    /// Stale, and the origin sent another.
    RefreshModified,
    /// Stale, the origin could not be asked, and the old one was served.
    RefreshFailOld,
    /// The client asked for validation.
    ClientRefresh,
    Tunnel,
    /// Refused by a rule.
    Denied,
    /// Answered by the proxy itself.
    None,
}

impl Outcome {
    pub const ALL: [Self; 13] = [
        Self::Miss,
        Self::Hit,
        Self::MemHit,
        Self::StaleHit,
        Self::ImsHit,
        Self::Collapsed,
        Self::RefreshUnmodified,
        Self::RefreshModified,
        Self::RefreshFailOld,
        Self::ClientRefresh,
        Self::Tunnel,
        Self::Denied,
        Self::None,
    ];

    /// The one that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }

    /// As Squid writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "TCP_MISS",
            Self::Hit => "TCP_HIT",
            Self::MemHit => "TCP_MEM_HIT",
            Self::StaleHit => "TCP_STALE_HIT",
            Self::ImsHit => "TCP_IMS_HIT",
            Self::Collapsed => "TCP_CF_HIT",
            Self::RefreshUnmodified => "TCP_REFRESH_UNMODIFIED",
            Self::RefreshModified => "TCP_REFRESH_MODIFIED",
            Self::RefreshFailOld => "TCP_REFRESH_FAIL_OLD",
            Self::ClientRefresh => "TCP_CLIENT_REFRESH_MISS",
            Self::Tunnel => "TCP_TUNNEL",
            Self::Denied => "TCP_DENIED",
            Self::None => "NONE_NONE",
        }
    }
}

/// Where the answer came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hierarchy {
    #[default]
    None,
    /// From the origin at this address.
    Direct(IpAddr),
    /// From the parent at this address.
    Parent(IpAddr),
    /// The same, whose turn it was.
    RoundRobin(IpAddr),
    /// The same, to which the URL belongs.
    Carp(IpAddr),
    /// The same, to which the client belongs.
    SourceHash(IpAddr),
    /// From the node at this address, which owns it and had it.
    OwnerHit(IpAddr),
    /// The same, and it had to fetch it.
    OwnerMiss(IpAddr),
    /// From the sibling at this address, which had it.
    SiblingHit(IpAddr),
}

impl Hierarchy {
    /// Who was asked.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::None => None,
            Self::Direct(address)
            | Self::Parent(address)
            | Self::RoundRobin(address)
            | Self::Carp(address)
            | Self::SourceHash(address)
            | Self::OwnerHit(address)
            | Self::OwnerMiss(address)
            | Self::SiblingHit(address) => Some(address),
        }
    }

    /// The one that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("HIER_NONE", "-") => Some(Self::None),
            ("HIER_DIRECT", address) => address.parse().ok().map(Self::Direct),
            ("FIRSTUP_PARENT", address) => address.parse().ok().map(Self::Parent),
            ("ROUNDROBIN_PARENT", address) => address.parse().ok().map(Self::RoundRobin),
            ("CARP", address) => address.parse().ok().map(Self::Carp),
            ("SOURCEHASH_PARENT", address) => address.parse().ok().map(Self::SourceHash),
            ("OWNER_HIT", address) => address.parse().ok().map(Self::OwnerHit),
            ("OWNER_MISS", address) => address.parse().ok().map(Self::OwnerMiss),
            ("SIBLING_HIT", address) => address.parse().ok().map(Self::SiblingHit),
            _ => None,
        }
    }
}

impl fmt::Display for Hierarchy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("HIER_NONE/-"),
            Self::Direct(address) => write!(formatter, "HIER_DIRECT/{address}"),
            Self::Parent(address) => write!(formatter, "FIRSTUP_PARENT/{address}"),
            Self::RoundRobin(address) => write!(formatter, "ROUNDROBIN_PARENT/{address}"),
            Self::Carp(address) => write!(formatter, "CARP/{address}"),
            Self::SourceHash(address) => write!(formatter, "SOURCEHASH_PARENT/{address}"),
            Self::OwnerHit(address) => write!(formatter, "OWNER_HIT/{address}"),
            Self::OwnerMiss(address) => write!(formatter, "OWNER_MISS/{address}"),
            Self::SiblingHit(address) => write!(formatter, "SIBLING_HIT/{address}"),
        }
    }
}

/// What is logged of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The request's id; nil: none is known, because its line has none.
    pub id: Uuid,
    /// When it ended, in Unix milliseconds.
    pub ended_at: u64,
    /// How long it took, in milliseconds.
    pub elapsed: u64,
    /// Address of the client.
    pub client: Option<IpAddr>,
    /// How it was answered.
    pub outcome: Outcome,
    /// The client went away before the end.
    pub aborted: bool,
    /// Status sent; 0: none was.
    pub status: u16,
    /// Bytes sent to the client, heads included.
    pub bytes: u64,
    /// Method; empty: none could be read.
    pub method: Box<str>,
    /// The target as sent; empty: none could be read.
    pub url: Box<str>,
    /// Whose certificate the client has shown to a balancer; empty: nobody's.
    pub user: Box<str>,
    /// Where the answer came from.
    pub hierarchy: Hierarchy,
    /// Content-Type of the response; empty: none.
    pub media_type: Box<str>,
}

impl Record {
    /// What it can be found by.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            request: self.id,
            client: self.client,
            status: self.status,
            target: &self.url,
            ended_at: self.ended_at,
        }
    }

    /// Exports its span, which has ended just now.
    pub fn trace(&self, trace: &Trace, tracer: &Tracer, took: Duration) {
        let request = span::Request {
            id: self.id,
            method: &self.method,
            target: &self.url,
            client: self.client,
            status: self.status,
            error: if self.aborted { "aborted" } else { "" },
            bytes: self.bytes,
            ended: relay::clock::exact_wall(),
            took,
        };
        let outcome = KeyValue::new("shoal.outcome", self.outcome.as_str());
        let upstream = self.hierarchy.address();
        let upstream = upstream.map(|it| KeyValue::new("shoal.upstream.address", it.to_string()));
        tracer.end(trace, &request, [outcome].into_iter().chain(upstream));
    }

    /// Appends the line by hand (a formatter takes longer over it than a hit does), with its
    /// newline, and the request's id behind the ten columns where `ids` are wanted. Whatever a
    /// client sent stays within its own column.
    pub fn write(&self, line: &mut Vec<u8>, ids: bool) {
        push_decimal(line, self.ended_at / 1000);
        line.push(b'.');
        padded(line, self.ended_at % 1000, 3, b'0');
        line.push(b' ');
        padded(line, self.elapsed, 6, b' ');
        line.push(b' ');
        match self.client {
            Some(client) => address(line, client),
            None => line.push(b'-'),
        }
        line.push(b' ');
        line.extend_from_slice(self.outcome.as_str().as_bytes());
        line.extend_from_slice(if self.aborted { b"_ABORTED/" } else { b"/" });
        padded(line, self.status.into(), 3, b'0');
        line.push(b' ');
        push_decimal(line, self.bytes);
        line.push(b' ');
        column(line, &self.method);
        line.push(b' ');
        column(line, &self.url);
        line.push(b' ');
        column(line, &self.user);
        line.push(b' ');
        match self.hierarchy {
            Hierarchy::None => line.extend_from_slice(b"HIER_NONE/-"),
            // Writing to a Vec cannot fail.
            other => drop(write!(line, "{other}")),
        }
        line.push(b' ');
        column(line, self.media_type.split(';').next().unwrap_or_default().trim());
        if ids {
            line.push(b' ');
            line.extend_from_slice(
                self.id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes(),
            );
        }
        line.push(b'\n');
    }
}

/// A number in so many columns at least.
fn padded(line: &mut Vec<u8>, number: u64, width: usize, with: u8) {
    let digits = number.checked_ilog10().unwrap_or_default() as usize + 1;
    line.extend(std::iter::repeat_n(with, width.saturating_sub(digits)));
    push_decimal(line, number);
}

/// As `Display` has it, which takes longer over an IPv4 address than this does over a line.
fn address(line: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            for (at, octet) in v4.octets().into_iter().enumerate() {
                if at > 0 {
                    line.push(b'.');
                }
                push_decimal(line, octet.into());
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(_) => drop(write!(line, "{address}")),
    }
}

/// A column: blanks, controls and what is not ASCII are percent-encoded, emptiness is `-`.
fn column(line: &mut Vec<u8>, text: &str) {
    if text.is_empty() {
        line.push(b'-');
    }
    // Nearly always nothing is to be encoded.
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return line.extend_from_slice(text.as_bytes());
    }
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            line.push(byte);
        } else {
            drop(write!(line, "%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(record: &Record) -> String {
        let mut line = Vec::new();
        record.write(&mut line, false);
        String::from_utf8(line).unwrap()
    }

    proptest! {
        /// By hand as a formatter would.
        #[test]
        fn numbers_and_addresses(
            ended_at in any::<u64>(),
            elapsed in any::<u64>(),
            status in any::<u16>(),
            bytes in any::<u64>(),
            v4 in any::<u32>(),
            v6 in any::<u128>(),
            short in any::<bool>(),
        ) {
            let (elapsed, bytes) =
                if short { (elapsed % 1000, bytes % 1000) } else { (elapsed, bytes) };
            for client in [IpAddr::from(v4.to_be_bytes()), IpAddr::from(v6.to_be_bytes())] {
                let record = Record {
                    ended_at,
                    elapsed,
                    status,
                    bytes,
                    client: Some(client),
                    ..Record::default()
                };
                let (seconds, millis) = (ended_at / 1000, ended_at % 1000);
                let want = format!("{seconds}.{millis:03} {elapsed:>6} {client} \
                    TCP_MISS/{status:03} {bytes} - - - HIER_NONE/- -\n");
                prop_assert_eq!(line(&record), want);
            }
        }
    }

    #[test]
    fn lines() {
        let base = Record {
            ended_at: 1_700_000_000_045,
            elapsed: 12,
            client: Some("10.0.0.5".parse().unwrap()),
            status: 200,
            bytes: 1234,
            method: "GET".into(),
            url: "http://example.com/a b".into(),
            media_type: "text/html; charset=utf-8".into(),
            ..Record::default()
        };
        let origin: IpAddr = "192.0.2.7".parse().unwrap();
        for (record, want) in [
            (
                Record { hierarchy: Hierarchy::Direct(origin), ..base.clone() },
                "1700000000.045     12 10.0.0.5 TCP_MISS/200 1234 GET http://example.com/a%20b - \
                 HIER_DIRECT/192.0.2.7 text/html\n",
            ),
            (
                Record { outcome: Outcome::MemHit, ..base.clone() },
                "1700000000.045     12 10.0.0.5 TCP_MEM_HIT/200 1234 GET http://example.com/a%20b \
                 - HIER_NONE/- text/html\n",
            ),
            (
                Record {
                    outcome: Outcome::Tunnel,
                    method: "CONNECT".into(),
                    url: "example.com:443".into(),
                    hierarchy: Hierarchy::Parent(origin),
                    media_type: "".into(),
                    elapsed: 12_345_678,
                    aborted: true,
                    ..base.clone()
                },
                "1700000000.045 12345678 10.0.0.5 TCP_TUNNEL_ABORTED/200 1234 CONNECT \
                 example.com:443 - FIRSTUP_PARENT/192.0.2.7 -\n",
            ),
            (Record::default(), "0.000      0 - TCP_MISS/000 0 - - - HIER_NONE/- -\n"),
        ] {
            assert_eq!(line(&record), want);
            let mut with_id = Vec::new();
            Record { id: Uuid::from_u128(7), ..record }.write(&mut with_id, true);
            let with_id = String::from_utf8(with_id).unwrap();
            assert_eq!(
                with_id,
                format!("{} 00000000-0000-0000-0000-000000000007\n", want.trim_end()),
                "ten columns, and one more"
            );
        }
    }

    proptest! {
        #[test]
        fn nobody_forges_a_line_or_a_column(url in ".*", method in ".*", media_type in ".*") {
            let (url, method, media_type) = (url.into(), method.into(), media_type.into());
            let text = line(&Record { url, method, media_type, ..Record::default() });
            prop_assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
            prop_assert_eq!(text.split_ascii_whitespace().count(), 10);
        }
    }
}

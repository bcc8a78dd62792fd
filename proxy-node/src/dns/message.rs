//! DNS messages as far as a stub resolver needs them (RFC 1035 §4): a question about one name, and
//! the addresses in its answer. Pure.
//!
//! A name is a list of labels of any octets (RFC 2181 §11): `a_b`, `-a`, `xn--` that is no
//! punycode are asked for like all others. What else an answer holds is stepped over, not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses taken from one answer.
const MOST_ADDRESSES: usize = 64;
/// Links of a chain of aliases that are followed.
const MOST_ALIASES: usize = 16;
/// Octets of a message before its question.
const HEADER: usize = 12;
/// Class IN, and the types that are read.
const INTERNET: u16 = 1;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    const fn kind(self) -> u16 {
        match self {
            Self::V4 => A,
            Self::V6 => AAAA,
        }
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Addresses, and for how many seconds they count.
    Addresses(Vec<IpAddr>, u32),
    /// The name has none of this family.
    NoRecords,
    /// There is no such name.
    NoSuchName,
    /// There is more than fits into a datagram: ask by TCP.
    Truncated,
    /// The server failed or refused, or what it says makes no sense.
    Failed,
}

/// A question. `None`: this is no name that DNS could know.
#[must_use]
pub fn encode(id: u16, host: &str, family: Family) -> Option<Vec<u8>> {
    if host.len() > 253 {
        return None;
    }
    let mut out = Vec::with_capacity(HEADER + host.len() + 6);
    out.extend_from_slice(&id.to_be_bytes());
    // A standard query, recursion desired, with one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in host.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    for word in [family.kind(), INTERNET] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    Some(out)
}

/// Reads an answer to `query`. `None`: it is none; somebody else's, or somebody's guess.
#[must_use]
pub fn decode(bytes: &[u8], query: &[u8]) -> Option<Reply> {
    let flags = word(bytes, 2)?;
    let is_answer = bytes.get(..2)? == query.get(..2)? && flags & 0xf800 == 0x8000;
    if !is_answer {
        return None;
    }
    let (code, is_truncated) = (flags & 0xf, flags & 0x200 != 0);
    // Some servers do not repeat a question that they do not understand.
    if word(bytes, 4)? == 0 && code != 0 {
        return Some(Reply::Failed);
    }
    let question = query.get(HEADER..)?;
    if word(bytes, 4)? != 1 || !bytes.get(HEADER..query.len())?.eq_ignore_ascii_case(question) {
        return None;
    }
    Some(match code {
        _ if is_truncated => Reply::Truncated,
        0 => addresses(bytes, query).unwrap_or(Reply::Failed),
        3 => Reply::NoSuchName,
        _ => Reply::Failed,
    })
}

/// A record of an answer that matters.
enum Record {
    Alias(Vec<u8>),
    Address(IpAddr),
}

/// The addresses at the end of the chain of aliases that begins with the name that was asked for.
fn addresses(bytes: &[u8], query: &[u8]) -> Option<Reply> {
    let kind = word(query, query.len().checked_sub(4)?)?;
    let mut records = Vec::new();
    let mut at = query.len();
    for _ in 0..word(bytes, 6)? {
        let (owner, after) = name(bytes, at)?;
        let (found, class, ttl, length) = (
            word(bytes, after)?,
            word(bytes, after + 2)?,
            long(bytes, after + 4)?,
            word(bytes, after + 8)?,
        );
        let data_at = after + 10;
        let data = bytes.get(data_at..data_at + usize::from(length))?;
        let record = match found {
            _ if class != INTERNET => None,
            CNAME => Some(Record::Alias(name(bytes, data_at)?.0)),
            A if kind == A => {
                Some(Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()))
            }
            AAAA if kind == AAAA => {
                Some(Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()))
            }
            _ => None,
        };
        // RFC 2181 §8: a time beyond 31 bits is none.
        let ttl = if ttl > 0x7fff_ffff { 0 } else { ttl };
        records.extend(record.map(|record| (owner, record, ttl)));
        at = data_at + usize::from(length);
    }
    let mut wanted = name(query, HEADER)?.0;
    let mut until = u32::MAX;
    for _ in 0..MOST_ALIASES {
        let mut found: Vec<IpAddr> = Vec::new();
        let mut next = None;
        for (_, record, ttl) in records.iter().filter(|(owner, ..)| *owner == wanted) {
            until = until.min(*ttl);
            match record {
                Record::Address(address)
                    if found.len() < MOST_ADDRESSES && !found.contains(address) =>
                {
                    found.push(*address)
                }
                Record::Address(_) => {}
                Record::Alias(target) => next = Some(target.clone()),
            }
        }
        match (found.is_empty(), next) {
            (false, _) => return Some(Reply::Addresses(found, until)),
            (true, Some(target)) => wanted = target,
            (true, None) => return Some(Reply::NoRecords),
        }
    }
    Some(Reply::Failed)
}

/// The name at a place, in lower case and without compression, and where it ends.
fn name(bytes: &[u8], mut at: usize) -> Option<(Vec<u8>, usize)> {
    let mut out = Vec::new();
    let mut end = None;
    // Every pointer leads to before where it was met (RFC 1035 §4.1.4), so that none leads round.
    let mut before = at;
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some((out, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at..at + 1 + usize::from(length))?;
                out.extend(label.iter().map(u8::to_ascii_lowercase));
                if out.len() > 254 {
                    return None;
                }
                at += label.len();
            }
            192.. => {
                end.get_or_insert(at + 2);
                let target = usize::from(word(bytes, at)? & 0x3fff);
                if target >= before {
                    return None;
                }
                (at, before) = (target, target);
            }
            _ => return None,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `query`: a code, and records of owner, type, time and data.
    fn answer(query: &[u8], flags: [u8; 2], records: &[(&[u8], u16, u32, &[u8])]) -> Vec<u8> {
        let mut out = query.to_vec();
        out[2..4].copy_from_slice(&flags);
        out[7] = u8::try_from(records.len()).unwrap();
        for (owner, kind, ttl, data) in records {
            out.extend_from_slice(owner);
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&[0, 1]);
            out.extend_from_slice(&ttl.to_be_bytes());
            out.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend_from_slice(data);
        }
        out
    }

    #[test]
    fn names_of_any_kind_are_asked_for() {
        for host in [
            "a_b.test",
            "project_web_1.test",
            "_x.test",
            "x_.test",
            "-ab.test",
            "ab-.test",
            "xn--zzzzzz99999.test",
            "a",
            "A.b",
        ] {
            let query = encode(0x1234, host, Family::V4).unwrap();
            let labels: Vec<&[u8]> = query[12..query.len() - 5]
                .split(|byte| *byte < 32)
                .filter(|label| !label.is_empty())
                .collect();
            assert_eq!(labels.join(&b'.'), host.as_bytes());
            assert_eq!(query[query.len() - 5..], [0, 0, 1, 0, 1]);
        }
        for host in ["", ".", "a..b", "a.", &"a".repeat(64), &"a.".repeat(127)] {
            assert_eq!(encode(1, host, Family::V6), None, "{host}");
        }
    }

    #[test]
    fn answers() {
        const OWNER: &[u8] = &[0xc0, 12];
        let query = encode(7, "www.host.test", Family::V4).unwrap();
        let alias: &[u8] = b"\x04real\xc0\x10";
        let v4 = |last| IpAddr::from([192, 0, 2, last]);
        let ok = [0x81, 0x80];
        for (flags, records, want) in [
            (
                ok,
                &[(OWNER, A, 60, &[192, 0, 2, 1][..]), (OWNER, A, 30, &[192, 0, 2, 2])][..],
                Reply::Addresses(vec![v4(1), v4(2)], 30),
            ),
            (
                ok,
                &[(OWNER, CNAME, 9, alias), (b"\x04REAL\xc0\x10", A, 60, &[192, 0, 2, 3])],
                Reply::Addresses(vec![v4(3)], 9),
            ),
            (
                ok,
                &[(b"\x04real\xc0\x10", A, 60, &[192, 0, 2, 3]), (OWNER, CNAME, 90, alias)],
                Reply::Addresses(vec![v4(3)], 60),
            ),
            // What nobody asked for is not believed.
            (ok, &[(b"\x04evil\xc0\x10", A, 60, &[192, 0, 2, 3])], Reply::NoRecords),
            (ok, &[(OWNER, AAAA, 60, &[0; 16])], Reply::NoRecords),
            (
                ok,
                &[(OWNER, 46, 60, b"signature"), (OWNER, A, 60, &[192, 0, 2, 1])],
                Reply::Addresses(vec![v4(1)], 60),
            ),
            (ok, &[(OWNER, A, u32::MAX, &[192, 0, 2, 1])], Reply::Addresses(vec![v4(1)], 0)),
            (ok, &[(OWNER, CNAME, 9, OWNER)], Reply::Failed),
            (ok, &[(OWNER, A, 60, &[192, 0, 2])], Reply::Failed),
            (ok, &[], Reply::NoRecords),
            ([0x83, 0x80], &[], Reply::Truncated),
            ([0x81, 0x83], &[], Reply::NoSuchName),
            ([0x81, 0x82], &[], Reply::Failed),
            ([0x81, 0x85], &[], Reply::Failed),
        ] {
            assert_eq!(decode(&answer(&query, flags, records), &query), Some(want), "{records:?}");
        }
        let whole = answer(&query, ok, &[(OWNER, A, 60, &[192, 0, 2, 1])]);
        for (at, value) in [(0, 9), (2, 0x01), (5, 2), (13, b'x'), (query.len() - 3, 28)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(decode(&other, &query), None, "octet {at}");
        }
        assert_eq!(
            decode(&[0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0], &query),
            Some(Reply::Failed),
            "without the question"
        );
    }

    proptest! {
        #[test]
        fn no_octets_do_harm(
            tail in proptest::collection::vec(any::<u8>(), 0..80),
            count in any::<u8>(),
        ) {
            let query = encode(7, "www.host.test", Family::V4).unwrap();
            let mut bytes = answer(&query, [0x81, 0x80], &[]);
            bytes[7] = count;
            bytes.extend(tail);
            prop_assert!(decode(&bytes, &query).is_some());
            for cut in 0..bytes.len() {
                let _any = decode(&bytes[..cut], &query);
            }
        }
    }
}

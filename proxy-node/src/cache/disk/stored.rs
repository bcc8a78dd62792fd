//! What is said of a response on the disk: all that an [`Object`] needs to be one again after a
//! restart, whatever this process still knows. Pure.
//!
//! Cache-Control, validators and Vary are read from the stored head again, by the code that read
//! them when they came; what cannot be seen there (when it came and how old it was, how long it
//! lives and what says so) stands beside it.

use std::{
    hash::Hasher,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::bytes::{Cursor, put_string};
use crate::cache::{
    directives::ResponseDirectives,
    facts::ResponseFacts,
    object::{self, Object},
    policy::{Freshness, Source},
    vary,
};

/// A piece of a body in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub segment: u32,
    /// Where its bytes begin, from the beginning of the file.
    pub at: u32,
    pub length: u32,
    /// Sum of its bytes.
    pub sum: u64,
}

/// Where a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the same record.
    Inline,
    /// In pieces elsewhere.
    Extents(Vec<Extent>),
}

/// The request fields that select a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varied {
    pub names: Vec<Box<str>>,
    /// Of the values that they have.
    pub digest: Digest,
}

/// SHA-256 over request fields and their values: it has to say after a restart what it says now,
/// and nobody may find two requests that share one.
pub type Digest = [u8; 32];

/// What is said of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub key: Vec<u8>,
    pub status: u16,
    /// Status line and fields, as in [`Object::head`].
    pub head: Bytes,
    /// Where it came from; `None`: a parent proxy.
    pub from: Option<SocketAddr>,
    pub lifetime: u64,
    pub source: Source,
    /// What counts of it otherwise than its head says.
    pub altered: Altered,
    pub initial_age: u64,
    /// When it came, in seconds since the epoch by the steady clock of the process that wrote it.
    pub received_at: u64,
    pub declared: Option<u64>,
    /// `None`: every request selects it.
    pub varied: Option<Varied>,
    pub body: Place,
}

/// What counts of a response otherwise than its head says, because a refresh pattern or a targeted
/// field does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Altered {
    /// It is validated before every use.
    pub no_cache: bool,
    /// Nothing forbids to serve it stale.
    pub may_be_stale: bool,
}

impl Altered {
    /// What an object's directives have and its head has not.
    fn of(object: &Object) -> Self {
        let counts = &object.freshness.directives;
        let says = ResponseFacts::new(object.status, object.fields()).directives;
        let revalidates = |it: &ResponseDirectives| it.must_revalidate || it.proxy_revalidate;
        Self {
            no_cache: counts.no_cache && !says.no_cache,
            may_be_stale: object.freshness.source != Source::Targeted
                && revalidates(&says)
                && !revalidates(counts),
        }
    }

    /// The upper half of a byte: what an earlier version cannot read, it does not serve.
    const fn bits(self) -> u8 {
        (self.no_cache as u8) << 4 | (self.may_be_stale as u8) << 5
    }

    const fn read(bits: u8) -> Option<Self> {
        if bits & 0xc0 != 0 {
            return None;
        }
        Some(Self { no_cache: bits & 0x10 != 0, may_be_stale: bits & 0x20 != 0 })
    }
}

/// The digest of what a request has for these names.
pub fn digest<'a>(
    names: &[Box<str>],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Digest {
    let mut hasher = Sha(Sha256::new());
    vary::write_selected(&mut hasher, names, fields);
    hasher.0.finalize().into()
}

/// What an index keeps of a digest; never 0.
#[must_use]
pub fn short(digest: &Digest) -> u32 {
    Cursor(digest).u32().unwrap_or(0).max(1)
}

struct Sha(Sha256);

impl Hasher for Sha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

impl Stored {
    /// What is to be said of an object whose body is at `body`. `varied`: what selects it.
    #[must_use]
    pub fn of(object: &Object, varied: Option<Varied>, body: Place) -> Self {
        let freshness = &object.freshness;
        Self {
            key: object.key.as_bytes().to_vec(),
            status: object.status,
            head: object.head.clone(),
            from: object.from,
            lifetime: freshness.lifetime,
            source: freshness.source,
            altered: Altered::of(object),
            initial_age: freshness.initial_age,
            received_at: freshness.received_at,
            declared: object.declared,
            varied,
            body,
        }
    }

    /// The facts that its head tells.
    #[must_use]
    pub fn facts(&self) -> ResponseFacts {
        ResponseFacts::new(self.status, object::fields(&self.head))
    }

    /// How long it lives, as its process reckons from now on. `doubtful`: clocks do not say how old
    /// it is, so that it counts as stale.
    #[must_use]
    pub fn freshness(&self, facts: &ResponseFacts, now: u64, doubtful: bool) -> Freshness {
        let doubtful = doubtful || self.received_at > now;
        Freshness {
            lifetime: self.lifetime,
            source: self.source,
            initial_age: if doubtful {
                self.initial_age.max(self.lifetime)
            } else {
                self.initial_age
            },
            received_at: self.received_at.min(now),
            // What a targeted field said beside the lifetime is not kept: the careful side.
            directives: ResponseDirectives {
                must_revalidate: (facts.directives.must_revalidate && !self.altered.may_be_stale)
                    || self.source == Source::Targeted,
                proxy_revalidate: facts.directives.proxy_revalidate && !self.altered.may_be_stale,
                no_cache: facts.directives.no_cache || self.altered.no_cache,
                ..facts.directives
            },
        }
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.key.len() + self.head.len());
        put_string(&mut out, &self.key);
        put_string(&mut out, &self.head);
        out.extend(self.status.to_le_bytes());
        match self.from {
            None => out.push(0),
            Some(from) => {
                match from.ip() {
                    IpAddr::V4(ip) => {
                        out.push(4);
                        out.extend(ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        out.push(6);
                        out.extend(ip.octets());
                    }
                }
                out.extend(from.port().to_le_bytes());
            }
        }
        for number in [self.lifetime, self.initial_age, self.received_at] {
            out.extend(number.to_le_bytes());
        }
        out.push(number(self.source) | self.altered.bits());
        out.extend(self.declared.unwrap_or(u64::MAX).to_le_bytes());
        let names = self.varied.as_ref().map_or(&[][..], |varied| &varied.names);
        put_names(&mut out, names);
        if let Some(varied) = &self.varied {
            out.extend(varied.digest);
        }
        match &self.body {
            Place::Inline => out.extend(u32::MAX.to_le_bytes()),
            Place::Extents(extents) => {
                out.extend(u32::try_from(extents.len()).unwrap_or(u32::MAX).to_le_bytes());
                for extent in extents {
                    for number in [extent.segment, extent.at, extent.length] {
                        out.extend(number.to_le_bytes());
                    }
                    out.extend(extent.sum.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads it. `None`: this version cannot.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let key = cursor.string()?.to_vec();
        let head = Bytes::copy_from_slice(cursor.string()?);
        let status = cursor.u16()?;
        let ip = match cursor.u8()? {
            0 => None,
            4 => Some(IpAddr::from(cursor.array::<4>()?)),
            6 => Some(IpAddr::from(cursor.array::<16>()?)),
            _ => return None,
        };
        let from = match ip {
            None => None,
            Some(ip) => Some(SocketAddr::new(ip, cursor.u16()?)),
        };
        let (lifetime, initial_age, received_at) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let both = cursor.u8()?;
        let (source, altered) = (source(both & 0x0f)?, Altered::read(both & 0xf0)?);
        let declared = Some(cursor.u64()?).filter(|declared| *declared != u64::MAX);
        let names = names(&mut cursor)?;
        let varied =
            if names.is_empty() { None } else { Some(Varied { names, digest: cursor.array()? }) };
        let body = match cursor.u32()? {
            u32::MAX => Place::Inline,
            count => {
                let mut extents = Vec::new();
                for _ in 0..count {
                    extents.push(Extent {
                        segment: cursor.u32()?,
                        at: cursor.u32()?,
                        length: cursor.u32()?,
                        sum: cursor.u64()?,
                    });
                }
                Place::Extents(extents)
            }
        };
        let all = cursor.0.is_empty();
        all.then_some(Self {
            key,
            status,
            head,
            from,
            lifetime,
            source,
            altered,
            initial_age,
            received_at,
            declared,
            varied,
            body,
        })
    }
}

/// Appends names of request fields.
pub(super) fn put_names(out: &mut Vec<u8>, names: &[Box<str>]) {
    out.extend(u16::try_from(names.len()).unwrap_or(u16::MAX).to_le_bytes());
    names.iter().for_each(|name| put_string(out, name.as_bytes()));
}

/// Reads names of request fields.
pub(super) fn names(cursor: &mut Cursor<'_>) -> Option<Vec<Box<str>>> {
    let count = cursor.u16()?;
    (0..count).map(|_| Some(std::str::from_utf8(cursor.string()?).ok()?.into())).collect()
}

const fn number(source: Source) -> u8 {
    match source {
        Source::Unknown => 0,
        Source::SharedMaxAge => 1,
        Source::MaxAge => 2,
        Source::Expires => 3,
        Source::Pattern => 4,
        Source::Heuristic => 5,
        Source::Targeted => 6,
        Source::Default => 7,
        Source::Immutable => 8,
    }
}

const fn source(number: u8) -> Option<Source> {
    Some(match number {
        0 => Source::Unknown,
        1 => Source::SharedMaxAge,
        2 => Source::MaxAge,
        3 => Source::Expires,
        4 => Source::Pattern,
        5 => Source::Heuristic,
        6 => Source::Targeted,
        7 => Source::Default,
        8 => Source::Immutable,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored() -> impl Strategy<Value = Stored> {
        let varied = proptest::option::of((
            proptest::collection::vec("[a-z-]{1,20}".prop_map(Into::into), 1..4),
            any::<[u8; 32]>(),
        ));
        let extents = proptest::option::of(proptest::collection::vec(
            (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>()),
            0..5,
        ));
        (
            proptest::collection::vec(any::<u8>(), 0..50),
            proptest::collection::vec(any::<u8>(), 0..200),
            (any::<u16>(), proptest::option::of(any::<SocketAddr>()), 0u8..9),
            (any::<u64>(), any::<u64>(), any::<u64>()),
            proptest::option::of(0..u64::MAX),
            varied,
            extents,
        )
            .prop_map(
                |(key, head, (status, from, of), ages, declared, varied, extents)| Stored {
                    key,
                    status,
                    head: head.into(),
                    // Flow labels and scopes are no part of where something came from.
                    from: from.map(|from| SocketAddr::new(from.ip(), from.port())),
                    lifetime: ages.0,
                    source: source(of).unwrap(),
                    altered: Altered { no_cache: status % 2 == 0, may_be_stale: status % 3 == 0 },
                    initial_age: ages.1,
                    received_at: ages.2,
                    declared,
                    varied: varied.map(|(names, digest)| Varied { names, digest }),
                    body: extents.map_or(Place::Inline, |extents| {
                        Place::Extents(
                            extents
                                .into_iter()
                                .map(|(segment, at, length, sum)| Extent {
                                    segment,
                                    at,
                                    length,
                                    sum,
                                })
                                .collect(),
                        )
                    }),
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(stored in stored(), cut in any::<prop::sample::Index>()) {
            let bytes = stored.encode();
            prop_assert_eq!(Stored::decode(&bytes), Some(stored));
            prop_assert_eq!(Stored::decode(&bytes[..cut.index(bytes.len())]), None);
        }

        #[test]
        fn anything_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(Stored::decode(&bytes));
        }
    }

    fn aged(received_at: u64) -> Stored {
        Stored {
            key: b"http://a/".to_vec(),
            status: 200,
            head: Bytes::from_static(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=100\r\n"),
            from: None,
            lifetime: 100,
            source: Source::MaxAge,
            altered: Altered::default(),
            initial_age: 7,
            received_at,
            declared: None,
            varied: None,
            body: Place::Inline,
        }
    }

    #[test]
    fn ages_go_on_and_clocks_that_jump_make_stale() {
        let stored = aged(1000);
        let facts = stored.facts();
        assert_eq!(facts.directives.max_age, Some(100));
        assert_eq!(stored.freshness(&facts, 1050, false).age(1060), 67);
        // The clock was set back behind the moment at which it came, or nobody knows how far.
        assert!(stored.freshness(&facts, 999, false).age(999) >= 100);
        assert!(stored.freshness(&facts, 1001, true).age(1001) >= 100);
        // Set forward, it is older than it is.
        assert!(stored.freshness(&facts, 9_000_000, false).age(9_000_000) > 100);
    }
}

//! A record of the log: a header of 64 bytes, what is said of the content, and the content.
//!
//! ```text
//!  0 magic  4 version  5 kind  8 sequence  16 hash of the key  24 bytes of meta  28 bytes of body
//! 32 segment  36 place, in units  40 sum of meta  48 sum of body  56 sum of the header  64 meta,
//!    and the body
//! ```
//!
//! Records begin at multiples of [`UNIT`]. The sums are XXH3 with the secret of the directory, and
//! the header names its own place: bytes that an origin sends are never taken for a record, neither
//! where a scan looks for the next one nor where a file was copied over another.

use twox_hash::XxHash3_64;

use super::bytes::Cursor;

/// Records begin at its multiples, in bytes.
pub const UNIT: usize = 64;
pub const HEADER: usize = 64;
const MAGIC: u32 = 0x3163_7253;
/// Of the records that this version writes and reads. Others are passed over.
const VERSION: u8 = 1;
/// Bytes of meta and of body that a record may have.
const MOST_META: u32 = 8 << 20;
const MOST_BODY: u32 = 1 << 20;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A response: its head, and its body if that is small.
    Object,
    /// A piece of a body, to which an object refers.
    Extent,
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    /// When it was decided to store it, among all records and purges.
    pub sequence: u64,
    /// Of the key.
    pub hash: u64,
    pub meta: u32,
    pub body: u32,
    pub meta_sum: u64,
    pub body_sum: u64,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub segment: u32,
    /// Where it begins, in [`UNIT`]s.
    pub unit: u32,
    /// How long it is, in [`UNIT`]s.
    pub units: u32,
}

impl Place {
    /// Where it begins, in bytes.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.unit as u64 * UNIT as u64
    }

    /// How long it is, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.units as u64 * UNIT as u64
    }
}

/// The secret of a directory, which all sums and hashes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secret(pub u64);

impl Secret {
    #[must_use]
    pub fn sum(self, bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot_with_seed(self.0, bytes)
    }
}

impl Header {
    /// Bytes of the whole record, up to where the next one begins.
    #[must_use]
    pub const fn length(&self) -> u64 {
        (HEADER as u64 + self.meta as u64 + self.body as u64).next_multiple_of(UNIT as u64)
    }

    fn encode(&self, secret: Secret, segment: u32, unit: u32) -> [u8; HEADER] {
        let mut out = Vec::with_capacity(HEADER);
        out.extend(MAGIC.to_le_bytes());
        out.extend([VERSION, if self.kind == Kind::Object { 1 } else { 2 }, 0, 0]);
        out.extend(self.sequence.to_le_bytes());
        out.extend(self.hash.to_le_bytes());
        for number in [self.meta, self.body, segment, unit] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.meta_sum.to_le_bytes());
        out.extend(self.body_sum.to_le_bytes());
        let sum = secret.sum(&out);
        out.extend(sum.to_le_bytes());
        let mut header = [0; HEADER];
        header.copy_from_slice(&out);
        header
    }

    /// The header at a place. `None`: none is there that this version wrote.
    #[must_use]
    pub fn decode(bytes: &[u8], secret: Secret, segment: u32, unit: u32) -> Option<Self> {
        let mut cursor = Cursor(bytes.get(..HEADER)?);
        if cursor.u32()? != MAGIC || cursor.u8()? != VERSION {
            return None;
        }
        let kind = match cursor.u8()? {
            1 => Kind::Object,
            2 => Kind::Extent,
            _ => return None,
        };
        cursor.u16()?;
        let (sequence, hash) = (cursor.u64()?, cursor.u64()?);
        let (meta, body) = (cursor.u32()?, cursor.u32()?);
        let here = (cursor.u32()?, cursor.u32()?);
        let (meta_sum, body_sum) = (cursor.u64()?, cursor.u64()?);
        let right = cursor.u64()? == secret.sum(bytes.get(..HEADER - 8)?);
        (right && here == (segment, unit) && meta <= MOST_META && body <= MOST_BODY)
            .then_some(Self { kind, sequence, hash, meta, body, meta_sum, body_sum })
    }
}

/// Bytes that a record with so much in it takes. `None`: more than a record may have.
#[must_use]
pub fn length(meta: usize, body: usize) -> Option<u64> {
    let (meta, body) = (u64::try_from(meta).ok()?, u64::try_from(body).ok()?);
    (meta <= u64::from(MOST_META) && body <= u64::from(MOST_BODY))
        .then(|| (HEADER as u64 + meta + body).next_multiple_of(UNIT as u64))
}

/// Appends a record that will stand at this place. `body`: its pieces, one behind the other.
#[expect(clippy::too_many_arguments, reason = "what a header holds")]
pub fn encode<'a>(
    out: &mut Vec<u8>,
    secret: Secret,
    (segment, unit): (u32, u32),
    kind: Kind,
    sequence: u64,
    hash: u64,
    meta: &[u8],
    body: impl Iterator<Item = &'a [u8]>,
) -> Header {
    let begin = out.len();
    out.resize(begin + HEADER, 0);
    out.extend_from_slice(meta);
    let from = out.len();
    body.for_each(|piece| out.extend_from_slice(piece));
    let body = out.get(from..).unwrap_or_default();
    let header = Header {
        kind,
        sequence,
        hash,
        meta: u32::try_from(meta.len()).unwrap_or(u32::MAX),
        body: u32::try_from(body.len()).unwrap_or(u32::MAX),
        meta_sum: secret.sum(meta),
        body_sum: secret.sum(body),
    };
    if let Some(place) = out.get_mut(begin..begin + HEADER) {
        place.copy_from_slice(&header.encode(secret, segment, unit));
    }
    out.resize(begin + (out.len() - begin).next_multiple_of(UNIT), 0);
    header
}

/// Takes a record apart. `None`: it is not what was written.
#[must_use]
pub fn decode(
    bytes: &[u8],
    secret: Secret,
    segment: u32,
    unit: u32,
) -> Option<(Header, &[u8], &[u8])> {
    let header = Header::decode(bytes, secret, segment, unit)?;
    let mut cursor = Cursor(bytes.get(HEADER..)?);
    let meta = cursor.take(header.meta as usize)?;
    let body = cursor.take(header.body as usize)?;
    (secret.sum(meta) == header.meta_sum && secret.sum(body) == header.body_sum)
        .then_some((header, meta, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: Secret = Secret(77);

    fn encoded(meta: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, SECRET, (3, 9), Kind::Object, 5, 6, meta, std::iter::once(body));
        out
    }

    #[test]
    fn only_at_its_place_and_with_its_secret() {
        let bytes = encoded(b"meta", b"body");
        assert_eq!(bytes.len() % UNIT, 0);
        let (header, meta, body) = decode(&bytes, SECRET, 3, 9).unwrap();
        assert_eq!((header.sequence, header.hash, meta, body), (5, 6, &b"meta"[..], &b"body"[..]));
        assert_eq!(header.length(), bytes.len() as u64);
        assert!(decode(&bytes, SECRET, 4, 9).is_none() && decode(&bytes, SECRET, 3, 8).is_none());
        assert!(decode(&bytes, Secret(78), 3, 9).is_none());
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen(
            meta in proptest::collection::vec(any::<u8>(), 0..200),
            body in proptest::collection::vec(any::<u8>(), 0..200),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encoded(&meta, &body);
            let used = HEADER + meta.len() + body.len();
            let bit = bit.index(used * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, SECRET, 3, 9).is_none());
        }

        #[test]
        fn a_cut_one_is_seen(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encoded(b"meta", &body);
            let used = HEADER + 4 + body.len();
            prop_assert!(decode(&bytes[..cut.index(used)], SECRET, 3, 9).is_none());
        }
    }
}

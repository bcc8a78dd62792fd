//! A datagram (RFC 2186 §2). Pure.
//!
//! ```text
//! opcode 1 | version 1 | length 2 | number 4 | options 4 | option data 4 | sender 4
//! a question: requester 4 | URL | NUL          an answer: URL | NUL
//! ```
//! Options and addresses of hosts say nothing that could be believed: they are sent as zero and not
//! read.

use thiserror::Error;

/// Bytes of the header.
pub const HEADER: usize = 20;
/// The longest URL that is asked for, or answered: it fits into a datagram that no network takes
/// apart into many.
pub const LONGEST: usize = 4096;
const VERSION: u8 = 2;
/// Bytes of the requester's address in front of the URL of a question.
const REQUESTER: usize = 4;

/// What a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Query,
    Hit,
    Miss,
    /// The question could not be understood.
    Error,
    /// It has it not, and would not fetch it.
    MissNoFetch,
    Denied,
    /// A hit with the object behind the URL, which is not read.
    HitObject,
}

impl Opcode {
    const ALL: [(Self, u8); 7] = [
        (Self::Query, 1),
        (Self::Hit, 2),
        (Self::Miss, 3),
        (Self::Error, 4),
        (Self::MissNoFetch, 21),
        (Self::Denied, 22),
        (Self::HitObject, 23),
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Query => 1,
            Self::Hit => 2,
            Self::Miss => 3,
            Self::Error => 4,
            Self::MissNoFetch => 21,
            Self::Denied => 22,
            Self::HitObject => 23,
        }
    }
}

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub opcode: Opcode,
    /// By which an answer belongs to its question.
    pub number: u32,
    pub url: &'a [u8],
}

/// Why a datagram is left unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum Invalid {
    #[error("shorter than a header, or not as long as it says")]
    Length,
    #[error("of another version")]
    Version,
    #[error("of a kind that asks or answers nothing here")]
    Opcode,
    #[error("its URL does not end, is empty, too long, or no URL")]
    Url,
}

/// Reads a datagram.
///
/// # Errors
/// It is none of this protocol.
pub fn parse(bytes: &[u8]) -> Result<Packet<'_>, Invalid> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(Invalid::Length)?;
    if usize::from(u16::from_be_bytes([header[2], header[3]])) != bytes.len() {
        return Err(Invalid::Length);
    }
    if header[1] != VERSION {
        return Err(Invalid::Version);
    }
    let known = Opcode::ALL.into_iter().find(|(_, number)| *number == header[0]);
    let (opcode, _) = known.ok_or(Invalid::Opcode)?;
    if opcode == Opcode::Query {
        rest = rest.get(REQUESTER..).ok_or(Invalid::Length)?;
    }
    let end = rest.iter().position(|byte| *byte == 0).ok_or(Invalid::Url)?;
    let (url, behind) = (&rest[..end], &rest[end + 1..]);
    let is_url = !url.is_empty() && url.len() <= LONGEST && url.iter().all(u8::is_ascii_graphic);
    if !is_url || (!behind.is_empty() && opcode != Opcode::HitObject) {
        return Err(Invalid::Url);
    }
    let number = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    Ok(Packet { opcode, number, url })
}

/// Appends a datagram. The URL has at most [`LONGEST`] bytes.
pub fn write(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let requester = if packet.opcode == Opcode::Query { REQUESTER } else { 0 };
    let length = HEADER + requester + packet.url.len() + 1;
    out.extend_from_slice(&[packet.opcode.number(), VERSION]);
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(&packet.number.to_be_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&[0; REQUESTER][..requester]);
    out.extend_from_slice(packet.url);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(opcode: Opcode, number: u32, url: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, &Packet { opcode, number, url });
        out
    }

    /// As RFC 2186 lays it out, and as a Squid sent it.
    #[test]
    fn the_bytes() {
        let query = written(Opcode::Query, 0x0102_0304, b"http://a/");
        let mut expected = vec![1, 2, 0, 34, 1, 2, 3, 4];
        expected.extend([0; 12]);
        expected.extend([0; 4]);
        expected.extend(b"http://a/\0");
        assert_eq!(query, expected);
        let hit = written(Opcode::Hit, 7, b"http://a/");
        assert_eq!((hit.len(), hit[0], hit[3]), (30, 2, 30));
    }

    #[test]
    fn what_is_left_unread() {
        let good = written(Opcode::Query, 1, b"http://a/");
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let longer = |more: &[u8], opcode: Opcode| {
            let mut bytes = written(opcode, 1, b"http://a/");
            bytes.extend_from_slice(more);
            bytes[3] = bytes.len() as u8;
            bytes
        };
        for (what, bytes, reason) in [
            ("nothing", vec![], Invalid::Length),
            ("a header alone", good[..20].to_vec(), Invalid::Length),
            ("cut", good[..33].to_vec(), Invalid::Length),
            ("longer than it says", [&good[..], b"x"].concat(), Invalid::Length),
            ("a length of its own", with(3, 20), Invalid::Length),
            ("version 3", with(1, 3), Invalid::Version),
            ("an opcode of the source echo", with(0, 10), Invalid::Opcode),
            ("opcode 0", with(0, 0), Invalid::Opcode),
            ("no end", with(33, b'x'), Invalid::Url),
            ("a NUL within", with(26, 0), Invalid::Url),
            ("a blank", with(26, b' '), Invalid::Url),
            ("a line", with(26, b'\n'), Invalid::Url),
            ("not ASCII", with(26, 0xC3), Invalid::Url),
            ("no URL", written(Opcode::Hit, 1, b""), Invalid::Url),
            ("more behind", longer(b"x", Opcode::Hit), Invalid::Url),
            ("too long", written(Opcode::Hit, 1, &[b'x'; LONGEST + 1]), Invalid::Url),
        ] {
            assert_eq!(parse(&bytes), Err(reason), "{what}");
        }
        let object = longer(b"\0\x05whole", Opcode::HitObject);
        assert_eq!(parse(&object).map(|it| it.opcode), Ok(Opcode::HitObject));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in 0_usize..7,
            number in any::<u32>(),
            url in "[!-~]{1,300}",
        ) {
            let packet = Packet { opcode: Opcode::ALL[kind].0, number, url: url.as_bytes() };
            let bytes = written(packet.opcode, number, packet.url);
            prop_assert_eq!(parse(&bytes), Ok(packet));
            for length in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..length]), Err(Invalid::Length));
            }
        }

        #[test]
        fn noise_is_no_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..400),
            own_length in any::<bool>(),
        ) {
            if own_length && bytes.len() >= HEADER {
                let length = (bytes.len() as u16).to_be_bytes();
                bytes[1..4].copy_from_slice(&[VERSION, length[0], length[1]]);
            }
            if let Ok(packet) = parse(&bytes) {
                prop_assert!(packet.url.iter().all(u8::is_ascii_graphic));
            }
        }
    }
}

//! Content-Range: which part of what an answer has (RFC 9110 §14.4).

use std::ops::Range;

/// A part of something whose length is known: these bytes of so many, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub bytes: Range<u64>,
    /// Bytes of the whole.
    pub of: u64,
}

impl Part {
    /// Bytes of the part.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Whether it has none; no part is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is all of it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.len() == self.of
    }

    /// Whether two parts overlap, or one begins where the other ends.
    #[must_use]
    pub const fn touches(&self, other: &Self) -> bool {
        self.bytes.start <= other.bytes.end && other.bytes.start <= self.bytes.end
    }
}

/// Content-Range of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ContentRange {
    /// There is none.
    #[default]
    None,
    Part(Part),
    /// It says nothing of use: another unit, an unknown length, a range that is none, several.
    Unusable,
}

impl ContentRange {
    /// Adds a line of the field.
    pub(super) fn add(&mut self, value: &[u8]) {
        *self = match (&*self, read(value)) {
            (Self::None, Some(part)) => Self::Part(part),
            _ => Self::Unusable,
        };
    }

    #[must_use]
    pub const fn part(&self) -> Option<&Part> {
        match self {
            Self::Part(part) => Some(part),
            Self::None | Self::Unusable => None,
        }
    }
}

/// `bytes FIRST-LAST/LENGTH` (RFC 9110 §14.4); what is anything else is of no use.
fn read(value: &[u8]) -> Option<Part> {
    let value = value.trim_ascii();
    let (unit, rest) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let dash = rest.iter().position(|byte| *byte == b'-')?;
    let first = number(rest.get(..dash)?)?;
    let last = number(rest.get(dash + 1..slash)?)?;
    let of = number(rest.get(slash + 1..)?)?;
    (first <= last && last < of).then(|| Part { bytes: first..last + 1, of })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_content_range_says() {
        for (value, want) in [
            ("bytes 0-2/9", Some((0, 3, 9))),
            ("Bytes 8-8/9", Some((8, 9, 9))),
            ("bytes 0-18446744073709551614/18446744073709551615", Some((0, u64::MAX, u64::MAX))),
            ("bytes 0-2/*", None),
            ("bytes */9", None),
            ("bytes 0-9/9", None),
            ("bytes 2-1/9", None),
            ("bytes 0-2/3/4", None),
            ("bytes=0-2/9", None),
            ("bytes -2/9", None),
            ("bytes 0-/9", None),
            ("bytes +0-2/9", None),
            ("bytes 0-2", None),
            ("bytes 0/2-9", None),
            ("lines 0-2/9", None),
            ("bytes 0-99999999999999999999/999999999999999999999", None),
            ("", None),
        ] {
            let part = read(value.as_bytes());
            assert_eq!(part.map(|it| (it.bytes.start, it.bytes.end, it.of)), want, "{value}");
        }
        let mut twice = ContentRange::None;
        twice.add(b"bytes 0-2/9");
        twice.add(b"bytes 0-2/9");
        assert_eq!(twice, ContentRange::Unusable);
    }

    proptest! {
        #[test]
        fn a_part_is_inside_whatever_is_sent(value in "bytes [0-9*/ -]{0,20}") {
            if let Some(part) = read(value.as_bytes()) {
                prop_assert!(!part.is_empty() && part.bytes.end <= part.of);
            }
        }
    }
}

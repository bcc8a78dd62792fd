//! Ranges of bytes, as a client asks for them (RFC 9110 §14.1.2, §14.2).

use std::ops::Range;

/// Ranges of one request that are heeded; a request for more gets the whole, as RFC 9110 §14.2
/// allows.
pub(super) const MOST: usize = 32;
/// Parts that are no further apart are sent as one: the head of another takes about as much
/// (RFC 9110 §15.3.7.2).
const APART: u64 = 80;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    One(Spec),
    Several(Vec<Spec>),
}

/// One range of bytes: `a-b`, `a-` or `-n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    first: Option<u64>,
    last: Option<u64>,
}

impl Spec {
    /// `None`: it is none.
    fn read(text: &[u8]) -> Option<Self> {
        let at = text.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (text.get(..at)?, text.get(at + 1..)?);
        let spec = Self { first: number(first)?, last: number(last)? };
        match (spec.first, spec.last) {
            (None, None) => None,
            (Some(first), Some(last)) if last < first => None,
            _ => Some(spec),
        }
    }

    /// The first byte; `None`: so many from the end.
    #[must_use]
    pub const fn first(self) -> Option<u64> {
        self.first
    }

    /// What it means of so many bytes; `None`: none of them.
    #[must_use]
    pub fn within(self, length: u64) -> Option<Range<u64>> {
        let part = match (self.first, self.last) {
            (Some(first), last) => {
                first..last.map_or(length, |last| last.saturating_add(1)).min(length)
            }
            (None, Some(suffix)) => length.saturating_sub(suffix)..length,
            (None, None) => return None,
        };
        (part.start < part.end).then_some(part)
    }
}

/// Digits, or nothing. `None`: something else.
fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX)))
}

/// Reads `bytes=…` (RFC 9110 §14.1.2, §14.2). `None`: it is no set of ranges of bytes, or one of
/// too many.
pub(super) fn read(value: &[u8]) -> Option<Asked> {
    let value = value.trim_ascii();
    let at = value.iter().position(|byte| *byte == b'=')?;
    let (unit, set) = (value.get(..at)?, value.get(at + 1..)?);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for text in set.split(|byte| *byte == b',').take(4 * MOST) {
        let text = text.trim_ascii();
        if text.is_empty() {
            continue;
        }
        if specs.len() == MOST {
            return None;
        }
        specs.push(Spec::read(text)?);
    }
    match specs.as_slice() {
        [] => None,
        [one] => Some(Asked::One(*one)),
        _ => Some(Asked::Several(specs)),
    }
}

/// What they mean of so many bytes: in order, each byte once, and none so near to the next that it
/// could as well be the same.
pub(super) fn within(specs: &[Spec], length: u64) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = specs.iter().filter_map(|spec| spec.within(length)).collect();
    parts.sort_by_key(|part| part.start);
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match apart.last_mut() {
            Some(before) if part.start <= before.end.saturating_add(APART) => {
                before.end = before.end.max(part.end);
            }
            _ => apart.push(part),
        }
    }
    apart
}

/// The range of a request that asks for one; `None`: for none, or several.
#[must_use]
pub fn only_one(range: &[u8]) -> Option<Spec> {
    match read(range)? {
        Asked::One(spec) => Some(spec),
        Asked::Several(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(parts: Vec<Range<u64>>) -> Vec<(u64, u64)> {
        parts.into_iter().map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn sets_of_ranges() {
        let parts = |value: &str| match read(value.as_bytes()) {
            None => None,
            Some(Asked::One(spec)) => Some(ends(within(&[spec], 1000))),
            Some(Asked::Several(specs)) => Some(ends(within(&specs, 1000))),
        };
        for (value, want) in [
            ("bytes=0-0", Some(vec![(0, 1)])),
            ("Bytes=0-0,-1", Some(vec![(0, 1), (999, 1000)])),
            ("bytes= 500-599 , 0-9,,", Some(vec![(0, 10), (500, 600)])),
            ("bytes=0-9,10-19", Some(vec![(0, 20)])),
            ("bytes=0-9,89-99", Some(vec![(0, 100)])),
            ("bytes=0-9,91-99", Some(vec![(0, 10), (91, 100)])),
            ("bytes=0-,-5,3-4", Some(vec![(0, 1000)])),
            ("bytes=2000-,-0", Some(vec![])),
            ("bytes=2000-,0-0", Some(vec![(0, 1)])),
            ("bytes=99999999999999999999-", Some(vec![])),
            ("bytes=0-0,5-2", None),
            ("bytes=0-0,x", None),
            ("bytes=0-0,-", None),
            ("bytes=+1-2", None),
            ("bytes=", None),
            ("bytes", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parts(value), want, "{value}");
        }
        let many = |count| format!("bytes={}", vec!["0-0"; count].join(","));
        assert_eq!(parts(&many(MOST)), Some(vec![(0, 1)]));
        assert_eq!(parts(&many(10_000)), None, "more than anybody needs are no request for parts");
    }

    proptest! {
        #[test]
        fn parts_are_in_order_apart_and_inside(
            specs in proptest::collection::vec((0u64..2000, 0u64..500), 1..MOST),
            length in 1u64..2000,
        ) {
            let specs: Vec<Spec> = specs
                .into_iter()
                .map(|(first, more)| Spec { first: Some(first), last: Some(first + more) })
                .collect();
            let parts = within(&specs, length);
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            prop_assert!(parts.windows(2).all(|two| two[0].end + APART < two[1].start));
            for byte in 0..length {
                let asked = specs.iter().any(|spec| {
                    spec.within(length).is_some_and(|part| part.contains(&byte))
                });
                prop_assert!(!asked || parts.iter().any(|part| part.contains(&byte)));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let mut range = b"bytes=".to_vec();
            range.extend(&value);
            prop_assert!(only_one(&value).is_none() || value.contains(&b'='));
            prop_assert!(only_one(&range).is_none() || value.contains(&b'-'));
        }
    }
}

//! The tags that an origin gives its answers, so that all of those that have one can be purged
//! together: `Cache-Tag` (separated by commas) and `Surrogate-Key` (by spaces). Pure.
//!
//! What is kept of a tag is a hash, which is the same in every process: purges and lists of objects
//! on a disk outlive the one that wrote them. Two tags that share one are purged together, which is
//! the safe side. Upper and lower case are the same.

use twox_hash::XxHash3_64;

/// Tags that are kept of one answer. One with more of them is purged with every tag.
const MOST: usize = 128;

/// The tags of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// In order, each once.
    hashes: Box<[u64]>,
    /// It has more than are kept.
    more: bool,
}

impl Tags {
    /// What the fields of an answer say.
    #[must_use]
    pub fn of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut hashes = Vec::new();
        let mut more = false;
        for tag in each(fields) {
            if hashes.len() == MOST {
                more = true;
                break;
            }
            hashes.push(hash(tag));
        }
        Self::with(hashes, more)
    }

    /// Tags with these hashes.
    #[must_use]
    pub fn with(mut hashes: Vec<u64>, more: bool) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes: hashes.into(), more }
    }

    /// Whether the tag with this hash is one of them, or may be.
    #[must_use]
    pub fn contains(&self, hash: u64) -> bool {
        self.more || self.hashes.binary_search(&hash).is_ok()
    }

    #[must_use]
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Whether there are more than are kept.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.more
    }

    /// Bytes of memory that they take beside the structure.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        size_of_val::<[u64]>(&self.hashes) as u64
    }
}

/// The hash of a tag.
#[must_use]
pub fn hash(tag: &[u8]) -> u64 {
    XxHash3_64::oneshot(&tag.to_ascii_lowercase())
}

/// Every tag of an answer, as it was sent.
pub fn each<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> impl Iterator<Item = &'a [u8]> {
    let tags = |(name, value): (&'a [u8], &'a [u8])| {
        let comma = name.eq_ignore_ascii_case(b"cache-tag");
        let space = name.eq_ignore_ascii_case(b"surrogate-key");
        let value = if comma || space { value } else { b"" };
        value
            .split(move |byte| if comma { *byte == b',' } else { byte.is_ascii_whitespace() })
            .map(<[u8]>::trim_ascii)
            .filter(|tag| !tag.is_empty())
    };
    fields.flat_map(tags)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Fields = [(&'static [u8], &'static [u8])];

    fn tags(fields: &Fields) -> Vec<String> {
        each(fields.iter().copied()).map(|tag| String::from_utf8_lossy(tag).into_owned()).collect()
    }

    #[test]
    fn both_fields_in_their_own_spelling() {
        for (fields, want) in [
            (&[(&b"Cache-Tag"[..], &b"a, b c ,,d"[..])][..], &["a", "b c", "d"][..]),
            (&[(b"surrogate-key", b" a  b,c\td ")], &["a", "b,c", "d"]),
            (&[(b"cache-tag", b"a"), (b"X-Tag", b"x"), (b"Surrogate-Key", b"b")], &["a", "b"]),
            (&[(b"cache-tag", b"")], &[]),
        ] {
            assert_eq!(tags(fields), want, "{fields:?}");
        }
        let known = Tags::of([(&b"cache-tag"[..], &b"News,Sport"[..])].into_iter());
        assert!(known.contains(hash(b"news")) && known.contains(hash(b"SPORT")));
        assert!(!known.contains(hash(b"new")) && !known.has_more());
    }

    #[test]
    fn who_has_too_many_is_purged_with_every_tag() {
        let many: Vec<String> = (0..=MOST).map(|number| format!("t{number}")).collect();
        let (all, less) = (many.join(","), many[1..].join(","));
        let tags = |value: &str| Tags::of([(&b"cache-tag"[..], value.as_bytes())].into_iter());
        assert!(tags(&all).contains(hash(b"another")) && tags(&all).hashes().len() == MOST);
        assert!(!tags(&less).contains(hash(b"another")));
    }

    proptest! {
        #[test]
        fn all_are_found_again(names in proptest::collection::vec("[!-+--~]{1,20}", 0..40)) {
            let keys = names.join(" ");
            let list = names.join(" , ");
            let fields = [(&b"surrogate-key"[..], keys.as_bytes())];
            let spaces = Tags::of(fields.into_iter());
            let commas = Tags::of([(&b"cache-tag"[..], list.as_bytes())].into_iter());
            prop_assert_eq!(&spaces, &commas);
            prop_assert!(names.iter().all(|name| spaces.contains(hash(name.as_bytes()))));
        }
    }
}

//! Which of several stored responses a request selects (RFC 9111 §4.1).
//!
//! What is compared is a hash over the fields that Vary names and the values which they have: the
//! store compares one number, however much an origin names and a client sends.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{Arc, LazyLock},
};

use super::{directives::elements, disk::stored};

/// Bytes of a field's value that are kept to be shown to operators.
const SHOWN: usize = 128;

/// With a secret of this process, so that nobody can find two requests that collide.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Behind a name: its values are compared in a normal form. No field's name has it.
const NORMAL: char = ':';

/// Names of request fields, lower case, sorted, each once, perhaps [`NORMAL`]. Variants with equal
/// names share them.
pub type Names = Arc<[Box<str>]>;

/// The request fields that select one variant; [`Default`]: every request does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Option<Arc<Varied>>);

#[derive(Debug, PartialEq, Eq)]
struct Varied {
    names: Names,
    digest: u64,
    /// The same for what outlives this process.
    durable: stored::Digest,
    /// The beginning of each value, to be shown; a field that was missing has none.
    values: Box<[Option<Box<[u8]>>]>,
}

impl Selection {
    /// The fields; none where every request selects it.
    #[must_use]
    pub fn names(&self) -> Option<&Names> {
        self.0.as_ref().map(|varied| &varied.names)
    }

    /// What requests that select it have in common; 0 where all do.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.0.as_ref().map_or(0, |varied| varied.digest)
    }

    /// The same as it is on the disk, where processes with other secrets read it.
    #[must_use]
    pub fn durable(&self) -> Option<&stored::Digest> {
        self.0.as_ref().map(|varied| &varied.durable)
    }

    /// Name and value of every field, as far as the value is kept.
    pub fn shown(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.0.iter().flat_map(|varied| {
            varied
                .names
                .iter()
                .map(|name| of(name).0)
                .zip(varied.values.iter().map(Option::as_deref))
        })
    }

    /// Bytes of memory that it takes, names included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Some(varied) = &self.0 else { return 0 };
        let names: usize = varied.names.iter().map(|name| name.len() + 32).sum();
        let values: usize = varied
            .values
            .iter()
            .map(|value| value.as_ref().map_or(0, |value| value.len() + 16) + 16)
            .sum();
        (size_of::<Varied>() + 32 + names + values) as u64
    }
}

/// Names of Vary as they are compared: those in a normal form that are `normalized`.
#[must_use]
pub fn compared(names: &[Box<str>], normalized: &[String]) -> Vec<Box<str>> {
    let compared = |name: &str| -> Box<str> {
        if normalized.iter().any(|normal| normal == name) {
            format!("{name}{NORMAL}").into()
        } else {
            name.into()
        }
    };
    names.iter().map(|name| compared(name)).collect()
}

/// The name of a field, and whether its values are compared in a normal form.
fn of(name: &str) -> (&str, bool) {
    name.strip_suffix(NORMAL).map_or((name, false), |name| (name, true))
}

/// The selection that a request makes by these names.
pub fn select<'a>(
    names: &[Box<str>],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> Selection {
    if names.is_empty() {
        return Selection::default();
    }
    let values = names
        .iter()
        .map(|name| {
            fields.clone().find(|(field, _)| is(field, of(name).0)).map(|(_, value)| shown(value))
        })
        .collect();
    Selection(Some(Arc::new(Varied {
        names: names.into(),
        digest: digest(names, fields.clone()),
        durable: stored::digest(names, fields),
        values,
    })))
}

fn shown(value: &[u8]) -> Box<[u8]> {
    value.get(..SHOWN).unwrap_or(value).into()
}

/// Whether a request selects the variant (RFC 9111 §4.1).
pub fn selects<'a>(
    selection: &Selection,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> bool {
    selection.names().is_none_or(|names| digest(names, fields) == selection.digest())
}

/// A hash over names and the values which they have in a request; never 0.
pub fn digest<'a>(
    names: &[Box<str>],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) -> u64 {
    let mut hasher = SECRET.build_hasher();
    write_selected(&mut hasher, names, fields);
    hasher.finish().max(1)
}

/// Names and the values which they have in a request, as they are hashed.
pub fn write_selected<'a>(
    hasher: &mut impl Hasher,
    names: &[Box<str>],
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
) {
    for name in names {
        write(hasher, name.as_bytes());
        let (name, normal) = of(name);
        let values = fields.clone().filter(|(field, _)| is(field, name)).map(|(_, value)| value);
        if normal {
            preferences(hasher, values);
        } else {
            list(hasher, values);
        }
    }
}

fn is(field: &[u8], name: &str) -> bool {
    field.len() == name.len() && field.eq_ignore_ascii_case(name.as_bytes())
}

fn write(hasher: &mut impl Hasher, bytes: &[u8]) {
    hasher.write_usize(bytes.len());
    hasher.write(bytes);
}

/// A field's value with what cannot matter taken out: several lines are one list, blanks around
/// commas go.
fn list<'a>(hasher: &mut impl Hasher, values: impl Iterator<Item = &'a [u8]>) {
    let mut lines = 0u8;
    for value in values {
        lines = 1;
        elements(value).for_each(|element| write(hasher, element));
    }
    // Behind the elements, so that an empty field is another thing than none.
    hasher.write_u8(lines);
}

/// A list of preferences, as Accept and its like are: order and case mean nothing, nor does it
/// whether one is spelled with blanks or its weight with zeros (RFC 9110 §12.4.2).
fn preferences<'a>(hasher: &mut impl Hasher, values: impl Iterator<Item = &'a [u8]>) {
    let mut lines = 0u8;
    let mut items: Vec<Vec<u8>> = Vec::new();
    for value in values {
        lines = 1;
        items.extend(elements(value).map(preference));
    }
    items.sort();
    items.dedup();
    items.iter().for_each(|item| write(hasher, item));
    hasher.write_u8(lines);
}

/// One of them: lower case, without blanks, its weight as short as can be.
fn preference(item: &[u8]) -> Vec<u8> {
    let mut normal: Vec<u8> = item
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(u8::to_ascii_lowercase)
        .collect();
    let Some(at) = normal.windows(3).rposition(|part| part == b";q=") else { return normal };
    let weight = normal.get(at + 3..).unwrap_or_default();
    if !weight.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return normal;
    }
    if weight.contains(&b'.') {
        let ended = weight.iter().rposition(|byte| !matches!(byte, b'0' | b'.'));
        let point = weight.iter().position(|byte| *byte == b'.').unwrap_or(0);
        normal.truncate(at + 3 + ended.map_or(point, |ended| (ended + 1).max(point)));
    }
    // A weight of 1 is what there is without one.
    if normal.ends_with(b";q=1") {
        normal.truncate(at);
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(
        list: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }

    #[test]
    fn selections() {
        for (name, made_by, asked_by, want) in [
            ("accept", vec![("Accept", "a, b")], vec![("accept", "a,b")], true),
            ("accept", vec![("Accept", "a, b")], vec![("accept", "a"), ("Accept", "b")], true),
            ("accept", vec![("Accept", "a, b")], vec![("accept", "b, a")], false),
            ("accept", vec![("Accept", "a")], vec![], false),
            ("accept", vec![], vec![], true),
            ("accept", vec![], vec![("Accept", "")], false),
            ("accept", vec![("Accept", "ab")], vec![("Accept", "a, b")], false),
            ("accept:", vec![("Accept", "A/b;q=0.50,c")], vec![("Accept", "c, a/B; q=0.5")], true),
            ("accept:", vec![("Accept", "a;q=1.000")], vec![("Accept", "a")], true),
            ("accept:", vec![("Accept", "a;q=10")], vec![("Accept", "a;q=1")], false),
            ("accept:", vec![("Accept", "a;q=0.0")], vec![("Accept", "a;q=0")], true),
            ("accept:", vec![("Accept", "a;q=0.1")], vec![("Accept", "a;q=0.01")], false),
            ("accept:", vec![("Accept", "a;q=x0")], vec![("Accept", "a;q=x")], false),
            (
                "accept-encoding",
                vec![("Accept-Encoding", "a, b")],
                vec![("Accept-Encoding", "b, a")],
                false,
            ),
            (
                "accept-encoding:",
                vec![("Accept-Encoding", "gzip, br")],
                vec![("accept-encoding", "BR,gzip")],
                true,
            ),
            (
                "accept-encoding:",
                vec![("Accept-Encoding", "gzip;q=1")],
                vec![("accept-encoding", "gzip; q=1")],
                true,
            ),
            ("accept-encoding", vec![("Accept-Encoding", "gzip")], vec![], false),
            ("cookie", vec![("Cookie", "a=1")], vec![("Cookie", "a=2")], false),
        ] {
            let selection = select(&[name.into()], fields(&made_by));
            assert_eq!(
                selects(&selection, fields(&asked_by)),
                want,
                "{name}: {made_by:?} then {asked_by:?}"
            );
        }
    }

    #[test]
    fn values_do_not_wander_between_names() {
        let names: [Box<str>; 2] = ["a".into(), "b".into()];
        let one = select(&names, fields(&[("a", "x")]));
        assert!(
            !selects(&one, fields(&[("b", "x")]))
                && selects(&one, fields(&[("A", "x"), ("c", "y")]))
        );
    }

    #[test]
    fn long_values_are_compared_whole_and_kept_in_part() {
        let (long, other) = ("v".repeat(100_000), format!("{}w", "v".repeat(99_999)));
        let names: [Box<str>; 1] = ["cookie".into()];
        let selection = select(&names, fields(&[("cookie", &long)]));
        assert!(
            selects(&selection, fields(&[("cookie", &long)]))
                && !selects(&selection, fields(&[("cookie", &other)]))
        );
        assert!(selection.bytes() < 500, "{}", selection.bytes());
        assert_eq!(selection.shown().next().unwrap().1.unwrap().len(), SHOWN);
    }
}

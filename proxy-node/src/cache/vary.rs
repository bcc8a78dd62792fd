//! Which of several stored responses a request selects (RFC 9111 §4.1).

/// The request fields that select one variant, with the values that the request had which made it. A field that was missing is `None`.
pub type Selection = Vec<(Box<str>, Option<Box<[u8]>>)>;

/// The values of `names` in a request.
pub fn select<'a>(names: &[Box<str>], fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Selection {
    names.iter().map(|name| (name.clone(), normalised(name, fields.clone()).map(Into::into))).collect()
}

/// Whether a request selects the variant.
pub fn selects<'a>(selection: &Selection, fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> bool {
    selection.iter().all(|(name, want)| normalised(name, fields.clone()).as_deref() == want.as_deref())
}

/// A field's value with what cannot matter taken out: several lines are one list, blanks around commas go. Accept-Encoding, whose order and
/// case mean nothing either, is sorted and in lower case, so that the spellings of browsers share a variant.
fn normalised<'a>(name: &str, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Vec<u8>> {
    let mut items: Option<Vec<Vec<u8>>> = None;
    for (_, value) in fields.filter(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())) {
        items.get_or_insert_default().extend(super::directives::elements(value).map(<[u8]>::to_vec));
    }
    let mut items = items?;
    if name == "accept-encoding" {
        for item in &mut items {
            item.make_ascii_lowercase();
            item.retain(|byte| !byte.is_ascii_whitespace());
        }
        items.sort();
        items.dedup();
    }
    Some(items.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<'a>(list: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
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
            ("accept-encoding", vec![("Accept-Encoding", "gzip, br")], vec![("accept-encoding", "BR,gzip")], true),
            ("accept-encoding", vec![("Accept-Encoding", "gzip;q=1")], vec![("accept-encoding", "gzip; q=1")], true),
            ("accept-encoding", vec![("Accept-Encoding", "gzip")], vec![], false),
            ("cookie", vec![("Cookie", "a=1")], vec![("Cookie", "a=2")], false),
        ] {
            let selection = select(&[name.into()], fields(&made_by));
            assert_eq!(selects(&selection, fields(&asked_by)), want, "{name}: {made_by:?} then {asked_by:?}");
        }
    }
}

//! Which stored responses a request to the origin asks of, and which one a 304 confirms (RFC 9111
//! §4.3.1, §4.3.3, §4.3.4).

/// Variants of one URL whose entity tags are sent along, and bytes of these tags.
const MOST: usize = 8;
const MOST_BYTES: usize = 1024;

/// The entity tags as one If-None-Match (RFC 9111 §4.3.1), as far as there is room for them.
/// `None`: there are none. Tells how many they are.
pub fn any_of<'a>(tags: impl Iterator<Item = &'a [u8]>) -> Option<(Vec<u8>, usize)> {
    let (mut value, mut count) = (Vec::new(), 0);
    for tag in tags.take(MOST) {
        if value.len() + tag.len() > MOST_BYTES {
            break;
        }
        if count > 0 {
            value.extend_from_slice(b", ");
        }
        value.extend_from_slice(tag);
        count += 1;
    }
    (count > 0).then_some((value, count))
}

/// Which of those that were asked of a 304 confirms (RFC 9111 §4.3.3, §4.3.4): that which it names,
/// or the only one where it names none. One that has no tag was asked of by its date, and only
/// alone.
#[must_use]
pub fn confirmed(asked_of: &[Option<&[u8]>], named: Option<&[u8]>) -> Option<usize> {
    let Some(named) = named else { return (asked_of.len() == 1).then_some(0) };
    let opaque = |tag: &'_ [u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
    match asked_of {
        [None] => Some(0),
        _ => asked_of.iter().position(|tag| tag.is_some_and(|it| opaque(it) == opaque(named))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_304_confirms() {
        let (a, b): (Option<&[u8]>, Option<&[u8]>) = (Some(b"\"a\""), Some(b"W/\"b\""));
        for (asked_of, named, want) in [
            (&[a][..], None, Some(0)),
            (&[a], Some(&b"\"a\""[..]), Some(0)),
            (&[a], Some(b"W/\"a\""), Some(0)),
            (&[a], Some(b"\"c\""), None),
            (&[None], Some(b"\"c\""), Some(0)),
            (&[a, b], Some(b"\"b\""), Some(1)),
            (&[a, b], Some(b"\"c\""), None),
            (&[a, b], None, None),
            (&[], Some(b"\"a\""), None),
            (&[], None, None),
        ] {
            assert_eq!(confirmed(asked_of, named), want, "{asked_of:?} {named:?}");
        }
    }

    #[test]
    fn tags_are_sent_along_as_far_as_there_is_room() {
        let any_of = |tags: &[&str]| {
            let (value, count) = any_of(tags.iter().map(|tag| tag.as_bytes()))?;
            Some((String::from_utf8(value).expect("text"), count))
        };
        assert_eq!(any_of(&[]), None);
        assert_eq!(any_of(&["\"a\"", "W/\"b\""]), Some(("\"a\", W/\"b\"".to_owned(), 2)));
        assert_eq!(any_of(&["\"a\""; 100]).map(|it| it.1), Some(MOST));
        let long = format!("\"{}\"", "x".repeat(600));
        assert_eq!(any_of(&[&long, &long]).map(|it| it.1), Some(1));
        assert_eq!(any_of(&[&"x".repeat(2000)]), None);
    }
}

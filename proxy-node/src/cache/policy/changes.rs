//! What answers that are not stored themselves mean for what is stored: to unsafe methods (RFC 9111
//! §4.4) and to HEAD (§4.3.5).

use crate::cache::facts::{RequestFacts, ResponseFacts};

use super::{
    freshness::Freshness,
    storing::{NotStored, storable},
};

/// Whether an answer to an unsafe method makes what is stored for its URL doubtful (RFC 9111
/// §4.4).
#[must_use]
pub fn invalidates(method: &[u8], status: u16) -> bool {
    !matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE") && (200..400).contains(&status)
}

/// By what a representation is told from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub etag: Option<&'a [u8]>,
    /// Last-Modified, in Unix seconds.
    pub last_modified: Option<u64>,
    /// Bytes of the body.
    pub length: Option<u64>,
}

/// What the answer to a HEAD says of what is stored for a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadSays {
    /// Nothing.
    Nothing,
    /// A GET would get the same.
    Same,
    /// A GET would get something else.
    Other,
}

/// Compares what is stored with the answer to a HEAD (RFC 9111 §4.3.5): what that names must be
/// the same, a validator at the least.
#[must_use]
pub fn head_says(stored: Identity<'_>, status: u16, answer: Identity<'_>) -> HeadSays {
    let differ = answer.etag.is_some_and(|etag| stored.etag != Some(etag))
        || answer.last_modified.is_some_and(|date| stored.last_modified != Some(date))
        || answer.length.is_some_and(|length| stored.length.is_some_and(|it| it != length));
    if status != 200 {
        HeadSays::Nothing
    } else if differ {
        HeadSays::Other
    } else if answer.etag.is_some() || answer.last_modified.is_some() {
        HeadSays::Same
    } else {
        HeadSays::Nothing
    }
}

/// Whether the answer to a POST may answer a later GET (RFC 9110 §9.3.3): it says itself how long
/// it lives, and, by a Content-Location that is the target, that a GET would get the same. Whether
/// that is so is `of_target`.
///
/// # Errors
/// It may not.
pub fn storable_posted(
    request: &RequestFacts,
    response: &ResponseFacts,
    freshness: &Freshness,
    of_target: bool,
) -> Result<(), NotStored> {
    let explicit = response.directives.is_explicit() || response.expires.is_some();
    let lives = freshness.lifetime > freshness.initial_age;
    if response.status != 200 || !of_target || !explicit || !lives {
        return Err(NotStored::Method);
    }
    storable(&request.as_plain_get(), response, freshness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::policy::Times;

    const STORED: Identity<'static> =
        Identity { etag: Some(b"\"a\""), last_modified: Some(7), length: Some(3) };
    const NOTHING: Identity<'static> = Identity { etag: None, last_modified: None, length: None };

    #[test]
    fn a_head_is_compared_by_what_it_names() {
        let other = Identity { etag: Some(b"\"b\""), ..STORED };
        let later = Identity { last_modified: Some(8), ..STORED };
        let longer = Identity { length: Some(4), ..STORED };
        for (answer, status, want) in [
            (STORED, 200, HeadSays::Same),
            (Identity { length: None, ..STORED }, 200, HeadSays::Same),
            (Identity { etag: None, length: None, ..STORED }, 200, HeadSays::Same),
            (Identity { etag: None, last_modified: None, ..STORED }, 200, HeadSays::Nothing),
            (NOTHING, 200, HeadSays::Nothing),
            (other, 200, HeadSays::Other),
            (later, 200, HeadSays::Other),
            (longer, 200, HeadSays::Other),
            (Identity { etag: None, last_modified: None, ..longer }, 200, HeadSays::Other),
            (other, 404, HeadSays::Nothing),
            (STORED, 304, HeadSays::Nothing),
            (other, 503, HeadSays::Nothing),
        ] {
            assert_eq!(head_says(STORED, status, answer), want, "{answer:?} {status}");
        }
        assert_eq!(head_says(NOTHING, 200, STORED), HeadSays::Other, "it had no validator");
        let unknown = Identity { length: None, ..STORED };
        assert_eq!(head_says(unknown, 200, STORED), HeadSays::Same);
    }

    #[test]
    fn what_a_post_may_leave_behind() {
        let times = Times { asked_at: 0, received_at: 0, wall: 1_800_000_000 };
        let lives: &[(&str, &str)] = &[("Cache-Control", "max-age=60")];
        let facts = |fields: &[(&str, &str)], status| {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            ResponseFacts::new(status, fields)
        };
        let request = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            RequestFacts::new(b"POST", true, fields)
        };
        let expires: &[(&str, &str)] = &[("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")];
        for (asked, fields, status, of_target, want) in [
            (&[][..], lives, 200, true, true),
            (&[], &[("Cache-Control", "s-maxage=60")], 200, true, true),
            (&[], expires, 200, true, true),
            (&[("Range", "bytes=0-1"), ("If-None-Match", "*")], lives, 200, true, true),
            (&[], lives, 200, false, false),
            (&[], lives, 201, true, false),
            (&[], lives, 500, true, false),
            (&[], &[("Cache-Control", "max-age=0"), ("ETag", "\"a\"")], 200, true, false),
            (&[], &[("Cache-Control", "public"), ("ETag", "\"a\"")], 200, true, false),
            (&[], &[("Cache-Control", "max-age=60, private")], 200, true, false),
            (&[], &[("Cache-Control", "max-age=60, no-store")], 200, true, false),
            (&[], &[("Cache-Control", "max-age=60"), ("Vary", "*")], 200, true, false),
            (&[("Cache-Control", "no-store")], lives, 200, true, false),
            (&[("Authorization", "x")], lives, 200, true, false),
        ] {
            let response = facts(fields, status);
            let freshness = Freshness::new(&response, b"http://h/", None, times);
            let may = storable_posted(&request(asked), &response, &freshness, of_target);
            assert_eq!(may.is_ok(), want, "{asked:?} {fields:?} {status} {of_target}");
        }
    }
}

//! The head of an answer as it is stored.

use bytes::Bytes;
use relay::{field::Field, framing::BodyFraming, head::ResponseHead, rewrite::BodyFields};

use crate::relay::begin_response;

const SET_COOKIE: &[u8] = b"set-cookie";

/// The head as it is kept: hygiene applied, our Via added, a Date in any case; without framing,
/// Age, Content-Range, Set-Cookie, and the empty line.
pub(in crate::fetch) fn stored_head(
    head: &ResponseHead,
    bytes: &Bytes,
    pseudonym: &str,
) -> Vec<u8> {
    let mut written = Vec::new();
    let mut writer = begin_response(
        &mut written,
        head.view(bytes),
        BodyFields::Set(BodyFraming::Empty),
        pseudonym,
    );
    if !head.has(Field::Date) {
        // RFC 9110 §6.6.1.
        writer.field("Date", &relay::date::http_date(relay::clock::wall()));
    }
    writer.finish();
    let mut kept = Vec::with_capacity(written.len());
    let mut lines = written.split_inclusive(|byte| *byte == b'\n');
    kept.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"age")
            && !name.eq_ignore_ascii_case(SET_COOKIE)
            && !name.eq_ignore_ascii_case(b"content-range")
            && line != b"\r\n"
        {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// The values of Set-Cookie, a line each. They are for whoever asked, and not stored.
pub(super) fn cookies(head: &ResponseHead, bytes: &Bytes) -> Bytes {
    let mut cookies = Vec::new();
    for (_, value) in lines(head, bytes).filter(|(name, _)| name.eq_ignore_ascii_case(SET_COOKIE)) {
        cookies.extend_from_slice(value);
        cookies.push(b'\n');
    }
    cookies.into()
}

pub(in crate::fetch) fn lines<'a>(
    head: &'a ResponseHead,
    bytes: &'a Bytes,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    head.view(bytes).fields().map(|line| (line.name, line.value))
}

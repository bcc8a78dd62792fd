//! What the cache makes of an exchange: Cache-Control, Date, Expires, Age, Vary, Range and
//! validators, from a request head and a response head.

use proxy_node::cache::{
    facts::{RequestFacts, ResponseFacts, Vary, http_date, http_date_text},
    policy::{self, Freshness, Times, Trouble},
    vary,
};

use super::{request, response};
use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "cache",
    check,
    words: &[
        b"Cache-Control: ",
        b"no-store",
        b"no-cache",
        b"private",
        b"public",
        b"max-age=",
        b"s-maxage=",
        b"max-stale",
        b"min-fresh=",
        b"stale-if-error=",
        b"=\"x, y\"",
        b"must-revalidate",
        b"only-if-cached",
        b", ",
        b"Vary: ",
        b"*",
        b"accept-encoding",
        b"Date: ",
        b"Expires: ",
        b"Last-Modified: ",
        b"If-Modified-Since: ",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b"Fri, 31 Dec 9999 23:59:59 GMT",
        b"Age: ",
        b"ETag: ",
        b"W/\"a\"",
        b"\"",
        b"Range: bytes=0-1\r\n",
        b"Content-Range: bytes 0-1/2\r\n",
        b"Authorization: Basic YTpi\r\n",
        b"Set-Cookie: a=b\r\n",
        b"18446744073709551615",
        b"4294967296",
        b"\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"If-None-Match: *\r\n",
    ],
    executions: 30_000,
};

/// One pair of a field's name and value.
type Line<'a> = (&'a [u8], &'a [u8]);

fn check(bytes: &[u8]) {
    let Some(asked) = request(bytes) else { return };
    let rest = &bytes[asked.len()..];
    let Some(answered) = response(rest) else { return };
    let (request, response) = (asked.view(bytes), answered.view(rest));
    let fields: Vec<Line<'_>> = request.fields().map(|line| (line.name, line.value)).collect();
    let answers: Vec<Line<'_>> = response.fields().map(|line| (line.name, line.value)).collect();
    let body = !asked.framing().is_empty();
    let from = RequestFacts::new(request.method_text().as_bytes(), body, fields.iter().copied());
    let to = ResponseFacts::new(answered.status(), answers.iter().copied());

    // RFC 9110 §5.3: several lines of a list mean what one line means that joins them. (Not where a
    // quoted string is left open.)
    let joined =
        |lines: &[Line<'_>]| (!contains(lines, b'"')).then(|| join(lines, b"cache-control"));
    if let Some(joined) = joined(&fields) {
        let again = RequestFacts::new(
            request.method_text().as_bytes(),
            body,
            joined.iter().map(|(name, value)| (&name[..], &value[..])),
        );
        assert_eq!(again.directives, from.directives, "request directives on one line");
    }
    if let Some(joined) = joined(&answers) {
        let again = ResponseFacts::new(
            answered.status(),
            joined.iter().map(|(name, value)| (&name[..], &value[..])),
        );
        assert_eq!(again.directives, to.directives, "response directives on one line");
    }
    if let Some(date) = to.date {
        assert_eq!(
            http_date(http_date_text(date).as_bytes()),
            Some(date),
            "a date is written as it was read"
        );
    }
    if let Vary::Fields(names) = &to.vary {
        let selection = vary::select(names, fields.iter().copied());
        assert!(
            vary::selects(&selection, fields.iter().copied()),
            "a response is selected by the request that it answered"
        );
    }
    for (asked_at, received_at, wall) in
        [(0, 0, 0), (100, 105, 784_111_777), (7, u64::MAX, u64::MAX), (u64::MAX, 0, 1)]
    {
        decide(
            &from,
            &to,
            &answers,
            request.target_text().as_bytes(),
            Times { asked_at, received_at, wall },
        );
    }
}

fn decide(from: &RequestFacts, to: &ResponseFacts, answers: &[Line<'_>], url: &[u8], times: Times) {
    let freshness = Freshness::new(to, url, None, times);
    let stored = policy::eligible(from).is_ok() && policy::storable(from, to, &freshness).is_ok();
    if stored {
        // RFC 9111 §5.2.2.3: who knows what a status asks of caches overlooks no-store.
        let understood = says(answers, "must-understand");
        for forbidden in ["no-store", "private"] {
            assert!(
                (understood && forbidden == "no-store") || !says(answers, forbidden),
                "stored in spite of {forbidden}"
            );
        }
        assert!(
            from.get
                && !from.range
                && !from.body
                && to.vary != Vary::Anything
                && !matches!(to.status, 206 | 304)
        );
    }
    for now in [0, times.received_at, times.received_at.saturating_add(1000), u64::MAX] {
        let strict = freshness.directives.forbids_stale();
        if let Ok(age) = policy::usable(&freshness, &from.directives, now) {
            assert_eq!(age, freshness.age(now));
            assert!(
                age < freshness.lifetime || (!strict && from.directives.max_stale.is_some()),
                "served stale without leave"
            );
            assert!(
                !freshness.directives.no_cache
                    && from.directives.max_age.is_none_or(|most| age <= most)
            );
        }
        for trouble in [Trouble::Unreachable, Trouble::ServerError] {
            assert!(
                !(strict
                    && policy::may_stand_in(&freshness, &from.directives, now, trouble, 86_400)),
                "stale in spite of must-revalidate"
            );
        }
    }
}

/// Whether a Cache-Control without quoted strings names the directive, in the plainest reading.
fn says(lines: &[Line<'_>], directive: &str) -> bool {
    let ours = lines.iter().filter(|(name, value)| {
        name.eq_ignore_ascii_case(b"cache-control") && !value.contains(&b'"')
    });
    ours.flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|entry| entry.trim_ascii().eq_ignore_ascii_case(directive.as_bytes()))
}

fn contains(lines: &[Line<'_>], byte: u8) -> bool {
    lines.iter().any(|(_, value)| value.contains(&byte))
}

/// The lines with all of one name joined into one.
fn join(lines: &[Line<'_>], wanted: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (ours, mut others): (Vec<_>, Vec<_>) = lines
        .iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .partition(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !ours.is_empty() {
        let values: Vec<Vec<u8>> = ours.into_iter().map(|(_, value)| value).collect();
        others.push((wanted.to_vec(), values.join(&b", "[..])));
    }
    others
}

//! RFC 9111, case by case.

use std::time::Duration;

use regex::bytes::Regex;

use super::{freshness::HEURISTIC_MAX, *};
use crate::cache::facts::{ResponseFacts, http_date_text};

/// Names and values.
type Fields<'a> = Vec<(&'a str, &'a str)>;

const LIVES: (&str, &str) = ("Cache-Control", "max-age=60");
const TAG: (&str, &str) = ("ETag", "\"a\"");
const PART: (&str, &str) = ("Content-Range", "bytes 0-2/9");

/// "Now" of these tests, in Unix seconds.
const NOW: u64 = 1_800_000_000;
const AT_ONCE: Times = Times { asked_at: NOW, received_at: NOW, wall: NOW };

fn facts(status: u16, fields: &[(&str, &str)]) -> ResponseFacts {
    ResponseFacts::new(
        status,
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

fn request(fields: &[(&str, &str)]) -> RequestFacts {
    RequestFacts::new(
        b"GET",
        false,
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

fn freshness(response: &ResponseFacts) -> Freshness {
    Freshness::new(response, b"http://h/x", None, AT_ONCE)
}

#[test]
fn lifetimes() {
    let date = http_date_text(NOW);
    let in_an_hour = http_date_text(NOW + 3600);
    let days_ago = http_date_text(NOW - 10 * 86_400);
    let years_ago = http_date_text(NOW - 4000 * 86_400);
    let cases: Vec<(Fields<'_>, u64, Source)> = vec![
        (vec![("Cache-Control", "max-age=10, s-maxage=20")], 20, Source::SharedMaxAge),
        (vec![("Cache-Control", "max-age=10"), ("Expires", &in_an_hour)], 10, Source::MaxAge),
        (vec![("Expires", &in_an_hour), ("Date", &date)], 3600, Source::Expires),
        (vec![("Expires", &in_an_hour)], 3600, Source::Expires),
        (vec![("Expires", "0"), ("Last-Modified", &days_ago)], 0, Source::Expires),
        (vec![("Last-Modified", &days_ago), ("Date", &date)], 86_400, Source::Heuristic),
        (vec![("Last-Modified", &years_ago)], HEURISTIC_MAX, Source::Heuristic),
        (vec![], 0, Source::Unknown),
    ];
    for (fields, lifetime, source) in cases {
        let found = freshness(&facts(200, &fields));
        assert_eq!((found.lifetime, found.source), (lifetime, source), "{fields:?}");
    }
    let guessed = facts(200, &[("Last-Modified", &days_ago)]);
    assert_eq!(
        Freshness::new(&guessed, b"http://h/x?q", None, AT_ONCE).lifetime,
        0,
        "a query is not guessed at"
    );
    assert_eq!(
        freshness(&facts(302, &[("Last-Modified", &days_ago)])).lifetime,
        0,
        "302 is not heuristically cacheable"
    );
}

#[test]
fn a_pattern_means_a_query_only_if_it_names_one() {
    for (regex, url, want) in [
        (r"\.deb$", "http://h/a.deb", true),
        (r"\.deb$", "http://h/personal?x.deb", false),
        (r"\.deb$", "http://h/a.deb?x.deb", false),
        (r".*", "http://h/a?b", false),
        (r"a?b", "http://h/a?b", false),
        (r"(?i)\.DEB$", "http://h/a.deb", true),
        (r"(?i)\.DEB$", "http://h/?a.deb", false),
        (r"\.deb(\?.*)?$", "http://h/a.deb?v=1", true),
        (r"\.deb(\?.*)?$", "http://h/a.deb", true),
        (r"\.deb[?]v=", "http://h/a.deb?v=1", true),
        (r"\\?x", "http://h/a?x", false),
    ] {
        let every = Duration::from_secs(60);
        let pattern = RefreshPattern {
            url: Regex::new(regex).unwrap(),
            query: names_query(regex),
            min: every,
            percent: 0,
            max: every,
            overrides: Overrides::default(),
        };
        assert_eq!(pattern.applies(url.as_bytes()), want, "{regex} on {url}");
    }
}

#[test]
fn ages() {
    let date = http_date_text(NOW - 30);
    for (fields, asked_at, want) in [
        (vec![("Age", "7")], NOW, 7),
        (vec![("Age", "7")], NOW - 5, 12),
        (vec![("Date", date.as_str())], NOW, 30),
        (vec![("Date", date.as_str()), ("Age", "100")], NOW - 1, 101),
        (vec![("Age", "-4")], NOW, 0),
        (vec![("Age", "x")], NOW, 0),
        (vec![("Age", "7"), ("Age", "100")], NOW, 100),
        (vec![("Age", "100, 7")], NOW, 100),
        (vec![("Age", "7, 100")], NOW, 100),
        (vec![("Age", "100.5")], NOW, 100),
        (vec![("Age", "100;x=1")], NOW, 100),
        (vec![("Age", "99999999999999999999999")], NOW, 1 << 31),
    ] {
        let found = Freshness::new(&facts(200, &fields), b"", None, Times { asked_at, ..AT_ONCE });
        assert_eq!(found.initial_age, want, "{fields:?}");
        assert_eq!(found.age(NOW + 50), want + 50);
        assert_eq!(found.age(NOW - 50), want, "a clock that goes back makes nothing younger");
    }
}

#[test]
fn a_wall_clock_that_was_set_changes_no_age() {
    // Set forward or back by an hour since the process started: the Date is the wall clock's, what
    // passes afterwards is not.
    for wall in [NOW + 3600, NOW - 3600] {
        let date = http_date_text(wall - 30);
        let times = Times { wall, ..AT_ONCE };
        let found = Freshness::new(
            &facts(200, &[("Date", date.as_str()), ("Cache-Control", "max-age=60")]),
            b"",
            None,
            times,
        );
        assert_eq!((found.initial_age, found.age(NOW + 31), found.lifetime), (30, 61, 60));
    }
}

#[test]
fn what_may_be_stored() {
    let large = "x".repeat(5000);
    let changed = http_date_text(NOW - 100_000);
    let changed = changed.as_str();
    let cases: Vec<(Fields<'_>, u16, Fields<'_>, Result<(), NotStored>)> = vec![
        (vec![], 200, vec![("Cache-Control", "max-age=60")], Ok(())),
        (vec![], 200, vec![("Last-Modified", changed)], Ok(())),
        (vec![], 200, vec![("ETag", "\"a\"")], Ok(())),
        (vec![], 200, vec![], Err(NotStored::Useless)),
        (vec![], 200, vec![("Cache-Control", "max-age=0")], Err(NotStored::Useless)),
        (vec![], 200, vec![("Cache-Control", "max-age=0"), ("ETag", "\"a\"")], Ok(())),
        (vec![], 200, vec![("Cache-Control", "max-age=60, no-store")], Err(NotStored::NoStore)),
        (vec![], 200, vec![("Cache-Control", "max-age=60, private")], Err(NotStored::Private)),
        (
            vec![],
            200,
            vec![("Cache-Control", "private=\"set-cookie\", max-age=60")],
            Err(NotStored::Private),
        ),
        (vec![], 200, vec![("Cache-Control", "no-cache, max-age=60"), ("ETag", "\"a\"")], Ok(())),
        (vec![], 200, vec![("Cache-Control", "no-cache, max-age=60")], Err(NotStored::Useless)),
        (
            vec![("Authorization", "x")],
            200,
            vec![("Cache-Control", "max-age=60")],
            Err(NotStored::Authorization),
        ),
        (vec![("Authorization", "x")], 200, vec![("Cache-Control", "max-age=60, public")], Ok(())),
        (
            vec![("Authorization", "x")],
            200,
            vec![("Cache-Control", "max-age=60, must-revalidate")],
            Ok(()),
        ),
        (vec![("Authorization", "x")], 200, vec![("Cache-Control", "s-maxage=60")], Ok(())),
        (
            vec![],
            200,
            vec![("Cache-Control", "max-age=60"), ("Vary", "*")],
            Err(NotStored::VaryAnything),
        ),
        (
            vec![],
            200,
            vec![("Cache-Control", "max-age=60"), ("Vary", "Accept, X-Forwarded-For")],
            Err(NotStored::VaryAnything),
        ),
        (vec![], 200, vec![("Cache-Control", "max-age=60"), ("Vary", "Accept")], Ok(())),
        (
            vec![],
            200,
            vec![("Last-Modified", changed), ("Set-Cookie", "a=b")],
            Err(NotStored::Cookie),
        ),
        (vec![], 200, vec![("Cache-Control", "public, max-age=9"), ("Set-Cookie", "a=b")], Ok(())),
        (vec![], 206, vec![("Cache-Control", "max-age=60")], Err(NotStored::Status)),
        (vec![], 400, vec![LIVES], Ok(())),
        (vec![("X", large.as_str())], 400, vec![LIVES], Err(NotStored::Blames)),
        (vec![("X", large.as_str())], 200, vec![LIVES], Ok(())),
        (vec![], 413, vec![LIVES], Err(NotStored::Blames)),
        (vec![], 428, vec![LIVES], Err(NotStored::Blames)),
        (vec![], 429, vec![LIVES], Err(NotStored::Blames)),
        (vec![], 431, vec![LIVES], Err(NotStored::Blames)),
        (vec![], 511, vec![LIVES], Err(NotStored::Blames)),
        (vec![], 414, vec![LIVES], Ok(())),
        (vec![], 405, vec![LIVES], Ok(())),
        (vec![("Range", "bytes=0-2")], 206, vec![LIVES, TAG, PART], Ok(())),
        (vec![("Range", "bytes=0-2")], 206, vec![TAG, PART], Err(NotStored::Useless)),
        (vec![("Range", "bytes=0-2")], 206, vec![LIVES, PART], Err(NotStored::Part)),
        (
            vec![("Range", "bytes=0-2")],
            206,
            vec![LIVES, ("ETag", "W/\"a\""), PART],
            Err(NotStored::Part),
        ),
        (
            vec![("Range", "bytes=0-2")],
            206,
            vec![LIVES, TAG, ("Content-Range", "bytes 0-2/*")],
            Err(NotStored::Part),
        ),
        (
            vec![("Range", "bytes=0-2")],
            206,
            vec![LIVES, TAG, PART, ("Cache-Control", "private")],
            Err(NotStored::Private),
        ),
        (vec![("Range", "bytes=0-2")], 200, vec![LIVES], Ok(())),
        (vec![("Range", "bytes=0-2")], 200, vec![LIVES, PART], Err(NotStored::Method)),
        (vec![("Range", "bytes=0-2")], 416, vec![LIVES], Err(NotStored::Method)),
        (vec![("Range", "bytes=0-2")], 404, vec![LIVES], Err(NotStored::Method)),
        (vec![], 304, vec![("Cache-Control", "max-age=60")], Err(NotStored::Status)),
        (
            vec![],
            200,
            vec![("Cache-Control", "max-age=60"), ("Content-Range", "bytes 0-1/2")],
            Err(NotStored::Status),
        ),
        (vec![], 302, vec![("Cache-Control", "max-age=60")], Ok(())),
        (vec![], 200, vec![("Cache-Control", "max-age=60, no-store, must-understand")], Ok(())),
        (
            vec![],
            299,
            vec![("Cache-Control", "max-age=60, must-understand")],
            Err(NotStored::NotUnderstood),
        ),
        (vec![], 299, vec![("Cache-Control", "max-age=60")], Ok(())),
        (vec![], 299, vec![("Last-Modified", changed)], Err(NotStored::Status)),
        (vec![], 200, vec![("Cache-Control", "max-age=0, stale-if-error=9")], Ok(())),
        (vec![], 200, vec![("Cache-Control", "max-age=0, stale-while-revalidate=9")], Ok(())),
        (
            vec![],
            200,
            vec![("Cache-Control", "max-age=0, stale-if-error=9, must-revalidate")],
            Err(NotStored::Useless),
        ),
        (vec![], 302, vec![], Err(NotStored::Status)),
        (vec![], 404, vec![("Last-Modified", changed)], Ok(())),
        (vec![], 500, vec![], Err(NotStored::Status)),
        (vec![("Range", "bytes=0-1")], 200, vec![("Cache-Control", "max-age=60")], Ok(())),
        (
            vec![("Cache-Control", "no-store")],
            200,
            vec![("Cache-Control", "max-age=60")],
            Err(NotStored::Method),
        ),
    ];
    for (asked, status, fields, want) in cases {
        let response = facts(status, &fields);
        assert_eq!(
            storable(&request(&asked), &response, &freshness(&response)),
            want,
            "{asked:?} {status} {fields:?}"
        );
    }
}

#[test]
fn what_may_be_served() {
    let cases: [(&str, u64, &str, Result<u64, Unfit>); 16] = [
        ("max-age=60", 59, "", Ok(59)),
        ("max-age=60", 60, "", Err(Unfit::Stale)),
        ("max-age=60", 10, "no-cache", Err(Unfit::Reload)),
        ("max-age=60, no-cache", 10, "", Err(Unfit::NoCache)),
        ("max-age=60", 10, "max-age=10", Ok(10)),
        ("max-age=60", 11, "max-age=10", Err(Unfit::TooOld)),
        ("max-age=60", 0, "max-age=0", Err(Unfit::TooOld)),
        ("max-age=60", 40, "min-fresh=20", Ok(40)),
        ("max-age=60", 41, "min-fresh=20", Err(Unfit::MinFresh)),
        ("max-age=60", 70, "max-stale", Ok(70)),
        ("max-age=60", 70, "max-stale=10", Ok(70)),
        ("max-age=60", 71, "max-stale=10", Err(Unfit::Stale)),
        ("max-age=60, must-revalidate", 61, "max-stale", Err(Unfit::Stale)),
        ("max-age=60, proxy-revalidate", 61, "max-stale", Err(Unfit::Stale)),
        ("s-maxage=60", 61, "max-stale", Err(Unfit::Stale)),
        ("max-age=60", 70, "max-stale, max-age=65", Err(Unfit::TooOld)),
    ];
    for (stored, after, asked, want) in cases {
        let stored_as = freshness(&facts(200, &[("Cache-Control", stored)]));
        let directives = request(&[("Cache-Control", asked)]).directives;
        assert_eq!(
            usable(&stored_as, &directives, NOW + after),
            want,
            "{stored} after {after} s, asked with {asked:?}"
        );
    }
}

#[test]
fn what_may_be_served_while_it_is_validated() {
    for (stored, after, asked, want) in [
        ("max-age=60, stale-while-revalidate=10", 60, "", true),
        ("max-age=60, stale-while-revalidate=10", 70, "", true),
        ("max-age=60, stale-while-revalidate=10", 71, "", false),
        ("max-age=60", 61, "", false),
        ("max-age=60, stale-while-revalidate=x", 61, "", false),
        ("max-age=60, stale-while-revalidate=10, must-revalidate", 61, "", false),
        ("max-age=60, stale-while-revalidate=10, proxy-revalidate", 61, "", false),
        ("max-age=60, stale-while-revalidate=10, no-cache", 61, "", false),
        ("s-maxage=60, stale-while-revalidate=10", 61, "", false),
        ("max-age=60, stale-while-revalidate=10", 61, "no-cache", false),
        ("max-age=60, stale-while-revalidate=10", 61, "max-age=100", false),
        ("max-age=60, stale-while-revalidate=10", 61, "min-fresh=1", false),
    ] {
        let stored_as = freshness(&facts(200, &[("Cache-Control", stored)]));
        let directives = request(&[("Cache-Control", asked)]).directives;
        let may = may_precede_validation(&stored_as, &directives, NOW + after);
        assert_eq!(may, want, "{stored} after {after} s with {asked:?}");
    }
}

#[test]
fn who_may_stand_in_for_an_error() {
    use Trouble::{ServerError, Unreachable};
    for (stored, after, asked, trouble, want) in [
        ("max-age=60", 61, "", Unreachable, true),
        ("max-age=60", 60 + 1000, "", Unreachable, true),
        ("max-age=60", 60 + 1001, "", Unreachable, false),
        ("max-age=60", 61, "", ServerError, false),
        ("max-age=60, stale-if-error=10", 70, "", ServerError, true),
        ("max-age=60, stale-if-error=10", 71, "", ServerError, false),
        ("max-age=60, stale-if-error=10", 71, "", Unreachable, false),
        ("max-age=60", 65, "stale-if-error=10", ServerError, true),
        ("max-age=60, must-revalidate", 61, "", Unreachable, false),
        ("max-age=60, must-revalidate, stale-if-error=100", 61, "", ServerError, false),
        ("s-maxage=60", 61, "", Unreachable, false),
        ("max-age=60", 61, "no-cache", Unreachable, false),
        ("max-age=60", 61, "max-age=60", Unreachable, false),
    ] {
        let stored_as = freshness(&facts(200, &[("Cache-Control", stored)]));
        let directives = request(&[("Cache-Control", asked)]).directives;
        assert_eq!(
            may_stand_in(&stored_as, &directives, NOW + after, trouble, 1000),
            want,
            "{stored} after {after} s with {asked:?} {trouble:?}"
        );
    }
}

#[test]
fn only_successful_unsafe_methods_invalidate() {
    for (method, status, want) in [
        ("POST", 200, true),
        ("DELETE", 302, true),
        ("PURGE", 204, true),
        ("POST", 500, false),
        ("GET", 200, false),
        ("OPTIONS", 200, false),
    ] {
        assert_eq!(invalidates(method.as_bytes(), status), want, "{method} {status}");
    }
}

#[test]
fn what_goes_past_the_cache() {
    let with = |method: &[u8], body, fields: &[(&str, &str)]| {
        eligible(&RequestFacts::new(
            method,
            body,
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        ))
    };
    assert_eq!(with(b"GET", false, &[]), Ok(()));
    assert_eq!(with(b"HEAD", false, &[("Range", "bytes=0-")]), Ok(()));
    assert_eq!(with(b"POST", false, &[]), Err(Bypass::Method));
    assert_eq!(with(b"get", false, &[]), Err(Bypass::Method), "methods are case-sensitive");
    assert_eq!(with(b"GET", true, &[]), Err(Bypass::Body));
    assert_eq!(with(b"GET", false, &[("Cache-Control", "no-store")]), Err(Bypass::NoStore));
    assert_eq!(with(b"GET", false, &[("If-Match", "\"a\"")]), Err(Bypass::Precondition));
}

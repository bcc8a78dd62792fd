use regex::bytes::Regex;

use super::*;
use crate::cache::{facts::http_date_text, policy::usable};

/// "Now" of these tests, in Unix seconds.
const NOW: u64 = 1_800_000_000;
const AT_ONCE: Times = Times { asked_at: NOW, received_at: NOW, wall: NOW };
fn pattern(overrides: Overrides) -> RefreshPattern {
    RefreshPattern {
        url: Regex::new(r"\.deb$").unwrap(),
        query: false,
        min: Duration::from_secs(100),
        percent: 80,
        max: Duration::from_secs(1000),
        overrides,
    }
}

fn request(fields: &[(&str, &str)]) -> RequestFacts {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    RequestFacts::new(b"GET", false, fields)
}

/// What is said of an answer with these fields to a request with those.
fn judged(
    overrides: Overrides,
    asked: &[(&str, &str)],
    status: u16,
    fields: &[(&str, &str)],
) -> Judgement {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let mut facts = ResponseFacts::new(status, fields);
    let patterns = [pattern(overrides)];
    let exceptions = Exceptions { patterns: &patterns, ..Exceptions::default() };
    judge(&request(asked), &mut facts, b"http://h/a.deb", &exceptions, AT_ONCE)
}

#[test]
fn lifetimes_are_squids() {
    let lastmod = Overrides { override_lastmod: true, ..NONE };
    for (overrides, changed, lifetime) in [
        (NONE, None, 100),
        (NONE, Some(0), 100),
        (NONE, Some(10), 8),
        (NONE, Some(1000), 800),
        (NONE, Some(10_000), 1000),
        (lastmod, Some(10), 100),
        (lastmod, Some(1000), 800),
        (lastmod, Some(10_000), 1000),
    ] {
        let date = changed.map(|age| http_date_text(NOW - age));
        let fields: Vec<(&str, &str)> =
            date.iter().map(|date| ("Last-Modified", date.as_str())).collect();
        let found = judged(overrides, &[], 200, &fields).freshness;
        assert_eq!((found.lifetime, found.source), (lifetime, Source::Pattern), "{changed:?}");
    }
    for status in [204, 404, 500] {
        let found = judged(NONE, &[], status, &[]).freshness;
        assert_eq!((found.lifetime, found.source), (0, Source::Unknown), "{status}");
    }
    for who in ["Cookie", "Authorization"] {
        let found = judged(NONE, &[(who, "me")], 200, &[]).freshness;
        assert_eq!(found.lifetime, 0, "nothing is guessed for who says who he is");
    }
}

#[test]
fn each_option_does_what_its_name_says_and_nothing_else() {
    type Set = fn(&mut Overrides);
    type Fields = &'static [(&'static str, &'static str)];
    type Kept = Result<u64, NotStored>;
    let no = |why: NotStored| Err(why);
    let expire: Set = |it| it.override_expire = true;
    let cases: [(Set, Fields, &str, Kept, Kept); 14] = [
        (expire, &[], "max-age=5", Ok(5), Ok(100)),
        (expire, &[], "max-age=0", no(NotStored::Useless), Ok(100)),
        (expire, &[], "max-age=500", Ok(500), Ok(500)),
        (expire, &[], "max-age=5, must-revalidate", Ok(5), Ok(5)),
        (expire, &[], "s-maxage=5", Ok(5), Ok(5)),
        (expire, &[("Cookie", "a=b")], "max-age=5", Ok(5), Ok(100)),
        (expire, &[], "private, max-age=5", no(NotStored::Private), no(NotStored::Private)),
        (|it| it.ignore_no_store = true, &[], "no-store", no(NotStored::NoStore), Ok(100)),
        (
            |it| it.ignore_no_store = true,
            &[],
            "no-store, private",
            no(NotStored::NoStore),
            no(NotStored::Private),
        ),
        (
            |it| it.ignore_auth = true,
            &[("Authorization", "me")],
            "max-age=5",
            no(NotStored::Authorization),
            Ok(5),
        ),
        (
            |it| it.ignore_auth = true,
            &[("Authorization", "me"), ("Cookie", "a=b")],
            "max-age=0",
            no(NotStored::Authorization),
            no(NotStored::Useless),
        ),
        (|it| it.store_stale = true, &[], "max-age=0", no(NotStored::Useless), Ok(0)),
        (
            |it| it.store_stale = true,
            &[],
            "no-store",
            no(NotStored::NoStore),
            no(NotStored::NoStore),
        ),
        (
            |it| it.ignore_reload = true,
            &[],
            "max-age=0",
            no(NotStored::Useless),
            no(NotStored::Useless),
        ),
    ];
    for (set, asked, cache_control, without, with) in cases {
        let fields = [("Cache-Control", cache_control)];
        let found = |overrides| {
            let Judgement { freshness, storable } = judged(overrides, asked, 200, &fields);
            storable.map(|()| freshness.lifetime)
        };
        let mut overrides = NONE;
        assert_eq!(found(overrides), without, "{cache_control} for {asked:?}");
        set(&mut overrides);
        assert_eq!(found(overrides), with, "{cache_control} for {asked:?} with {overrides:?}");
    }
}

#[test]
fn what_is_private_is_validated_before_every_use() {
    let overrides = Overrides { ignore_private: true, ..NONE };
    let said = [("Cache-Control", "private, max-age=500"), ("ETag", "\"a\"")];
    let Judgement { freshness, storable } = judged(overrides, &[], 200, &said);
    assert_eq!(storable, Ok(()));
    assert!(usable(&freshness, &request(&[]).directives, NOW).is_err());
    assert!(judged(NONE, &[], 200, &said).storable.is_err());
}

#[test]
fn what_must_be_revalidated_may_be_stale_if_the_operator_says_so() {
    let must = [("Cache-Control", "max-age=5, must-revalidate, proxy-revalidate")];
    assert!(judged(NONE, &[], 200, &must).freshness.directives.forbids_stale());
    let ignored = Overrides { ignore_must_revalidate: true, ..NONE };
    assert!(!judged(ignored, &[], 200, &must).freshness.directives.forbids_stale());
    let shared = [("Cache-Control", "s-maxage=5, must-revalidate")];
    assert!(judged(ignored, &[], 200, &shared).freshness.directives.forbids_stale());
    let longer = Overrides { override_expire: true, ..ignored };
    assert_eq!(judged(longer, &[], 200, &must).freshness.lifetime, 100);
    let authorized = judged(ignored, &[("Authorization", "me")], 200, &must).storable;
    assert_eq!(authorized, Err(NotStored::Authorization), "it was good for that alone (§3.5)");
}

#[test]
fn max_stale_bounds_what_stands_in() {
    let most = Overrides { max_stale: Some(Duration::from_secs(60)), ..NONE };
    for (said, if_error, meanwhile) in [
        ("max-age=5", Some(60), None),
        ("max-age=5, stale-if-error=10", Some(10), None),
        ("max-age=5, stale-if-error=600, stale-while-revalidate=600", Some(60), Some(60)),
    ] {
        let found = judged(most, &[], 200, &[("Cache-Control", said)]).freshness.directives;
        assert_eq!((found.stale_if_error, found.stale_while_revalidate), (if_error, meanwhile));
    }
}

#[test]
fn what_clients_want() {
    let reads = |overrides: Overrides, name, value| {
        let mut facts = request(&[(name, value)]);
        overrides.of_request(&mut facts);
        facts.directives
    };
    let reload = Overrides { ignore_reload: true, ..NONE };
    assert!(reads(NONE, "Cache-Control", "no-cache").no_cache);
    assert!(!reads(reload, "Cache-Control", "no-cache").no_cache);
    assert!(!reads(reload, "Pragma", "no-cache").no_cache);
    assert_eq!(reads(reload, "Cache-Control", "max-age=0").max_age, None);
    assert_eq!(reads(reload, "Cache-Control", "max-age=5").max_age, Some(5));
    assert!(reads(reload, "Cache-Control", "only-if-cached").only_if_cached);
    let ims = Overrides { refresh_ims: true, ..NONE };
    assert_eq!(reads(ims, "If-None-Match", "\"a\"").max_age, Some(0));
    assert_eq!(reads(ims, "Accept", "*/*").max_age, None);
}

/// What is said of an answer where the configuration says this and has no pattern.
fn excepted(
    exceptions: &Exceptions<'_>,
    (asked, url): (&[(&str, &str)], &str),
    status: u16,
    cache_control: &str,
) -> Result<u64, NotStored> {
    let field = (&b"cache-control"[..], cache_control.as_bytes());
    let mut facts = ResponseFacts::new(status, [field].into_iter());
    let judged = judge(&request(asked), &mut facts, url.as_bytes(), exceptions, AT_ONCE);
    judged.storable.map(|()| judged.freshness.lifetime)
}

#[test]
fn default_ttls_are_for_what_says_nothing_and_for_nobody_in_particular() {
    let ttl = |first, last, ttl| DefaultTtl { first, last, ttl };
    let ttls = [ttl(404, 404, 60), ttl(410, 410, 0), ttl(400, 599, 5), ttl(200, 299, 7)];
    let exceptions = Exceptions { default_ttls: &ttls, ..Exceptions::default() };
    let plain = "http://h/a";
    for (asked, url, status, said, want) in [
        (&[][..], plain, 404, "", Ok(60)),
        (&[], plain, 410, "", Err(NotStored::Useless)),
        (&[], plain, 403, "", Ok(5)),
        (&[], plain, 503, "", Ok(5)),
        (&[], plain, 200, "", Ok(7)),
        (&[], plain, 302, "", Err(NotStored::Status)),
        (&[], "http://h/a?b", 200, "", Err(NotStored::Useless)),
        (&[], "http://h/a?b", 404, "", Ok(60)),
        (&[], plain, 404, "max-age=1", Ok(1)),
        (&[], plain, 404, "max-age=0", Err(NotStored::Useless)),
        (&[], plain, 503, "no-store", Err(NotStored::NoStore)),
        (&[], plain, 503, "private", Err(NotStored::Private)),
        (&[("Cookie", "a=b")], plain, 404, "", Err(NotStored::Useless)),
        (&[("Cookie", "a=b")], plain, 503, "", Err(NotStored::Status)),
        (&[("Authorization", "me")], plain, 404, "", Err(NotStored::Authorization)),
    ] {
        assert_eq!(excepted(&exceptions, (asked, url), status, said), want, "{status} {said}");
    }
}

#[test]
fn who_may_share_what_somebody_got_by_his_credentials() {
    let me = [("Authorization", "me")];
    for (authorization, said, shared) in [
        (Authorization::Rfc9111, "max-age=5", false),
        (Authorization::Rfc9111, "max-age=5, public", true),
        (Authorization::Rfc9111, "s-maxage=5", true),
        (Authorization::Rfc9111, "max-age=5, must-revalidate", true),
        (Authorization::Public, "max-age=5, public", true),
        (Authorization::Public, "s-maxage=5", false),
        (Authorization::Public, "max-age=5, must-revalidate", false),
        (Authorization::Never, "max-age=5, public", false),
    ] {
        let exceptions = Exceptions { authorization, ..Exceptions::default() };
        let found = excepted(&exceptions, (&me, "http://h/a"), 200, said);
        assert_eq!(found.is_ok(), shared, "{authorization:?}: {said}");
        assert!(excepted(&exceptions, (&[], "http://h/a"), 200, said).is_ok());
    }
}

#[test]
fn what_has_its_digest_in_its_url_lives_for_ever_unless_it_may_not_be_kept() {
    let exceptions = Exceptions { immutable: true, ..Exceptions::default() };
    for (status, said, want) in [
        (200, "", Ok(FOR_EVER)),
        (200, "max-age=5", Ok(FOR_EVER)),
        (200, "no-store", Err(NotStored::NoStore)),
        (200, "private, max-age=5", Err(NotStored::Private)),
        (404, "", Err(NotStored::Useless)),
    ] {
        assert_eq!(
            excepted(&exceptions, (&[], "http://h/a"), status, said),
            want,
            "{status} {said}"
        );
    }
}

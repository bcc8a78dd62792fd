//! What is planned, for what is stored and what is asked.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::cache::{
    budget::Budget,
    content::{Content, memory::Body},
    directives::ResponseDirectives,
    facts::ResponseFacts,
    key::Key,
    object::Parts,
    policy::{Freshness, Source},
    vary::Selection,
};

/// In steady milliseconds.
const NOW: u64 = 100_000;

fn cache() -> Cache {
    Cache {
        disk: 0,
        memory: 1 << 20,
        max_object_size: 1 << 20,
        collapsed_forwarding: true,
        owners: false,
        follow_timeout: Duration::from_secs(2),
        range_offset_limit: 1000,
        quick_abort: None,
        store_until_close: false,
        stale_if_unreachable: Duration::from_secs(24 * 3600),
        targeted_fields: vec![],
        vary_normalized: vec!["accept-encoding".into()],
        refresh_patterns: vec![],
        policy: Default::default(),
        purge: Default::default(),
    }
}

/// What is stored: `age` of a lifetime of 60 s, and a body that has arrived up to `length` of
/// 10,000 bytes, last at `progress`.
struct Stored {
    age: u64,
    validator: bool,
    length: usize,
    progress: u64,
}

const FRESH: Stored = Stored { age: 10, validator: true, length: 10_000, progress: NOW };
const STALE: Stored = Stored { age: 70, ..FRESH };
const GROWING: Stored = Stored { length: 3000, ..FRESH };
const HALTED: Stored = Stored { progress: NOW - 2001, ..GROWING };

impl Stored {
    fn object(&self) -> Arc<Object> {
        let budget = Budget::new(1 << 20);
        let body = Body::new(&budget);
        body.append(&vec![b'x'; self.length], None, |size| budget.try_hold(size));
        body.note_progress(self.progress);
        if self.length == 10_000 {
            body.complete();
        }
        let etag = self.validator.then(|| Bytes::from_static(b"\"a\""));
        let facts = ResponseFacts { status: 200, etag, ..ResponseFacts::default() };
        let freshness = Freshness {
            lifetime: 60,
            source: Source::MaxAge,
            initial_age: 0,
            received_at: NOW / 1000 - self.age,
            directives: ResponseDirectives::default(),
        };
        let parts = Parts {
            key: Key::new(relay::target::Scheme::Http, "h", 80, b"/"),
            head: Bytes::new(),
            selection: Selection::default(),
            from: None,
            freshness,
            declared: Some(10_000),
            content: Content::Memory(body),
        };
        Arc::new(Object::new(&facts, parts))
    }
}

/// The plan in a word or two.
fn said(plan: &Plan) -> String {
    match plan {
        Plan::Serve { age, behind, .. } => {
            format!("serve {age}{}", if behind.is_some() { " first" } else { "" })
        }
        Plan::Refuse => "refuse".to_owned(),
        Plan::Pass(why) => format!("pass, {}", why.cache_status()),
        Plan::Fill(fill) => format!(
            "{}{}{}, {}",
            if fill.validates { "validate" } else { "fetch" },
            if fill.shared { "" } else { " alone" },
            match fill.fetches {
                Fetches::Whole => "",
                Fetches::WholeForPart => " whole",
                Fetches::Part => " part",
            },
            fill.why.cache_status()
        ),
    }
}

fn facts(method: &str, fields: &str) -> RequestFacts {
    let fields = fields.split("; ").filter_map(|field| field.split_once(": "));
    let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    RequestFacts::new(method.as_bytes(), false, fields)
}

fn planned(method: &str, fields: &str, found: Found, cache: &Cache, unshared: bool) -> String {
    let facts = facts(method, fields);
    let range = fields.split("; ").find_map(|field| field.strip_prefix("Range: "));
    let range = range.and_then(|range| serve::only_one(range.as_bytes()));
    let request = Request { facts: &facts, upgrades: false, range };
    said(&plan(&request, found, cache, NOW, || unshared))
}

#[test]
fn what_is_stored_and_what_is_asked_decide() {
    let no_validator = || Stored { validator: false, ..STALE };
    for (method, fields, stored, want) in [
        ("GET", "", None, "fetch, fwd=uri-miss"),
        ("HEAD", "", None, "pass, fwd=uri-miss"),
        ("GET", "Authorization: x", None, "fetch alone, fwd=uri-miss"),
        ("GET", "If-None-Match: \"b\"", None, "fetch alone, fwd=uri-miss"),
        ("GET", "Cache-Control: only-if-cached", None, "refuse"),
        ("GET", "", Some(FRESH), "serve 10"),
        ("HEAD", "", Some(FRESH), "serve 10"),
        ("GET", "Cache-Control: only-if-cached", Some(FRESH), "serve 10"),
        ("GET", "Cache-Control: no-cache", Some(FRESH), "validate alone, fwd=request"),
        ("GET", "Cache-Control: max-age=5", Some(FRESH), "validate, fwd=request"),
        ("GET", "Cache-Control: min-fresh=55", Some(FRESH), "validate, fwd=request"),
        ("GET", "Cache-Control: no-cache, only-if-cached", Some(FRESH), "refuse"),
        ("GET", "", Some(STALE), "validate, fwd=stale"),
        ("GET", "", Some(no_validator()), "fetch, fwd=stale"),
        ("GET", "If-None-Match: \"b\"", Some(STALE), "validate, fwd=stale"),
        ("GET", "If-None-Match: \"b\"", Some(no_validator()), "fetch alone, fwd=stale"),
        ("HEAD", "", Some(STALE), "pass, fwd=stale"),
        ("GET", "Cache-Control: max-stale=20", Some(STALE), "serve 70"),
        ("GET", "Cache-Control: only-if-cached", Some(STALE), "refuse"),
        ("GET", "", Some(GROWING), "serve 10"),
        ("GET", "", Some(HALTED), "fetch, fwd=uri-miss"),
        ("GET", "Range: bytes=5000-5001", Some(FRESH), "serve 10"),
        ("GET", "Range: bytes=4000-4001", Some(GROWING), "serve 10"),
        ("GET", "Range: bytes=4001-4002", Some(GROWING), "pass, fwd=partial"),
        ("GET", "Range: bytes=-1", Some(GROWING), "pass, fwd=partial"),
        ("GET", "Range: bytes=9-; Cache-Control: only-if-cached", Some(HALTED), "refuse"),
        ("GET", "Range: bytes=9000-; Cache-Control: only-if-cached", Some(GROWING), "refuse"),
        ("GET", "Range: bytes=0-1", None, "fetch whole, fwd=uri-miss"),
        ("GET", "Range: bytes=999-", None, "fetch whole, fwd=uri-miss"),
        ("GET", "Range: bytes=1000-", None, "fetch alone part, fwd=uri-miss"),
        ("GET", "Range: bytes=-1", None, "fetch alone part, fwd=uri-miss"),
        ("GET", "Range: bytes=-1", Some(STALE), "fetch alone part, fwd=stale"),
        (
            "GET",
            "Range: bytes=0-1; Cache-Control: no-cache",
            None,
            "fetch alone part, fwd=uri-miss",
        ),
        ("GET", "Range: bytes=1000-; If-Range: \"a\"", None, "pass, fwd=uri-miss"),
        ("GET", "Range: bytes=1000-; If-None-Match: \"a\"", None, "pass, fwd=uri-miss"),
        ("GET", "Range: bytes=1000-1001,2000-2001", None, "pass, fwd=uri-miss"),
        ("GET", "Range: bytes=0-1; Authorization: x", None, "pass, fwd=uri-miss"),
        ("GET", "Range: bytes=0-1", Some(STALE), "validate whole, fwd=stale"),
    ] {
        let found = stored
            .as_ref()
            .map_or(Found::Nothing, |stored: &Stored| Found::Object(stored.object()));
        assert_eq!(
            planned(method, fields, found, &cache(), false),
            want,
            "{method} {fields}, {:?} s old",
            stored.map(|stored| stored.age)
        );
    }
}

#[test]
fn what_a_client_may_not_have_is_asked_for_by_itself() {
    for (fields, want) in [
        ("", "pass, fwd=bypass; detail=policy"),
        ("Cache-Control: no-cache", "pass, fwd=bypass; detail=policy"),
        ("Cache-Control: only-if-cached", "refuse"),
    ] {
        assert_eq!(planned("GET", fields, Found::Forbidden, &cache(), false), want, "{fields}");
    }
}

#[test]
fn nobody_waits_where_that_is_switched_off_or_was_in_vain() {
    let alone = Cache { collapsed_forwarding: false, ..cache() };
    let part = "Range: bytes=0-1";
    for (fields, cache, unshared, want) in [
        ("", &alone, false, "fetch alone, fwd=uri-miss"),
        (part, &alone, false, "fetch alone part, fwd=uri-miss"),
        (part, &cache(), true, "fetch alone part, fwd=uri-miss"),
    ] {
        assert_eq!(planned("GET", fields, Found::Nothing, cache, unshared), want, "{fields}");
    }
}

#[test]
fn the_cache_has_no_say_in_some_requests() {
    for (method, fields, upgrades, capacity, want) in [
        ("GET", "", false, 1, Ok(())),
        ("GET", "", true, 1, Err(Why::Upgrade)),
        ("GET", "", false, 0, Err(Why::Bypass(Bypass::Off))),
        ("POST", "", false, 1, Err(Why::Bypass(Bypass::Method))),
        ("GET", "Cache-Control: no-store", false, 1, Err(Why::Bypass(Bypass::NoStore))),
        ("GET", "If-Match: \"a\"", false, 1, Err(Why::Bypass(Bypass::Precondition))),
    ] {
        let facts = facts(method, fields);
        let request = Request { facts: &facts, upgrades, range: None };
        assert_eq!(eligible(&request, capacity), want, "{method} {fields} {upgrades} {capacity}");
    }
}

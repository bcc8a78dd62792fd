use bytes::Bytes;

use super::*;
use crate::cache::{
    budget::Budget,
    content::{Content, memory::Body},
    directives::ResponseDirectives,
    facts::{ResponseFacts, http_date_text},
    key::Key,
    object::Parts,
    policy::{Freshness, Source},
    vary::Selection,
};

fn object(status: u16, fields: &[(&str, &str)], length: usize) -> Object {
    let budget = Budget::new(1 << 20);
    let body = Body::new(&budget);
    body.append(&vec![b'x'; length], None, |size| budget.try_hold(size));
    body.complete();
    let facts = ResponseFacts::new(
        status,
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    );
    let freshness = Freshness {
        lifetime: 60,
        source: Source::MaxAge,
        initial_age: 0,
        received_at: 0,
        directives: ResponseDirectives::default(),
    };
    let parts = Parts {
        key: Key::new(relay::target::Scheme::Http, "h", 80, b"/"),
        head: Bytes::new(),
        selection: Selection::default(),
        from: None,
        freshness,
        declared: None,
        content: Content::Memory(body),
    };
    Object::new(&facts, parts)
}

fn facts(fields: &[(&str, &str)]) -> RequestFacts {
    RequestFacts::new(
        b"GET",
        false,
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())),
    )
}

#[test]
fn conditions_are_answered_from_memory() {
    let changed = http_date_text(1_000_000);
    let later = http_date_text(1_000_001);
    let earlier = http_date_text(999_999);
    let stored = object(200, &[("ETag", "\"a\""), ("Last-Modified", &changed)], 3);
    for (fields, want) in [
        (vec![("If-None-Match", "\"a\"")], Serving::NotModified),
        (vec![("If-None-Match", "W/\"a\", \"b\"")], Serving::NotModified),
        (vec![("If-None-Match", "\"b\"")], Serving::Whole),
        (vec![("If-None-Match", "\"b\""), ("If-Modified-Since", later.as_str())], Serving::Whole),
        (vec![("If-Modified-Since", changed.as_str())], Serving::NotModified),
        (vec![("If-Modified-Since", later.as_str())], Serving::NotModified),
        (vec![("If-Modified-Since", earlier.as_str())], Serving::Whole),
        (vec![], Serving::Whole),
    ] {
        assert_eq!(choose(&stored, &facts(&fields), None), want, "{fields:?}");
    }
    assert_eq!(
        choose(&object(404, &[("ETag", "\"a\"")], 3), &facts(&[("If-None-Match", "\"a\"")]), None),
        Serving::Whole
    );
}

#[test]
fn ranges() {
    let stored = object(200, &[], 100);
    for (range, want) in [
        ("bytes=0-9", Serving::Part(0..10, 100)),
        ("bytes=90-", Serving::Part(90..100, 100)),
        ("bytes=90-1000", Serving::Part(90..100, 100)),
        ("bytes=-10", Serving::Part(90..100, 100)),
        ("bytes=-1000", Serving::Part(0..100, 100)),
        ("bytes=100-", Serving::Unsatisfiable(100)),
        ("bytes=-0", Serving::Unsatisfiable(100)),
        ("bytes=99999999999999999999-", Serving::Unsatisfiable(100)),
        ("bytes=9-0", Serving::Whole),
        ("bytes=0-1,5-6", Serving::Whole),
        ("bytes=-", Serving::Whole),
        ("bytes=+1-2", Serving::Whole),
        ("lines=0-9", Serving::Whole),
        ("", Serving::Whole),
    ] {
        assert_eq!(choose(&stored, &facts(&[]), Some(range.as_bytes())), want, "{range}");
    }
    assert_eq!(choose(&object(404, &[], 100), &facts(&[]), Some(b"bytes=0-1")), Serving::Whole);
}

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
        head: fields
            .iter()
            .fold("HTTP/1.1 200 OK\r\n".to_owned(), |head, (name, value)| {
                format!("{head}{name}: {value}\r\n")
            })
            .into(),
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
        ("bytes=0-1,5-6", Serving::Part(0..7, 100)),
        ("bytes=98-,0-1,200-", Serving::Parts(vec![0..2, 98..100], 100)),
        ("bytes=100-,-0", Serving::Unsatisfiable(100)),
        ("bytes=0-1,6-5", Serving::Whole),
        ("bytes=-", Serving::Whole),
        ("bytes=+1-2", Serving::Whole),
        ("lines=0-9", Serving::Whole),
        ("", Serving::Whole),
    ] {
        assert_eq!(choose(&stored, &facts(&[]), Some(range.as_bytes())), want, "{range}");
    }
    assert_eq!(choose(&object(404, &[], 100), &facts(&[]), Some(b"bytes=0-1")), Serving::Whole);
}

#[test]
fn a_part_goes_only_with_what_the_client_has() {
    let (date, changed) = (http_date_text(1_000_000), http_date_text(999_999));
    let (tag, weak) = (("ETag", "\"a\""), ("ETag", "W/\"a\""));
    let (modified, sent) = (("Last-Modified", changed.as_str()), ("Date", date.as_str()));
    let just_now = ("Last-Modified", date.as_str());
    for (stored, if_range, part) in [
        (vec![tag], "\"a\"", true),
        (vec![tag], "\"b\"", false),
        (vec![tag], "\"a\", \"a\"", false),
        (vec![tag], "W/\"a\"", false),
        (vec![weak], "W/\"a\"", false),
        (vec![weak], "\"a\"", false),
        (vec![], "\"a\"", false),
        (vec![modified, sent], changed.as_str(), true),
        (vec![modified, sent], date.as_str(), false),
        (vec![modified], changed.as_str(), false),
        (vec![just_now, sent], date.as_str(), false),
        (vec![tag, modified, sent], "rubbish", false),
    ] {
        let request = facts(&[("If-Range", if_range)]);
        let served = choose(&object(200, &stored, 100), &request, Some(b"bytes=0-1"));
        let want = if part { Serving::Part(0..2, 100) } else { Serving::Whole };
        assert_eq!(served, want, "{stored:?} {if_range}");
    }
}

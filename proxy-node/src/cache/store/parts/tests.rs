//! What comes of parts, in whatever order they come.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::cache::{
    directives::ResponseDirectives,
    policy::{Freshness, Source},
    vary::Selection,
};

type Store = super::super::Store<()>;

const NOTHING: [(&[u8], &[u8]); 0] = [];
const LENGTH: u64 = 300_000;

fn key() -> Key {
    Key::new(relay::target::Scheme::Http, "h", 80, b"/")
}

/// The byte at a place of what has this tag.
fn byte(tag: &str, at: u64) -> u8 {
    (at % 251) as u8 ^ tag.as_bytes()[1]
}

fn bytes(tag: &str, range: Range<u64>) -> Vec<u8> {
    range.map(|at| byte(tag, at)).collect()
}

/// Part of what has this tag, complete, with these bytes.
fn part(store: &Store, tag: &'static str, range: Range<u64>, of: u64, bytes: &[u8]) -> Arc<Object> {
    let body = Body::new(store.budget());
    body.append(bytes, Some(0), |size| Some(store.budget().hold(size)));
    body.complete();
    let facts = ResponseFacts {
        status: 206,
        etag: Some(Bytes::from_static(tag.as_bytes())),
        content_range: ContentRange::Part(Part { bytes: range.clone(), of }),
        ..ResponseFacts::default()
    };
    let freshness = Freshness {
        lifetime: 60,
        source: Source::MaxAge,
        initial_age: 0,
        received_at: 0,
        directives: ResponseDirectives::default(),
    };
    let parts = Parts {
        key: key(),
        head: Bytes::from_static(b"HTTP/1.1 206 Partial Content\r\nETag: x\r\n"),
        selection: Selection::default(),
        from: None,
        freshness,
        declared: Some(range.end - range.start),
        content: Content::Memory(body),
    };
    Arc::new(Object::new(&facts, parts))
}

/// It comes as an answer does.
fn comes(store: &Arc<Store>, part: &Arc<Object>) -> bool {
    let ticket = store.lead(&key());
    let stored = ticket.store(part);
    drop(ticket);
    if stored {
        store.settle(part);
    }
    stored
}

fn content(object: &Object) -> Vec<u8> {
    object.content.at_hand().expect("it is complete").concat()
}

fn whole(store: &Store) -> Option<Arc<Object>> {
    store.peek(&key(), NOTHING.into_iter())
}

fn ranges(store: &Store) -> Vec<(u64, u64)> {
    let parts = store.parts(&key());
    let mut ranges: Vec<_> = parts
        .iter()
        .map(|part| part.part.clone().expect("a part").bytes)
        .map(|bytes| (bytes.start, bytes.end))
        .collect();
    ranges.sort_unstable();
    ranges
}

#[test]
fn parts_that_meet_become_one_and_the_whole_at_last() {
    let store = Store::new(16 << 20);
    let put = |range: Range<u64>| {
        comes(&store, &part(&store, "\"a\"", range.clone(), LENGTH, &bytes("\"a\"", range)))
    };
    for (range, want) in [
        (0..100, vec![(0, 100)]),
        (200..300, vec![(0, 100), (200, 300)]),
        (250..70_000, vec![(0, 100), (200, 70_000)]),
        (100..200, vec![(0, 70_000)]),
        (20..30, vec![(0, 70_000)]),
        (100_000..LENGTH, vec![(0, 70_000), (100_000, LENGTH)]),
    ] {
        assert!(put(range.clone()), "{range:?}");
        assert_eq!(ranges(&store), want, "after {range:?}");
        assert!(whole(&store).is_none());
    }
    assert!(put(60_000..110_000));
    assert_eq!(ranges(&store), vec![]);
    let whole = whole(&store).expect("the whole");
    assert_eq!((whole.status, whole.length(), whole.part.is_none()), (200, Some(LENGTH), true));
    assert_eq!(whole.head, b"HTTP/1.1 200 OK\r\nETag: x\r\n"[..]);
    assert!(content(&whole) == bytes("\"a\"", 0..LENGTH));
    assert!(!put(0..10), "the whole is there");
    drop(whole);
    store.invalidate(&key());
    assert_eq!((store.used(), store.objects()), (0, 0));
}

#[test]
fn what_does_not_agree_is_not_put_together() {
    let store = Store::new(16 << 20);
    let a =
        |range: Range<u64>| part(&store, "\"a\"", range.clone(), LENGTH, &bytes("\"a\"", range));
    assert!(comes(&store, &a(0..100)));
    // Other bytes at the same place: neither is believed.
    assert!(comes(&store, &part(&store, "\"a\"", 50..150, LENGTH, &[0; 100])));
    assert_eq!(ranges(&store), vec![]);
    // Another length.
    assert!(comes(&store, &a(0..100)));
    assert!(!comes(&store, &part(&store, "\"a\"", 100..200, 999, &[0; 100])));
    assert_eq!(ranges(&store), vec![]);
    // Another tag: what was there is gone.
    assert!(comes(&store, &a(0..100)));
    assert!(comes(&store, &part(&store, "\"b\"", 100..200, LENGTH, &[0; 100])));
    assert_eq!(ranges(&store), vec![(100, 200)]);
    // A body that is shorter than its Content-Range.
    assert!(comes(&store, &part(&store, "\"b\"", 500..600, LENGTH, &[0; 99])));
    assert_eq!(ranges(&store), vec![(100, 200)]);
    // From elsewhere: not every client may have both.
    let mut elsewhere = a(200..300);
    Arc::get_mut(&mut elsewhere).expect("nobody has it").from = "127.0.0.1:1".parse().ok();
    assert!(comes(&store, &elsewhere));
    assert!(comes(&store, &a(100..200)));
    assert_eq!(ranges(&store), vec![(100, 200), (200, 300)]);
}

#[test]
fn a_purge_reaches_parts_and_what_is_under_way() {
    let store = Store::new(16 << 20);
    let a = part(&store, "\"a\"", 0..100, LENGTH, &bytes("\"a\"", 0..100));
    assert!(comes(&store, &a));
    assert_eq!(store.invalidate(&key()), 1);
    assert!(!a.is_kept() && ranges(&store).is_empty());
    let ticket = store.lead(&key());
    store.invalidate(&key());
    assert!(!ticket.store(&a));
    // Purged between its head and its end.
    let ticket = store.lead(&key());
    let late = part(&store, "\"a\"", 0..100, LENGTH, &bytes("\"a\"", 0..100));
    assert!(ticket.store(&late));
    store.invalidate(&key());
    store.settle(&late);
    assert!(ranges(&store).is_empty());
}

#[test]
fn the_oldest_of_too_many_goes_and_memory_is_bounded() {
    let store = Store::new(1 << 20);
    for number in 0..10_000 {
        let range = number * 20..number * 20 + 10;
        comes(&store, &part(&store, "\"a\"", range.clone(), LENGTH, &bytes("\"a\"", range)));
        assert!(store.parts(&key()).len() <= MOST_PARTS);
    }
    assert_eq!(store.objects(), MOST_PARTS as u64);
    let long = "x".repeat(20_000);
    for number in 0..200 {
        let key = Key::new(relay::target::Scheme::Http, "h", 80, format!("/{number}").as_bytes());
        let mut part = part(&store, "\"a\"", 0..20_000, LENGTH, long.as_bytes());
        Arc::get_mut(&mut part).expect("nobody has it").key = key.clone();
        let ticket = store.lead(&key);
        assert!(ticket.store(&part));
        drop(ticket);
        store.settle(&part);
        assert!(store.used() <= 1 << 20, "{}", store.used());
    }
}

proptest! {
    #[test]
    fn whatever_comes_only_right_bytes_are_kept(
        arrivals in proptest::collection::vec((0u64..1000, 1u64..400, any::<bool>()), 1..40),
    ) {
        let store = Store::new(16 << 20);
        for (first, length, other) in arrivals {
            let tag = if other { "\"b\"" } else { "\"a\"" };
            let range = first..(first + length).min(1000);
            comes(&store, &part(&store, tag, range.clone(), 1000, &bytes(tag, range)));
            let parts = store.parts(&key());
            let is_right = |it: &Arc<Object>| {
                let tag = std::str::from_utf8(it.etag.as_ref().expect("a tag")).expect("text");
                let range = it.part.as_ref().map_or(0..1000, |part| part.bytes.clone());
                content(it) == bytes(tag, range)
            };
            prop_assert!(parts.iter().chain(whole(&store).as_ref()).all(is_right));
            let ranges = ranges(&store);
            prop_assert!(ranges.windows(2).all(|two| two[0].1 < two[1].0), "{ranges:?}");
            prop_assert!(whole(&store).is_none() || parts.is_empty());
        }
        store.invalidate(&key());
        prop_assert_eq!((store.used(), store.objects()), (0, 0));
    }
}

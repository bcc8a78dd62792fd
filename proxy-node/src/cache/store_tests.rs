//! The bounds of the store under seeded random use, and who waits for whom.

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::cache::{
    body::Body,
    directives::ResponseDirectives,
    facts::ResponseFacts,
    policy::{Freshness, Source},
};

const NOTHING: [(&[u8], &[u8]); 0] = [];

fn object(path: &str, body: Arc<Body>, selection: Selection) -> Arc<Object> {
    let freshness =
        Freshness { lifetime: 60, source: Source::MaxAge, initial_age: 0, received_at: 0, directives: ResponseDirectives::default() };
    let facts = ResponseFacts { status: 200, ..ResponseFacts::default() };
    Arc::new(Object::new(key(path), Bytes::from_static(b"HTTP/1.1 200 OK\r\n"), &facts, selection, freshness, None, body))
}

fn key(path: &str) -> Key {
    Key::new("h", 80, path.as_bytes())
}

fn filled(bytes: usize) -> Arc<Body> {
    let body = Body::new();
    body.append(&vec![1; bytes]);
    body.complete();
    body
}

fn lead(store: &Arc<Store>, path: &str) -> Ticket {
    match store.join(&key(path), NOTHING.into_iter(), None) {
        Join::Lead(ticket) => ticket,
        other => panic!("leads, and does not {other:?}"),
    }
}

fn check(store: &Store, seed: u64) {
    let (mut used, mut objects) = (0, 0);
    for shard in &store.shards {
        let shard = lock(shard);
        let mut here = 0;
        for slot in shard.slots.values() {
            assert!(!slot.variants.is_empty() || !slot.fills.is_empty(), "seed {seed}: an empty slot stays");
            for object in &slot.variants {
                assert!(object.is_kept(), "seed {seed}");
                used += object.charged.load(Ordering::Relaxed);
                here += 1;
            }
        }
        assert_eq!(here, shard.objects, "seed {seed}");
        objects += here as u64;
    }
    assert_eq!(store.used(), used, "seed {seed}");
    assert_eq!(store.objects(), objects, "seed {seed}");
    assert!(used <= store.capacity(), "seed {seed}: {used} of {}", store.capacity());
}

#[test]
fn the_bound_holds_whatever_happens() {
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let store = Store::new(200_000);
        let mut growing: Vec<Arc<Object>> = Vec::new();
        for _ in 0..1500 {
            let path = format!("/{}", random.random_range(0..60));
            match random.random_range(0..100) {
                0..40 => drop(store.find(&key(&path), NOTHING.into_iter())),
                40..65 => {
                    if let Join::Lead(ticket) = store.join(&key(&path), NOTHING.into_iter(), None) {
                        let size = random.random_range(0..30_000);
                        ticket.store(&object(&path, filled(size), vec![]));
                    }
                }
                65..75 => {
                    let new = object(&path, Body::new(), vec![]);
                    if store.lead(&key(&path)).store(&new) {
                        growing.push(new);
                    }
                }
                75..88 if !growing.is_empty() => {
                    let at = random.random_range(0..growing.len());
                    let bytes = random.random_range(1..40_000);
                    if store.grow(&growing[at], bytes) {
                        growing[at].body.append(&vec![0; bytes as usize]);
                    } else {
                        growing.swap_remove(at);
                    }
                }
                88..94 if !growing.is_empty() => {
                    let done = growing.swap_remove(random.random_range(0..growing.len()));
                    if random.random() {
                        done.body.complete();
                        store.settle(&done);
                    } else {
                        done.body.fail();
                        store.remove(&done);
                    }
                }
                94..97 => drop(store.invalidate(&key(&path))),
                97 => drop(store.purge_prefix(b"http://h/1")),
                _ => store.set_capacity(random.random_range(50_000..200_000)),
            }
            // A smaller capacity may leave only growing bodies, which go when they grow again.
            if growing.is_empty() {
                check(&store, seed);
            }
        }
        for object in growing.drain(..) {
            store.remove(&object);
        }
        check(&store, seed);
    }
}

#[test]
fn what_is_used_survives_a_crawl() {
    let store = Store::new(2_000_000);
    for number in 0..50 {
        let path = format!("/popular/{number}");
        assert!(lead(&store, &path).store(&object(&path, filled(1000), vec![])));
    }
    for crawled in 0..20_000 {
        let path = format!("/crawled/{crawled}");
        lead(&store, &path).store(&object(&path, filled(1000), vec![]));
        let popular = format!("/popular/{}", crawled % 50);
        drop(store.find(&key(&popular), NOTHING.into_iter()));
    }
    let left = (0..50).filter(|number| store.find(&key(&format!("/popular/{number}")), NOTHING.into_iter()).is_some()).count();
    assert_eq!(left, 50);
}

#[test]
fn one_leads_and_the_others_follow() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    let Join::Follow(follower) = store.join(&key("/a"), NOTHING.into_iter(), None) else { panic!("follows") };
    assert!(matches!(store.join(&key("/b"), NOTHING.into_iter(), None), Join::Lead(_)));
    assert!(matches!(&*follower.borrow(), Outcome::Waiting));
    let stored = object("/a", filled(10), vec![]);
    assert!(ticket.store(&stored));
    assert!(matches!(&*follower.borrow(), Outcome::Stored(found) if Arc::ptr_eq(found, &stored)));
    let Join::Changed(found) = store.join(&key("/a"), NOTHING.into_iter(), None) else { panic!("is there") };
    assert!(Arc::ptr_eq(&found, &stored));
    assert!(matches!(store.join(&key("/a"), NOTHING.into_iter(), Some(&stored)), Join::Lead(_)), "what was judged unfit is filled again");
}

#[test]
fn a_dropped_fill_sends_followers_on_their_own() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    let Join::Follow(follower) = store.join(&key("/a"), NOTHING.into_iter(), None) else { panic!("follows") };
    drop(ticket);
    assert!(matches!(&*follower.borrow(), Outcome::OnYourOwn));
    assert!(matches!(store.join(&key("/a"), NOTHING.into_iter(), None), Join::Lead(_)));
}

#[test]
fn what_was_changed_while_it_was_fetched_is_not_kept() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    store.invalidate(&key("/a"));
    assert!(!ticket.store(&object("/a", filled(10), vec![])));
    assert!(matches!(store.join(&key("/a"), NOTHING.into_iter(), None), Join::Lead(_)), "and nobody new waits for it");
}

#[test]
fn variants_live_side_by_side_and_replace_their_like() {
    let store = Store::new(100_000);
    let selection = |value: &str| -> Selection { vec![("accept".into(), Some(value.as_bytes().into()))] };
    let (a, b, a2) =
        (object("/v", filled(1), selection("a")), object("/v", filled(1), selection("b")), object("/v", filled(1), selection("a")));
    for variant in [&a, &b, &a2] {
        assert!(store.lead(&key("/v")).store(variant));
    }
    let asked = |value: &'static str| [(&b"Accept"[..], value.as_bytes())];
    assert!(Arc::ptr_eq(&store.find(&key("/v"), asked("a").into_iter()).unwrap(), &a2));
    assert!(Arc::ptr_eq(&store.find(&key("/v"), asked("b").into_iter()).unwrap(), &b));
    assert!(store.find(&key("/v"), asked("c").into_iter()).is_none());
    assert_eq!(store.objects(), 2);
    // Once the fields that matter are known, requests that differ in them do not wait for each other.
    let _leading = match store.join(&key("/v"), asked("x").into_iter(), None) {
        Join::Lead(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    assert!(matches!(store.join(&key("/v"), asked("y").into_iter(), None), Join::Lead(_)));
    assert!(matches!(store.join(&key("/v"), asked("x").into_iter(), None), Join::Follow(_)));
    for number in 0..100 {
        let one = object("/v", filled(1), selection(&number.to_string()));
        store.lead(&key("/v")).store(&one);
    }
    assert_eq!(store.objects(), MOST_VARIANTS as u64);
}

#[test]
fn what_is_larger_than_the_store_is_not_kept() {
    let store = Store::new(10_000);
    assert!(!lead(&store, "/a").store(&object("/a", filled(20_000), vec![])));
    let growing = object("/b", Body::new(), vec![]);
    assert!(lead(&store, "/b").store(&growing));
    assert!(store.grow(&growing, 5000));
    assert!(!store.grow(&growing, 5000));
    assert_eq!((store.used(), store.objects()), (0, 0));
}

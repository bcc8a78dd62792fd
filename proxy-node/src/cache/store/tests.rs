//! The bounds of the store under seeded random use, and who waits for whom.

mod eviction;

use bytes::Bytes;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{keeping::MOST_VARIANTS, slot::MOST_LISTS, *};
use crate::cache::ticket::Outcome;
use crate::cache::{
    content::{
        Content,
        memory::{Body, Reader},
    },
    directives::ResponseDirectives,
    facts::ResponseFacts,
    object::Parts,
    policy::{Freshness, Source},
    purge::{Mode, Purge, Scope},
    vary::{self, Selection},
};

type Store = super::Store<Failed>;
type Ticket = crate::cache::ticket::Ticket<Failed>;

/// What followers hear of a fill that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed;

const NOTHING: [(&[u8], &[u8]); 0] = [];

fn object(path: &str, body: Arc<Body>, selection: Selection) -> Arc<Object> {
    let freshness = Freshness {
        lifetime: 60,
        source: Source::MaxAge,
        initial_age: 0,
        received_at: 0,
        directives: ResponseDirectives::default(),
    };
    let facts = ResponseFacts { status: 200, ..ResponseFacts::default() };
    let parts = Parts {
        key: key(path),
        head: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
        selection,
        from: None,
        freshness,
        declared: None,
        content: Content::Memory(body),
    };
    Arc::new(Object::new(&facts, parts))
}

fn key(path: &str) -> Key {
    Key::new(relay::target::Scheme::Http, "h", 80, path.as_bytes())
}

fn filled(store: &Store, bytes: usize) -> Arc<Body> {
    let body = Body::new(store.budget());
    body.append(&vec![1; bytes], None, |size| Some(store.budget().hold(size)));
    body.complete();
    body
}

fn body(object: &Object) -> &Arc<Body> {
    let Content::Memory(body) = &object.content else { panic!("not in memory") };
    body
}

/// Appends to the body of an object, as far as the store lets it.
fn grow(store: &Store, object: &Arc<Object>, bytes: usize) -> bool {
    let body = body(object);
    body.append(&vec![0; bytes], None, |size| store.admit(object, body.charged(), size));
    body.retains()
}

fn lead(store: &Arc<Store>, path: &str) -> Ticket {
    match store.join(&key(path), NOTHING.into_iter(), None, 0) {
        Join::Lead(ticket) => ticket,
        other => panic!("leads, and does not {other:?}"),
    }
}

fn check(store: &Store, seed: u64) {
    let (mut settled, mut held, mut objects) = (0, 0, 0);
    for shard in &store.shards {
        let shard = lock(shard);
        let (mut here, before) = (0, settled);
        for slot in shard.slots.values() {
            assert!(
                !slot.variants.is_empty() || !slot.fills.is_empty(),
                "seed {seed}: an empty slot stays"
            );
            for object in &slot.variants {
                assert!(object.is_kept(), "seed {seed}");
                settled += object.settled.load(Ordering::Relaxed);
                held += object.bytes();
                here += 1;
            }
        }
        assert_eq!(here, shard.objects, "seed {seed}");
        let weight = store.weights[shard.index].load(Ordering::Relaxed);
        assert_eq!(weight, settled - before, "seed {seed}: shard {}", shard.index);
        objects += here as u64;
    }
    assert_eq!(
        (store.used(), store.settled.load(Ordering::Relaxed), store.objects()),
        (held, settled, objects),
        "seed {seed}"
    );
    assert!(held <= store.capacity(), "seed {seed}: {held} of {}", store.capacity());
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
                    if let Join::Lead(ticket) =
                        store.join(&key(&path), NOTHING.into_iter(), None, 0)
                    {
                        let size = random.random_range(0..30_000);
                        ticket.store(&object(&path, filled(&store, size), Selection::default()));
                    }
                }
                65..75 => {
                    let new = object(&path, Body::new(store.budget()), Selection::default());
                    if store.lead(&key(&path)).store(&new) {
                        growing.push(new);
                    }
                }
                75..88 if !growing.is_empty() => {
                    let at = random.random_range(0..growing.len());
                    if !grow(&store, &growing[at], random.random_range(1..40_000)) {
                        store.remove(&growing.swap_remove(at));
                    }
                }
                88..94 if !growing.is_empty() => {
                    let done = growing.swap_remove(random.random_range(0..growing.len()));
                    if random.random() {
                        body(&done).complete();
                        store.settle(&done);
                    } else {
                        body(&done).fail();
                        store.remove(&done);
                    }
                }
                94..97 => drop(store.invalidate(&key(&path))),
                97 => {
                    let mode = if random.random() { Mode::Hard } else { Mode::Soft };
                    let scope = Scope::prefix("http://h/1").unwrap();
                    store.purge(&Arc::new(Purge { scope, mode }), 0);
                }
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
        assert!(lead(&store, &path).store(&object(
            &path,
            filled(&store, 1000),
            Selection::default()
        )));
    }
    for crawled in 0..20_000 {
        let path = format!("/crawled/{crawled}");
        lead(&store, &path).store(&object(&path, filled(&store, 1000), Selection::default()));
        let popular = format!("/popular/{}", crawled % 50);
        drop(store.find(&key(&popular), NOTHING.into_iter()));
    }
    let left = (0..50)
        .filter(|number| {
            store.find(&key(&format!("/popular/{number}")), NOTHING.into_iter()).is_some()
        })
        .count();
    assert_eq!(left, 50);
}

#[test]
fn one_leads_and_the_others_follow() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    let Join::Follow(follower) = store.join(&key("/a"), NOTHING.into_iter(), None, 0) else {
        panic!("follows")
    };
    assert!(matches!(store.join(&key("/b"), NOTHING.into_iter(), None, 0), Join::Lead(_)));
    assert!(matches!(&*follower.outcome.borrow(), Outcome::Waiting));
    let stored = object("/a", filled(&store, 10), Selection::default());
    assert!(ticket.store(&stored));
    assert!(
        matches!(&*follower.outcome.borrow(), Outcome::Stored(found) if Arc::ptr_eq(found, &stored))
    );
    let Join::Changed(found) = store.join(&key("/a"), NOTHING.into_iter(), None, 0) else {
        panic!("is there")
    };
    assert!(Arc::ptr_eq(&found, &stored));
    assert!(
        matches!(store.join(&key("/a"), NOTHING.into_iter(), Some(&stored), 0), Join::Lead(_)),
        "what was judged unfit is filled again"
    );
}

#[test]
fn a_dropped_fill_sends_followers_on_their_own() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    let Join::Follow(follower) = store.join(&key("/a"), NOTHING.into_iter(), None, 0) else {
        panic!("follows")
    };
    drop(ticket);
    assert!(matches!(&*follower.outcome.borrow(), Outcome::OnYourOwn));
    assert!(matches!(store.join(&key("/a"), NOTHING.into_iter(), None, 0), Join::Lead(_)));
}

#[test]
fn followers_hear_what_became_of_the_fill_and_nobody_waits_for_it_any_more() {
    let store = Store::new(100_000);
    let follow = || {
        let ticket = lead(&store, "/a");
        let Join::Follow(follower) = store.join(&key("/a"), NOTHING.into_iter(), None, 0) else {
            panic!("follows")
        };
        (ticket, follower)
    };
    let (ticket, follower) = follow();
    ticket.fail(Failed);
    assert!(matches!(&*follower.outcome.borrow(), Outcome::Failed(Failed)));
    drop(ticket);
    assert!(matches!(&*follower.outcome.borrow(), Outcome::Failed(_)), "the first word counts");
    let (ticket, follower) = follow();
    let stale = object("/a", filled(&store, 10), Selection::default());
    ticket.stand_in(&stale);
    assert!(
        matches!(&*follower.outcome.borrow(), Outcome::StandIn(found) if Arc::ptr_eq(found, &stale))
    );
    assert!(matches!(store.join(&key("/a"), NOTHING.into_iter(), None, 0), Join::Lead(_)));
}

#[test]
fn what_was_changed_while_it_was_fetched_is_not_kept() {
    let store = Store::new(100_000);
    let ticket = lead(&store, "/a");
    store.invalidate(&key("/a"));
    assert!(!ticket.store(&object("/a", filled(&store, 10), Selection::default())));
    assert!(
        matches!(store.join(&key("/a"), NOTHING.into_iter(), None, 0), Join::Lead(_)),
        "and nobody new waits for it"
    );
}

#[test]
fn variants_live_side_by_side_and_replace_their_like() {
    let store = Store::new(100_000);
    let selection = |value: &str| {
        vary::select(&["accept".into()], [(&b"accept"[..], value.as_bytes())].into_iter())
    };
    let variant = |value: &str| object("/v", filled(&store, 1), selection(value));
    let (a, b, a2) = (variant("a"), variant("b"), variant("a"));
    for variant in [&a, &b, &a2] {
        assert!(store.lead(&key("/v")).store(variant));
    }
    let asked = |value: &'static str| [(&b"Accept"[..], value.as_bytes())];
    assert!(Arc::ptr_eq(&store.find(&key("/v"), asked("a").into_iter()).unwrap(), &a2));
    assert!(Arc::ptr_eq(&store.find(&key("/v"), asked("b").into_iter()).unwrap(), &b));
    assert!(store.find(&key("/v"), asked("c").into_iter()).is_none());
    assert_eq!(store.objects(), 2);
    // Once the fields that matter are known, requests that differ in them do not wait for each
    // other.
    let _leading = match store.join(&key("/v"), asked("x").into_iter(), None, 0) {
        Join::Lead(ticket) => ticket,
        other => panic!("{other:?}"),
    };
    assert!(matches!(store.join(&key("/v"), asked("y").into_iter(), None, 0), Join::Lead(_)));
    assert!(matches!(store.join(&key("/v"), asked("x").into_iter(), None, 0), Join::Follow(_)));
    for number in 0..100 {
        store.lead(&key("/v")).store(&variant(&number.to_string()));
    }
    assert_eq!(store.objects(), MOST_VARIANTS as u64);
}

#[test]
fn few_lists_of_names_are_looked_up_for_one_key() {
    let store = Store::new(1_000_000);
    for number in 0..20u8 {
        let name: Box<str> = format!("x-{number}").into();
        let field = (name.as_bytes(), &b"1"[..]);
        let selection = vary::select(std::slice::from_ref(&name), [field].into_iter());
        assert!(store.lead(&key("/v")).store(&object("/v", filled(&store, 1), selection)));
        assert!(store.find(&key("/v"), [field].into_iter()).is_some(), "the newest is found");
    }
    assert_eq!(store.objects(), MOST_LISTS as u64);
    assert!(store.find(&key("/v"), [(&b"x-3"[..], &b"1"[..])].into_iter()).is_none());
    assert!(store.find(&key("/v"), [(&b"x-18"[..], &b"1"[..])].into_iter()).is_some());
}

#[test]
fn what_is_read_stays_and_its_readers_hear_that_it_is_wanted() {
    let store = Store::new(200_000);
    let read = object("/read", filled(&store, 50_000), Selection::default());
    assert!(lead(&store, "/read").store(&read));
    let reader = Reader::new(body(&read)).unwrap();
    for number in 0..20 {
        let path = format!("/{number}");
        lead(&store, &path).store(&object(&path, filled(&store, 50_000), Selection::default()));
        assert!(store.used() <= 200_000);
    }
    assert!(
        read.is_kept() && read.content.take_wanted_back(),
        "evicting it would give nothing back"
    );
    drop(reader);
    for number in 0..20 {
        lead(&store, &format!("/{number}")).store(&object(
            &format!("/{number}"),
            filled(&store, 50_000),
            Selection::default(),
        ));
    }
    assert!(!read.is_kept());
}

#[test]
fn what_is_in_flight_leaves_half_of_the_memory_alone() {
    let store = Store::new(1_000_000);
    for number in 0..9 {
        let path = format!("/kept/{number}");
        assert!(lead(&store, &path).store(&object(
            &path,
            filled(&store, 100_000),
            Selection::default()
        )));
    }
    let growing: Vec<_> = (0..20)
        .map(|number| {
            let path = format!("/growing/{number}");
            let object = object(&path, Body::new(store.budget()), Selection::default());
            assert!(lead(&store, &path).store(&object));
            let reader = Reader::new(body(&object)).unwrap();
            (object, reader)
        })
        .collect();
    let kept =
        growing.iter().filter(|(object, _)| (0..30).all(|_| grow(&store, object, 10_000))).count();
    assert!((1..=2).contains(&kept), "{kept}");
    assert!(store.used() <= 1_000_000 && store.is_short());
    let left = (0..9)
        .filter(|number| {
            store.find(&key(&format!("/kept/{number}")), NOTHING.into_iter()).is_some()
        })
        .count();
    assert!(left >= 4, "{left}");
}

#[test]
fn an_unshared_key_is_filled_by_everybody_until_it_is_stored() {
    let store = Store::new(100_000);
    store.note_unshared(&key("/u"), 10);
    let joined = || store.join(&key("/u"), NOTHING.into_iter(), None, 20);
    let (Join::Lead(first), Join::Lead(_second)) = (joined(), joined()) else {
        panic!("both lead")
    };
    assert!(first.store(&object("/u", filled(&store, 1), Selection::default())));
    let Join::Changed(stored) = joined() else { panic!("it is stored") };
    let unfit = || store.join(&key("/u"), NOTHING.into_iter(), Some(&stored), 21);
    let Join::Lead(_leading) = unfit() else { panic!("leads") };
    assert!(matches!(unfit(), Join::Follow(_)));
}

#[test]
fn what_is_larger_than_the_store_is_not_kept() {
    let store = Store::new(20_000);
    assert!(!lead(&store, "/a").store(&object("/a", filled(&store, 30_000), Selection::default())));
    let growing = object("/b", Body::new(store.budget()), Selection::default());
    assert!(lead(&store, "/b").store(&growing));
    assert!(grow(&store, &growing, 8000));
    assert!(!grow(&store, &growing, 8000));
    store.remove(&growing);
    drop(growing);
    assert_eq!((store.used(), store.objects()), (0, 0));
}

//! Answers past their lifetime: served while they are validated, and where no better ones are to be
//! had.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crate::support::{Gate, Origin, Proxy, Then, response, until};

/// Stale from the beginning, and good for ten more minutes while it is validated.
const OLD: &str = "ETag: \"1\"\r\nAge: 61\r\n\
                   Cache-Control: max-age=60, stale-while-revalidate=600\r\n";
const NEW: &str = "ETag: \"2\"\r\nCache-Control: max-age=60\r\n";

#[test]
fn one_validation_runs_behind_many_answers() {
    let gate = Gate::default();
    let (waiting, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |stream, _| {
        let answer = if count.fetch_add(1, Ordering::SeqCst) == 0 {
            response(OLD, "old")
        } else {
            waiting.wait();
            response(NEW, "new")
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/x");
    assert_eq!(proxy.get(&url).text(), "old");
    // On both workers; none of them waits for the origin, which does not answer.
    for _ in 0..40 {
        let stale = proxy.get(&url);
        assert_eq!(stale.text(), "old");
        let status = stale.field("cache-status").unwrap_or_default();
        assert!(status.contains("; hit; ttl=-") && status.ends_with("; detail=stale"), "{status}");
        assert!(stale.field("age").and_then(|age| age.parse().ok()) >= Some(61));
    }
    until("the origin is asked", || (origin.requests().len() == 2).then_some(()));
    assert!(
        origin.requests()[1].contains("If-None-Match: \"1\"\r\n"),
        "it is validated: {:?}",
        origin.requests()
    );
    gate.open();
    until("the new one is there", || (proxy.get(&url).text() == "new").then_some(()));
    assert_eq!(origin.requests().len(), 2, "one validation behind all of them");
    // Each worker writes its own lines.
    let lines = proxy.log_lines(42);
    assert!(
        lines.iter().filter(|it| it.contains(" TCP_STALE_HIT/200 ")).count() >= 40,
        "{lines:?}"
    );
}

#[test]
fn who_wants_nothing_stale_waits_for_the_origin() {
    for (method, fields) in [
        ("GET", "Cache-Control: no-cache\r\n"),
        ("GET", "Cache-Control: max-age=70\r\n"),
        ("GET", "Cache-Control: min-fresh=1\r\n"),
        ("HEAD", ""),
    ] {
        let origin = Origin::start(|stream, head| {
            let answer = response(OLD, if head.starts_with("HEAD") { "" } else { "old" });
            drop(stream.write_all(answer.as_bytes()));
            Then::Close
        });
        let proxy = Proxy::start();
        let url = origin.url("/x");
        assert_eq!(proxy.get(&url).text(), "old");
        assert_eq!(proxy.ask(method, &url, fields).status, 200);
        assert_eq!(origin.requests().len(), 2, "{method} {fields}");
    }
}

#[test]
fn a_condition_of_a_client_is_not_what_is_validated_behind_it() {
    // It has no validator, so that the client's own condition would go on.
    let old = "Age: 61\r\nCache-Control: max-age=60, stale-while-revalidate=600\r\n";
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |stream, _| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let answer = if first { response(old, "old") } else { response(NEW, "new") };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/x");
    assert_eq!(proxy.get(&url).text(), "old");
    let part = "If-None-Match: \"9\"\r\nRange: bytes=1-1\r\n";
    assert_eq!(proxy.ask("GET", &url, part).text(), "l");
    until("the new one is there", || (proxy.get(&url).text() == "new").then_some(()));
    let validation = origin.requests()[1].to_ascii_lowercase();
    assert!(!validation.contains("if-none-match") && !validation.contains("range"));
}

#[test]
fn without_a_validator_too_it_stands_in_for_an_error() {
    for (cache_control, answer, want) in [
        ("max-age=60", "", 200),
        ("max-age=60", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503),
        ("max-age=60, stale-if-error=9", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 200),
        ("max-age=60, stale-if-error=9, must-revalidate", "", 502),
        ("s-maxage=60, stale-if-error=9", "", 502),
    ] {
        let (age, count) = ("Age: 55\r\n", AtomicUsize::new(0));
        let first = response(&format!("{age}Cache-Control: {cache_control}\r\n"), "old");
        let origin = Origin::start(move |stream, _| {
            let first = (count.fetch_add(1, Ordering::SeqCst) == 0).then_some(&*first);
            drop(stream.write_all(first.unwrap_or(answer).as_bytes()));
            Then::Close
        });
        let proxy = Proxy::start();
        let url = origin.url("/x");
        assert_eq!(proxy.get(&url).text(), "old");
        // Asked so that it is stale already, whenever this runs.
        let late = until("it is stale", || {
            let answer = proxy.get(&url);
            (origin.requests().len() > 1).then_some(answer)
        });
        assert_eq!(late.status, want, "{cache_control} {answer:?}");
        if want == 200 {
            let status = late.field("cache-status").unwrap_or_default();
            assert!(status.ends_with("detail=stale-on-error"), "{status}");
        }
    }
}

#[test]
fn a_validation_that_fails_behind_answers_is_not_tried_with_each_of_them() {
    for failure in ["", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "no HTTP\r\n\r\n"] {
        let well = Arc::new(AtomicBool::new(true));
        let is_well = Arc::clone(&well);
        let origin = Origin::start(move |stream, _| {
            let answer = if is_well.load(Ordering::SeqCst) {
                response(OLD, "old")
            } else {
                failure.to_owned()
            };
            drop(stream.write_all(answer.as_bytes()));
            if answer.is_empty() { Then::Close } else { Then::Keep }
        });
        let proxy = Proxy::start();
        let url = origin.url("/x");
        assert_eq!(proxy.get(&url).text(), "old");
        well.store(false, Ordering::SeqCst);
        let key = proxy_node::cache::key::Key::parse(&url).unwrap();
        let node = &proxy.node;
        // It has failed so often that the pause is longer than this test.
        until("it is left alone for long", || {
            assert_eq!(proxy.get(&url).text(), "old", "{failure}");
            (node.store.pause(&key, node.steady.seconds()) > 1).then_some(())
        });
        let asked = origin.requests().len();
        let pause = node.store.pause(&key, node.steady.seconds());
        for _ in 0..50 {
            assert_eq!(proxy.get(&url).text(), "old", "{failure}");
        }
        if node.store.pause(&key, node.steady.seconds()) > 0 {
            assert_eq!(origin.requests().len(), asked, "{failure} {pause}");
        }
        // A fill that comes to something ends it.
        well.store(true, Ordering::SeqCst);
        proxy.ask("GET", &url, "Cache-Control: no-cache\r\n");
        assert_eq!(node.store.pause(&key, node.steady.seconds()), 0);
    }
}

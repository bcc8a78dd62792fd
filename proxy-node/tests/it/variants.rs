//! Several answers for one URL: which of them a 304 confirms, and how many there may be.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Origin, Proxy, Then, connect, read_reply, response, until};

/// The value of a field of a request.
fn sent<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

/// An origin whose answers vary with X and have it as tag and body. Who asks for `confirms` with
/// conditions gets a 304 with these lines.
fn varied(confirms: &'static str, lines: &'static str) -> Origin {
    Origin::start(move |stream, request| {
        let x = sent(request, "x").unwrap_or("none");
        let answer = if x == confirms && sent(request, "if-none-match").is_some() {
            format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n")
        } else {
            let live = "Cache-Control: max-age=60\r\nVary: X\r\nX-A: old";
            response(&format!("{live}\r\nETag: \"{x}\"\r\n"), x)
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

fn get(proxy: &Proxy, origin: &Origin, x: &str) -> (String, String) {
    let answer = proxy.ask("GET", &origin.url("/x"), &format!("X: {x}\r\n"));
    (answer.text(), answer.field("x-a").unwrap_or_default().to_owned())
}

#[test]
fn a_304_says_which_variant_is_the_answer_and_renews_it() {
    let origin = varied("c", "ETag: \"a\"\r\nX-A: new\r\nCache-Control: max-age=60\r\n");
    let proxy = Proxy::start();
    for x in ["a", "b"] {
        assert_eq!(get(&proxy, &origin, x), (x.to_owned(), "old".to_owned()));
    }
    let tags = |number: usize| sent(&origin.requests()[number], "if-none-match").map(str::to_owned);
    assert_eq!((tags(0), tags(1)), (None, Some("\"a\"".to_owned())));
    assert_eq!(get(&proxy, &origin, "c"), ("a".to_owned(), "new".to_owned()));
    assert_eq!(tags(2).as_deref(), Some("\"b\", \"a\""));
    // From now on it is an answer to both; the other one is as it was.
    for (x, want) in [("c", ("a", "new")), ("a", ("a", "new")), ("b", ("b", "old"))] {
        assert_eq!(get(&proxy, &origin, x), (want.0.to_owned(), want.1.to_owned()), "{x}");
    }
    assert_eq!((origin.requests().len(), proxy.node.store.objects()), (3, 3));
    // What it was made of may go without it, and the memory with the last.
    let url = origin.url("/x");
    proxy.ask("DELETE", &url, "");
    assert_eq!(proxy.node.store.objects(), 0);
    until("all of its memory is back", || (proxy.node.store.used() == 0).then_some(()));
}

#[test]
fn a_304_that_means_none_of_them_is_no_answer() {
    for lines in ["ETag: \"z\"\r\n", "", "ETag: z\r\n"] {
        let origin = varied("c", lines);
        let proxy = Proxy::start();
        get(&proxy, &origin, "a");
        get(&proxy, &origin, "b");
        // The origin answers with conditions alone in that way.
        assert_eq!(get(&proxy, &origin, "c").0, "c", "{lines}");
        assert_eq!(origin.requests().len(), 4, "{lines}");
        assert_eq!(sent(&origin.requests()[3], "if-none-match"), None);
    }
}

#[test]
fn a_304_of_something_else_renews_nothing_that_is_stale() {
    let count = AtomicUsize::new(0);
    let origin = Origin::start(move |stream, _| {
        let answer = match count.fetch_add(1, Ordering::SeqCst) {
            0 => response("Cache-Control: max-age=0\r\nETag: \"a\"\r\n", "old"),
            1 => "HTTP/1.1 304 Not Modified\r\nETag: \"b\"\r\nCache-Control: max-age=60\r\n\r\n"
                .to_owned(),
            _ => response("Cache-Control: max-age=60\r\nETag: \"b\"\r\n", "new"),
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/x");
    assert_eq!(proxy.get(&url).text(), "old");
    assert_eq!(proxy.get(&url).text(), "new");
    assert_eq!(proxy.get(&url).text(), "new");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn the_origin_is_told_of_few_variants_and_not_for_everybody() {
    let origin = varied("none of them", "");
    let proxy = Proxy::start();
    for x in 0..20 {
        get(&proxy, &origin, &x.to_string());
    }
    let last = origin.requests().pop().unwrap();
    let tags = sent(&last, "if-none-match").unwrap_or_default();
    assert_eq!(tags.split(", ").count(), 8, "{tags}");
    for (fields, want) in [
        ("If-None-Match: \"q\"\r\n", Some("\"q\"")),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", None),
        ("Authorization: x\r\n", None),
    ] {
        proxy.ask("GET", &origin.url("/x"), &format!("X: other\r\n{fields}"));
        let last = origin.requests().pop().unwrap();
        assert_eq!(sent(&last, "if-none-match"), want, "{fields}");
        proxy.ask("DELETE", &origin.url("/x"), "");
        get(&proxy, &origin, "1");
    }
}

#[test]
fn ten_thousand_variants_of_one_url_are_bounded() {
    let origin = varied("none of them", "");
    let proxy = Proxy::start();
    let (url, host) = (origin.url("/x"), origin.address);
    let mut stream = connect(proxy.address);
    let mut ask = |x: usize| {
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\nX: {x}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        read_reply(&mut stream, "GET").text()
    };
    for x in 0..10_000 {
        assert_eq!(ask(x), x.to_string());
    }
    let store = &proxy.node.store;
    assert_eq!(store.objects(), 32);
    assert!(store.used() < 32 * 4096, "{}", store.used());
    // The last ones are there, and none that is another's.
    let asked = origin.requests().len();
    for x in 9_968..10_000 {
        assert_eq!(ask(x), x.to_string());
    }
    assert_eq!(origin.requests().len(), asked);
}

#[test]
fn what_varies_with_everything_or_a_thousand_fields_is_not_kept() {
    let many = (0..1000).map(|number| format!("X-{number}")).collect::<Vec<_>>().join(", ");
    for vary in ["*", "X, *", " * ", "X\r\nVary: *", "x y", &many] {
        let fields = Arc::new(format!("Cache-Control: max-age=60\r\nVary: {vary}\r\n"));
        let origin = Origin::answering(response(&fields, "x"), Then::Keep);
        let proxy = Proxy::start();
        for _ in 0..2 {
            assert_eq!(proxy.get(&origin.url("/x")).text(), "x");
        }
        assert_eq!((origin.requests().len(), proxy.node.store.objects()), (2, 0), "{vary}");
    }
}

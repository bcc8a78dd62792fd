//! What answers past the cache mean for what is stored: to HEAD, and to POST.

use std::{
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Origin, Proxy, Then, response, until};

/// An origin that answers a method with what `answers` says for it, the last one for ever.
fn by_method(answers: &'static [(&'static str, &'static [&'static str])]) -> Origin {
    let given = Arc::new(Mutex::new(Vec::new()));
    Origin::start(move |stream, request| {
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        let mut given = given.lock().unwrap();
        let before = given.iter().filter(|it| **it == method).count();
        given.push(method.clone());
        let all = answers.iter().find(|(of, _)| *of == method).expect("an answer").1;
        let answer = all[before.min(all.len() - 1)].replace("{n}", "\r\n");
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

const STALE: &str = "HTTP/1.1 200 OK{n}Cache-Control: max-age=0{n}ETag: \"a\"{n}X-A: 1{n}\
                     Content-Length: 3{n}{n}abc";

/// What a GET gets after one, a HEAD, and in between: status, body, X-A, and how often the origin
/// was asked.
fn after_head(head: &'static [&'static str], fields: &str) -> (u16, String, String, usize) {
    let gets: &'static [&'static str] =
        &[STALE, "HTTP/1.1 404 Not Found{n}Content-Length: 0{n}{n}"];
    let origin = by_method(Box::leak(Box::new([("GET", gets), ("HEAD", head)])));
    let proxy = Proxy::start();
    let url = origin.url("/x");
    assert_eq!(proxy.get(&url).text(), "abc");
    proxy.ask("HEAD", &url, fields);
    let answer = proxy.get(&url);
    let field = answer.field("x-a").unwrap_or_default().to_owned();
    (answer.status, answer.text(), field, origin.requests().len())
}

#[test]
fn a_head_renews_what_is_stored_or_shows_that_it_is_gone() {
    let renewed = || (200, "abc".to_owned(), "2".to_owned(), 2);
    let gone = || (404, String::new(), String::new(), 3);
    let lives = "HTTP/1.1 200 OK{n}Cache-Control: max-age=60{n}X-A: 2{n}ETag: \"a\"{n}";
    let with = |more: &str| -> &'static [&'static str] {
        Box::leak(Box::new([&*Box::leak(format!("{lives}{more}{{n}}").into_boxed_str())]))
    };
    let instead = |text: &'static str| -> &'static [&'static str] { Box::leak(Box::new([text])) };
    for (head, want) in [
        (with(""), renewed()),
        (with("Content-Length: 3{n}"), renewed()),
        (with("Content-Length: 4{n}"), gone()),
        (with("Cache-Control: private{n}"), gone()),
        (with("Cache-Control: no-store{n}"), gone()),
        (with("Vary: *{n}"), gone()),
        (instead("HTTP/1.1 200 OK{n}Cache-Control: max-age=60{n}ETag: \"b\"{n}{n}"), gone()),
        // What shows nothing leaves it as it was: stale, and validated.
        (instead("HTTP/1.1 200 OK{n}Cache-Control: max-age=60{n}X-A: 2{n}{n}"), gone()),
        (instead("HTTP/1.1 503 No{n}Cache-Control: max-age=60{n}ETag: \"a\"{n}{n}"), gone()),
    ] {
        assert_eq!(after_head(head, ""), want, "{head:?}");
    }
    // What is for one client alone renews nothing.
    assert_eq!(after_head(with(""), "Authorization: x\r\n"), gone());
}

#[test]
fn a_head_is_answered_from_what_a_get_left() {
    let origin = Origin::answering(
        response("Cache-Control: max-age=60\r\nETag: \"a\"\r\n", "abc"),
        Then::Keep,
    );
    let proxy = Proxy::start();
    let url = origin.url("/x");
    proxy.get(&url);
    let head = proxy.ask("HEAD", &url, "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("3")));
    assert_eq!(proxy.ask("HEAD", &url, "If-None-Match: \"a\"\r\n").status, 304);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_purge_reaches_what_a_head_renews() {
    let purged = Arc::new(Mutex::new(None::<Arc<proxy_node::node::Node>>));
    let purger = Arc::clone(&purged);
    let origin = Origin::start(move |stream, request| {
        let live = if request.starts_with("HEAD") {
            let node = purger.lock().unwrap().clone().expect("a node");
            let url = request.split(' ').nth(1).unwrap();
            let host = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap();
            let key = proxy_node::cache::key::Key::parse(&format!("http://{host}{url}")).unwrap();
            assert_eq!(node.store.invalidate(&key), 1);
            "60"
        } else {
            "0"
        };
        let body = if request.starts_with("HEAD") { "" } else { "abc" };
        let fields = format!("Cache-Control: max-age={live}\r\nETag: \"a\"\r\n");
        let answer = response(&fields, "abc").replace("abc", body);
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    *purged.lock().unwrap() = Some(proxy.node.clone());
    let url = origin.url("/x");
    proxy.get(&url);
    assert_eq!(proxy.ask("HEAD", &url, "").status, 200);
    assert_eq!(proxy.node.store.objects(), 0);
}

/// An origin whose POST is answered with these fields, `{url}` in them its own path.
fn posted(fields: &'static str) -> (Origin, Arc<AtomicUsize>) {
    let posts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&posts);
    let origin = Origin::start(move |stream, request| {
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let host = request.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap();
        let (fields, body) = if request.starts_with("POST") {
            let mut sent = [0; 3];
            std::io::Read::read_exact(stream, &mut sent).unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            (fields.replace("{path}", &path).replace("{host}", host), "posted")
        } else {
            ("Cache-Control: max-age=60\r\n".to_owned(), "got")
        };
        drop(stream.write_all(response(&fields, body).as_bytes()));
        Then::Keep
    });
    (origin, posts)
}

#[test]
fn the_answer_to_a_post_answers_a_get_where_it_says_so() {
    for (fields, kept) in [
        ("Cache-Control: max-age=60\r\nContent-Location: {path}\r\n", true),
        ("Cache-Control: max-age=60\r\nContent-Location: http://{host}{path}\r\n", true),
        ("Cache-Control: max-age=60\r\nContent-Location: {path}/other\r\n", false),
        ("Cache-Control: max-age=60\r\nContent-Location: http://elsewhere{path}\r\n", false),
        ("Cache-Control: max-age=60\r\nContent-Location: //{host}{path}\r\n", false),
        ("Cache-Control: max-age=60\r\n", false),
        ("ETag: \"a\"\r\nContent-Location: {path}\r\n", false),
        ("Cache-Control: max-age=60, private\r\nContent-Location: {path}\r\n", false),
        ("Cache-Control: max-age=60, no-store\r\nContent-Location: {path}\r\n", false),
        ("Cache-Control: max-age=60\r\nVary: *\r\nContent-Location: {path}\r\n", false),
    ] {
        let (origin, posts) = posted(fields);
        let proxy = Proxy::start();
        let url = origin.url("/x");
        let body = |method: &str| {
            let host = &url["http://".len()..url.len() - 2];
            let text = format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
            let more = if method == "POST" { "Content-Length: 3\r\n\r\na=b" } else { "\r\n" };
            proxy.raw(format!("{text}{more}").as_bytes(), method)
        };
        assert_eq!(body("GET").text(), "got", "{fields}");
        assert_eq!(body("POST").text(), "posted", "{fields}");
        let want = if kept { "posted" } else { "got" };
        assert_eq!(body("GET").text(), want, "{fields}");
        // Never a POST, nor is the answer to the first one good after the second.
        assert_eq!(body("POST").text(), "posted", "{fields}");
        assert_eq!(posts.load(Ordering::SeqCst), 2, "{fields}");
        assert_eq!(body("GET").text(), want, "{fields}");
        until("what is stored has settled", || (proxy.node.store.in_flight() == 0).then_some(()));
    }
}

#[test]
fn a_post_makes_what_is_stored_of_its_own_origin_doubtful_and_nothing_else() {
    let other = Origin::answering(response("Cache-Control: max-age=60\r\n", "other"), Then::Keep);
    let elsewhere = other.url("/there");
    let named = elsewhere.clone();
    let origin = Origin::start(move |stream, request| {
        let fields = if request.starts_with("POST") {
            format!("Location: /named\r\nContent-Location: {named}\r\n")
        } else {
            "Cache-Control: max-age=60\r\n".to_owned()
        };
        drop(stream.write_all(response(&fields, "x").as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    for path in ["/x", "/named", "/not"] {
        proxy.get(&origin.url(path));
    }
    proxy.get(&elsewhere);
    proxy.ask("POST", &origin.url("/x"), "Content-Length: 0\r\n");
    assert_eq!(proxy.node.store.objects(), 2);
    proxy.get(&origin.url("/not"));
    proxy.get(&elsewhere);
    assert_eq!((origin.requests().len(), other.requests().len()), (4, 1));
}

//! What is kept, what is shared, and what never is.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::support::{Gate, Origin, Proxy, Then, connect, read_reply, response, until};

#[test]
fn the_second_request_is_answered_from_memory() {
    let origin = Origin::answering(
        response("Cache-Control: max-age=60\r\nContent-Type: text/plain\r\nX-A: 1\r\n", "hello"),
        Then::Keep,
    );
    let proxy = Proxy::start();
    let first = proxy.get(&origin.url("/a"));
    let second = proxy.get(&origin.url("/a"));
    assert_eq!((first.status, first.text().as_str()), (200, "hello"));
    assert_eq!(
        (second.status, second.text().as_str(), second.field("x-a")),
        (200, "hello", Some("1"))
    );
    assert_eq!(first.field("cache-status"), Some("proxy-node-1; fwd=uri-miss; stored"));
    assert!(second.field("cache-status").unwrap().starts_with("proxy-node-1; hit; ttl="));
    assert!(second.field("age").is_some() && second.field("date").is_some());
    assert_eq!(origin.requests().len(), 1);
    assert_ne!(first.field("shoal-request-id"), second.field("shoal-request-id"));
    let lines = proxy.log_lines(2);
    // Two connections may be two workers', each of which writes down what it has answered already:
    // their lines have no order.
    let has = |outcome: &str, rest: &str| {
        lines.iter().any(|line| line.contains(outcome) && line.contains(rest))
    };
    assert!(has(" TCP_MISS/200 ", " HIER_DIRECT/127.0.0.1 text/plain"), "{lines:?}");
    assert!(has(" TCP_MEM_HIT/200 ", " HIER_NONE/- text/plain"), "{lines:?}");
}

#[test]
fn misses_of_one_url_share_one_fetch() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        waiting.wait();
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "shared").as_bytes()));
        Then::Keep
    });
    let proxy = Arc::new(Proxy::start());
    let url = origin.url("/collapsed");
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let (proxy, url) = (Arc::clone(&proxy), url.clone());
            std::thread::spawn(move || proxy.get(&url))
        })
        .collect();
    until("all have missed", || (proxy.node.metrics.misses.get() == 20).then_some(()));
    gate.open();
    for client in clients {
        assert_eq!(client.join().unwrap().text(), "shared");
    }
    assert_eq!(origin.requests().len(), 1, "one arrival at the origin");
}

#[test]
fn those_who_wait_for_what_is_not_shared_go_on_their_own() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let origin = Origin::start(move |stream, _| {
        waiting.wait();
        let number = counted.fetch_add(1, Ordering::SeqCst);
        drop(stream.write_all(
            response("Cache-Control: private, max-age=60\r\n", &format!("for {number}")).as_bytes(),
        ));
        Then::Keep
    });
    let proxy = Arc::new(Proxy::start());
    let url = origin.url("/private");
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let (proxy, url) = (Arc::clone(&proxy), url.clone());
            std::thread::spawn(move || proxy.get(&url).text())
        })
        .collect();
    until("all have missed", || (proxy.node.metrics.misses.get() == 5).then_some(()));
    gate.open();
    let mut bodies: Vec<String> =
        clients.into_iter().map(|client| client.join().unwrap()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 5, "everybody got an answer of their own: {bodies:?}");
}

#[test]
fn a_client_that_leaves_aborts_nobody_else() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        drop(stream.write_all(&[b'a'; 100_000]));
        waiting.wait();
        drop(stream.write_all(&[b'b'; 100_000]));
        Then::Keep
    });
    let proxy = Arc::new(Proxy::start());
    let url = origin.url("/big");
    let mut leader = connect(proxy.address);
    leader.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    leader.read_exact(&mut [0; 50_000]).unwrap();
    let follower = {
        let (proxy, url) = (Arc::clone(&proxy), url.clone());
        std::thread::spawn(move || proxy.get(&url))
    };
    until("the follower reads", || (proxy.node.metrics.hits.get() == 1).then_some(()));
    drop(leader);
    gate.open();
    let followed = follower.join().unwrap();
    assert!(followed.complete && followed.body.len() == 200_000 && followed.body.ends_with(b"bbb"));
    assert_eq!(proxy.get(&url).body, followed.body);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_fill_that_stops_in_the_middle_is_not_kept_and_looks_incomplete() {
    for then in [Then::Close, Then::Reset] {
        let origin = Origin::start(move |stream, _| {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=60\r\n\r\n",
            ));
            drop(stream.write_all(&[b'a'; 100_000]));
            then
        });
        let proxy = Proxy::start();
        let reply = proxy.get(&origin.url("/short"));
        assert!(!reply.complete, "the client can tell");
        until("it is forgotten", || {
            (proxy.node.store.objects() == 0 && proxy.node.store.used() == 0).then_some(())
        });
        assert!(!proxy.get(&origin.url("/short")).complete);
        assert_eq!(origin.requests().len(), 2);
    }
}

#[test]
fn a_stalled_fill_ends_for_those_who_follow_it() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=60\r\n\r\nbegun",
        ));
        waiting.wait();
        Then::Close
    });
    let proxy = Arc::new(Proxy::with(|document| {
        document.timeouts.read = std::time::Duration::from_millis(300)
    }));
    let url = origin.url("/stalled");
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (proxy, url) = (Arc::clone(&proxy), url.clone());
            std::thread::spawn(move || proxy.get(&url).complete)
        })
        .collect();
    for client in clients {
        assert!(!client.join().unwrap());
    }
    gate.open();
}

#[test]
fn stale_responses_are_validated_and_their_fields_renewed() {
    let origin = Origin::start(|stream, head| {
        let answer = if head.contains("If-None-Match: \"v1\"\r\n") {
            "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=60\r\nX-New: \
             yes\r\n\r\n"
                .to_owned()
        } else {
            response("ETag: \"v1\"\r\nCache-Control: max-age=0\r\nX-Old: yes\r\n", "body")
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/v");
    assert_eq!(proxy.get(&url).field("x-new"), None);
    let validated = proxy.get(&url);
    assert_eq!((validated.status, validated.text().as_str()), (200, "body"));
    assert_eq!((validated.field("x-new"), validated.field("x-old")), (Some("yes"), Some("yes")));
    assert_eq!(
        validated.field("cache-status"),
        Some("proxy-node-1; fwd=stale; fwd-status=304; stored")
    );
    assert!(proxy.get(&url).field("cache-status").unwrap().contains("; hit;"));
    assert_eq!(origin.requests().len(), 2);
    let lines = proxy.log_lines(3);
    assert_eq!(
        lines.iter().filter(|line| line.contains(" TCP_REFRESH_UNMODIFIED/200 ")).count(),
        1,
        "{lines:?}"
    );
    let known = proxy.ask("GET", &url, "If-None-Match: \"v1\"\r\n");
    assert_eq!((known.status, known.field("content-length")), (304, None));
    assert!(proxy.log_lines(4)[3].contains(" TCP_IMS_HIT/304 "));
    assert_eq!(proxy.ask("GET", &url, "If-None-Match: \"v2\"\r\n").status, 200);
}

#[test]
fn a_stale_response_stands_in_only_where_it_may() {
    for (cache_control, want) in [("max-age=0", 200), ("max-age=0, must-revalidate", 502)] {
        let count = AtomicUsize::new(0);
        let fields =
            format!("ETag: \"a\"\r\nCache-Control: {cache_control}\r\nConnection: close\r\n");
        let origin = Origin::start(move |stream, _| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                drop(stream.write_all(response(&fields, "old").as_bytes()));
            }
            Then::Close
        });
        let proxy = Proxy::start();
        assert_eq!(proxy.get(&origin.url("/s")).text(), "old");
        assert_eq!(proxy.get(&origin.url("/s")).status, want, "{cache_control}");
    }
}

#[test]
fn variants_are_kept_apart() {
    let origin = Origin::start(|stream, head| {
        let language = head
            .lines()
            .find_map(|line| line.strip_prefix("Accept-Language: "))
            .unwrap_or("none")
            .to_owned();
        drop(
            stream.write_all(
                response("Vary: Accept-Language\r\nCache-Control: max-age=60\r\n", &language)
                    .as_bytes(),
            ),
        );
        Then::Keep
    });
    let proxy = Proxy::start();
    for _ in 0..2 {
        for language in ["de", "fr"] {
            assert_eq!(
                proxy
                    .ask("GET", &origin.url("/l"), &format!("Accept-Language: {language}\r\n"))
                    .text(),
                language
            );
        }
        assert_eq!(proxy.get(&origin.url("/l")).text(), "none");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn request_directives_heads_ranges_and_changes() {
    let origin = Origin::start(|stream, head| {
        let answer = if head.starts_with("POST") {
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
        } else {
            response("Cache-Control: max-age=60\r\n", "0123456789")
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/x");
    let missing = proxy.ask("GET", &url, "Cache-Control: only-if-cached\r\n");
    assert_eq!(missing.status, 504);
    proxy.get(&url);
    assert_eq!(proxy.ask("GET", &url, "Cache-Control: only-if-cached\r\n").status, 200);
    let head = proxy.ask("HEAD", &url, "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("10")));
    let part = proxy.ask("GET", &url, "Range: bytes=2-4\r\n");
    assert_eq!(
        (part.status, part.text().as_str(), part.field("content-range")),
        (206, "234", Some("bytes 2-4/10"))
    );
    assert_eq!(proxy.ask("GET", &url, "Range: bytes=10-\r\n").status, 416);
    assert_eq!(origin.requests().len(), 1);
    proxy.ask("GET", &url, "Cache-Control: no-cache\r\n");
    assert_eq!(origin.requests().len(), 2);
    assert_eq!(proxy.ask("POST", &url, "Content-Length: 0\r\n").status, 204);
    assert_eq!(proxy.node.store.objects(), 0, "a change makes what is stored doubtful");
    proxy.get(&url);
    assert_eq!(origin.requests().len(), 4);
}

#[test]
fn what_grows_too_large_reaches_its_client_and_is_not_kept() {
    let origin = Origin::start(|stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        for _ in 0..64 {
            drop(stream.write_all(b"10000\r\n"));
            drop(stream.write_all(&[b'z'; 0x10000]));
            drop(stream.write_all(b"\r\n"));
        }
        drop(stream.write_all(b"0\r\n\r\n"));
        Then::Keep
    });
    let proxy = Proxy::start();
    let reply = proxy.get(&origin.url("/huge"));
    assert!(reply.complete && reply.body.len() == 64 * 0x10000);
    until("nothing of it is kept", || {
        (proxy.node.store.objects() == 0 && proxy.node.store.used() == 0).then_some(())
    });
}

#[test]
fn a_chunked_response_is_kept_whole() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: \
         max-age=60\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        Then::Keep,
    );
    let proxy = Proxy::start();
    assert_eq!(proxy.get(&origin.url("/c")).text(), "abcde");
    let hit = proxy.get(&origin.url("/c"));
    assert_eq!(
        (hit.text().as_str(), hit.field("content-length"), hit.field("transfer-encoding")),
        ("abcde", Some("5"), None)
    );
    let mut old = connect(proxy.address);
    old.write_all(format!("GET {} HTTP/1.0\r\n\r\n", origin.url("/c")).as_bytes()).unwrap();
    let reply = read_reply(&mut old, "GET");
    assert_eq!(reply.text(), "abcde");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn what_never_reached_the_origin_selects_no_variant() {
    let origin = Origin::start(|stream, head| {
        let language = head
            .lines()
            .find_map(|line| line.strip_prefix("Accept-Language: "))
            .unwrap_or("none")
            .to_owned();
        drop(
            stream.write_all(
                response("Vary: Accept-Language\r\nCache-Control: max-age=60\r\n", &language)
                    .as_bytes(),
            ),
        );
        Then::Keep
    });
    let proxy = Proxy::start();
    let url = origin.url("/poison");
    let mut stream = connect(proxy.address);
    stream
        .write_all(
            format!(
                "GET {url} HTTP/1.1\r\nHost: x\r\nConnection: \
            Accept-Language\r\nAccept-Language: fr\r\n\r\n"
            )
            .as_bytes(),
        )
        .unwrap();
    assert_eq!(read_reply(&mut stream, "GET").text(), "none", "a nominated field stays behind");
    assert_eq!(
        proxy.ask("GET", &url, "Accept-Language: fr\r\n").text(),
        "fr",
        "and what it did not fetch is not kept for it"
    );
    assert_eq!(proxy.get(&url).text(), "none");
    assert_eq!(origin.requests().len(), 2);
}

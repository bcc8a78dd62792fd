//! How answers get into the cache: who waits for whom and for how long, what is fetched whole, and
//! what is left out.

use std::{
    io::Write,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use cluster_config::document::{ProxyDocument, proxy::RefreshPattern};

use crate::support::{Gate, Origin, Proxy, Reply, Then, connect, read_head, response, until};

fn ask(proxy: &Arc<Proxy>, url: &str) -> JoinHandle<Reply> {
    let (proxy, url) = (Arc::clone(proxy), url.to_owned());
    std::thread::spawn(move || proxy.get(&url))
}

/// An origin whose requests after the first `free` wait at the gate.
fn gated(
    gate: &Gate,
    free: usize,
    answer: impl Fn(&mut TcpStream) + Send + Sync + 'static,
) -> Origin {
    let (waiting, count) = (gate.clone(), AtomicUsize::new(0));
    Origin::start(move |stream, _| {
        if count.fetch_add(1, Ordering::SeqCst) >= free {
            waiting.wait();
        }
        answer(stream);
        Then::Keep
    })
}

fn leaving_soon(document: &mut ProxyDocument) {
    document.cache.follow_timeout = Duration::from_millis(50);
}

#[test]
fn what_was_not_for_sharing_is_asked_for_by_everybody_at_once() {
    for fields in [
        "Cache-Control: no-store\r\n",
        "Cache-Control: private\r\n",
        "Vary: *\r\nCache-Control: max-age=60\r\n",
    ] {
        let gate = Gate::default();
        let origin = gated(&gate, 1, move |stream| {
            drop(stream.write_all(response(fields, "news").as_bytes()))
        });
        // Nobody here leaves anybody: only the memory of the first answer lets the others go.
        let proxy = Arc::new(Proxy::start());
        let url = origin.url("/poll");
        assert_eq!(proxy.get(&url).text(), "news");
        let clients: Vec<_> = (0..3).map(|_| ask(&proxy, &url)).collect();
        until("all of them are at the origin", || (origin.requests().len() == 4).then_some(()));
        gate.open();
        for client in clients {
            assert_eq!(client.join().unwrap().text(), "news");
        }
    }
}

#[test]
fn a_fill_that_does_not_begin_is_left() {
    let gate = Gate::default();
    let origin = gated(&gate, 0, |stream| {
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "late").as_bytes()))
    });
    let proxy = Arc::new(Proxy::with(leaving_soon));
    let clients: Vec<_> = (0..3).map(|_| ask(&proxy, &origin.url("/late"))).collect();
    until("everybody has asked", || (origin.requests().len() == 3).then_some(()));
    gate.open();
    for client in clients {
        assert_eq!(client.join().unwrap().text(), "late");
    }
}

/// The first answer stops in its middle until the gate is opened; the others are `rest` behind what
/// it had.
fn halting(gate: &Gate, rest: u8) -> Origin {
    let (waiting, count) = (gate.clone(), AtomicUsize::new(0));
    Origin::start(move |stream, _| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nETag: \
            \"1\"\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        drop(stream.write_all(&[b'a'; 100_000]));
        if first {
            waiting.wait();
            return Then::Close;
        }
        drop(stream.write_all(&[rest; 100_000]));
        Then::Keep
    })
}

#[test]
fn a_fill_that_comes_to_a_halt_is_left_where_it_is() {
    let gate = Gate::default();
    let origin = halting(&gate, b'b');
    let proxy = Arc::new(Proxy::with(leaving_soon));
    let url = origin.url("/halt");
    let leader = ask(&proxy, &url);
    until("it is being filled", || (proxy.node.store.objects() == 1).then_some(()));
    let want = [[b'a'; 100_000], [b'b'; 100_000]].concat();
    for client in [ask(&proxy, &url), ask(&proxy, &url)] {
        let reply = client.join().unwrap();
        assert!(
            reply.complete && reply.body == want,
            "{} of {}: {}",
            reply.body.len(),
            want.len(),
            reply.head
        );
    }
    assert!(
        proxy.get(&url).field("cache-status").unwrap().contains("; hit;"),
        "what they fetched is kept"
    );
    gate.open();
    let cut = leader.join().unwrap();
    assert_eq!((cut.complete, cut.body.len()), (false, 100_000));
    assert_eq!(proxy.get(&url).body, want, "and stays");
}

#[test]
fn who_left_does_not_go_on_with_another_answer() {
    let gate = Gate::default();
    let (waiting, count) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |stream, _| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        drop(stream.write_all(&[b'a' + u8::try_from(number).unwrap(); 100_000]));
        if number == 0 {
            waiting.wait();
            return Then::Close;
        }
        drop(stream.write_all(&[b'z'; 100_000]));
        Then::Keep
    });
    // Patient until the follower has what there is.
    let proxy = Arc::new(Proxy::with(|document| {
        document.cache.follow_timeout = Duration::from_millis(500)
    }));
    let url = origin.url("/other");
    let leader = ask(&proxy, &url);
    until("it is being filled", || (proxy.node.store.objects() == 1).then_some(()));
    let follower = ask(&proxy, &url);
    until("it has asked for itself", || (origin.requests().len() == 2).then_some(()));
    gate.open();
    leader.join().unwrap();
    let reply = follower.join().unwrap();
    let mixed =
        reply.body.contains(&b'a') && (reply.body.contains(&b'b') || reply.body.contains(&b'z'));
    assert!(!mixed, "two answers in one");
}

#[test]
fn an_answer_that_is_cut_is_passed_on_as_far_as_it_came() {
    for then in [Then::Close, Then::Reset] {
        let origin = Origin::start(move |stream, _| {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\nCache-Control: max-age=60\r\n\r\n",
            ));
            drop(stream.write_all(&[b'a'; 400_000]));
            then
        });
        let proxy = Proxy::start();
        let reply = proxy.get(&origin.url("/cut"));
        // A reset destroys what this node had not received.
        assert!(
            !reply.complete && (then == Then::Reset || reply.body.len() == 400_000),
            "{}",
            reply.body.len()
        );
        until("nothing of it is kept", || {
            (proxy.node.store.objects() == 0 && proxy.node.store.used() == 0).then_some(())
        });
    }
}

#[test]
fn a_cookie_is_for_the_one_who_asked() {
    let origin = Origin::answering(
        response(
            "Cache-Control: max-age=60\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nX-Other: 1\r\n",
            "x",
        ),
        Then::Keep,
    );
    let proxy = Proxy::start();
    let first = proxy.get(&origin.url("/c"));
    assert!(
        first.head.contains("Set-Cookie: a=1\r\n") && first.head.contains("Set-Cookie: b=2\r\n"),
        "{}",
        first.head
    );
    let second = proxy.get(&origin.url("/c"));
    assert!(
        second.field("cache-status").unwrap().contains("; hit;")
            && second.field("x-other").is_some()
    );
    assert!(!second.head.to_ascii_lowercase().contains("set-cookie"), "{}", second.head);
}

#[test]
fn refresh_patterns_guess_for_nobody_who_says_who_he_is() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = Proxy::with(|document| {
        let hour = Duration::from_secs(3600);
        document.cache.refresh_patterns = vec![RefreshPattern {
            url_regex: r"\.deb$".into(),
            min: hour,
            max: hour,
            ..RefreshPattern::default()
        }];
    });
    for (path, fields, stored) in [
        ("/personal?x.deb", "Cookie: me\r\n", false),
        ("/personal?y.deb", "", false),
        ("/a.deb", "Cookie: me\r\n", false),
        ("/b.deb", "Authorization: Basic bWU6\r\n", false),
        ("/c.deb", "", true),
    ] {
        proxy.ask("GET", &origin.url(path), fields);
        let again = proxy.get(&origin.url(path));
        assert_eq!(
            again.field("cache-status").unwrap().contains("; hit;"),
            stored,
            "{path} {fields}"
        );
    }
}

#[test]
fn a_vary_of_thousands_of_names_costs_nobody_anything() {
    let names: Vec<String> = (0..2000).map(|number| format!("x-{number}")).collect();
    let origin = Origin::answering(
        response(&format!("Cache-Control: max-age=60\r\nVary: {}\r\n", names.join(",")), "x"),
        Then::Keep,
    );
    let proxy = Proxy::start();
    for _ in 0..3 {
        assert_eq!(proxy.get(&origin.url("/v")).text(), "x");
    }
    until("nothing of it is kept", || {
        (proxy.node.store.objects() == 0 && proxy.node.store.used() == 0).then_some(())
    });
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn what_ends_with_the_connection_is_kept_where_that_is_wanted() {
    for wanted in [false, true] {
        let origin = Origin::answering(
            "HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nto the end",
            Then::Close,
        );
        let proxy = Proxy::with(|document| document.cache.store_until_close = wanted);
        for _ in 0..2 {
            let reply = proxy.get(&origin.url("/old"));
            assert!(reply.complete && reply.text() == "to the end");
        }
        assert_eq!(origin.requests().len(), if wanted { 1 } else { 2 });
    }
    let origin = Origin::start(|stream, _| {
        drop(stream.write_all(b"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nto the"));
        Then::Reset
    });
    let proxy = Proxy::with(|document| document.cache.store_until_close = true);
    assert!(!proxy.get(&origin.url("/cut")).complete);
    until("what was reset is not kept", || (proxy.node.store.objects() == 0).then_some(()));
}

#[test]
fn short_answers_from_the_cache_say_when_by_whom_and_of_what() {
    let origin = Origin::answering(
        response("Cache-Control: max-age=60\r\nETag: \"1\"\r\nContent-Type: a/b\r\n", "0123456789"),
        Then::Keep,
    );
    let proxy = Proxy::start();
    proxy.get(&origin.url("/s"));
    for (fields, status) in [
        ("Range: bytes=10-\r\n", 416),
        ("If-None-Match: \"1\"\r\n", 304),
        ("Range: bytes=0-1\r\n", 206),
    ] {
        let reply = proxy.ask("GET", &origin.url("/s"), fields);
        assert_eq!(reply.status, status);
        for field in ["date", "etag", "via"] {
            assert!(reply.field(field).is_some(), "{status} without {field}: {}", reply.head);
        }
        assert_eq!(reply.field("content-type").is_some(), status == 206);
    }
    assert_eq!(origin.requests().len(), 1);
}

/// An origin with `length` bytes that knows ranges.
fn video(length: usize) -> Origin {
    Origin::start(move |stream, head| {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let range = head.lines().find_map(|line| line.strip_prefix("Range: bytes="));
        let (line, part) = match range.and_then(|range| range.split_once('-')) {
            Some((first, last)) => {
                let first: usize = first.parse().unwrap_or(0);
                let last: usize = last.parse().unwrap_or(length - 1).min(length - 1);
                (
                    format!("206 Partial Content\r\nContent-Range: bytes {first}-{last}/{length}"),
                    &bytes[first..=last],
                )
            }
            None => ("200 OK".to_owned(), &bytes[..]),
        };
        let fields =
            format!("Content-Length: {}\r\nCache-Control: max-age=60\r\nETag: \"v\"", part.len());
        drop(stream.write_all(format!("HTTP/1.1 {line}\r\n{fields}\r\n\r\n").as_bytes()));
        drop(stream.write_all(part));
        Then::Keep
    })
}

#[test]
fn a_part_fetches_the_whole_where_that_is_not_far() {
    let origin = video(500_000);
    let proxy = Proxy::start();
    let url = origin.url("/film");
    let want = |from: usize, to: usize| {
        (from..to).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>()
    };
    let far = proxy.ask("GET", &url, "Range: bytes=400000-400009\r\n");
    assert_eq!((far.status, far.body), (206, want(400_000, 400_010)));
    assert_eq!(origin.requests().len(), 1);
    assert!(origin.requests()[0].contains("Range:"), "a part from far behind is fetched alone");
    let begin = proxy.ask("GET", &url, "Range: bytes=100-299\r\n");
    assert_eq!(
        (begin.status, begin.field("content-range"), begin.body.clone()),
        (206, Some("bytes 100-299/500000"), want(100, 300))
    );
    until("all of it is there", || {
        let reply =
            proxy.ask("GET", &url, "Cache-Control: only-if-cached\r\nRange: bytes=499000-\r\n");
        (reply.status == 206 && reply.body == want(499_000, 500_000)).then_some(())
    });
    assert_eq!(proxy.ask("GET", &url, "Range: bytes=-5\r\n").body, want(499_995, 500_000));
    assert_eq!(proxy.get(&url).body, want(0, 500_000));
    assert_eq!(
        origin.requests().iter().filter(|head| !head.contains("Range:")).count(),
        1,
        "{:?}",
        origin.requests()
    );
}

#[test]
fn a_part_of_what_is_too_large_comes_alone() {
    let origin = video(2 << 20);
    let proxy = Proxy::start();
    for round in 0..3 {
        let reply = proxy.ask("GET", &origin.url("/large"), "Range: bytes=0-9\r\n");
        assert_eq!((reply.status, reply.body.len()), (206, 10), "{round}");
    }
    assert_eq!(proxy.node.store.objects(), 0);
    // Once to learn how large it is.
    assert_eq!(origin.requests().iter().filter(|head| !head.contains("Range:")).count(), 1);
}

#[test]
fn an_origin_that_sends_byte_by_byte_fills_few_segments() {
    let origin = Origin::start(|stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        drop(stream.write_all("1\r\nx\r\n".repeat(200_000).as_bytes()));
        drop(stream.write_all(b"0\r\n\r\n"));
        Then::Keep
    });
    let proxy = Proxy::start();
    let reply = proxy.get(&origin.url("/drip"));
    assert!(reply.complete && reply.body.len() == 200_000);
    until("it is complete", || {
        proxy.get(&origin.url("/drip")).field("content-length").map(str::to_owned)
    });
    let used = proxy.node.store.used();
    assert!((200_000..230_000).contains(&used), "{used}");
}

#[test]
fn who_reads_nothing_makes_nobody_else_wait() {
    let origin = Origin::start(|stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n",
        ));
        for _ in 0..400 {
            drop(stream.write_all(format!("10000\r\n{}\r\n", "z".repeat(0x10000)).as_bytes()));
        }
        drop(stream.write_all(b"0\r\n\r\n"));
        Then::Keep
    });
    // Larger than what may be kept: both read the same fill, which cannot go further than its
    // slowest reader.
    let proxy = Arc::new(Proxy::start());
    let url = origin.url("/huge");
    let mut idle = connect(proxy.address);
    idle.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    assert!(read_head(&mut idle).is_some());
    let reply = proxy.get(&url);
    assert!(reply.complete && reply.body.len() == 400 * 0x10000, "{}", reply.body.len());
    drop(idle);
}

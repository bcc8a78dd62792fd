//! What origins and clients write oddly, and what becomes of it.

use std::io::{Read, Write};

use testkit::odd;

use crate::support::{Origin, Proxy, Then, connect, read_head, read_reply, response};

/// Through the cache and past it: what is odd in an answer does not reach a client, and what it
/// means does.
#[test]
fn odd_answers_are_sent_on_plainly() {
    for relaxed in [true, false] {
        let proxy = Proxy::with(|document| document.replies.relaxed = relaxed);
        for answer in odd::ANSWERS {
            let url = format!("http://{}/x", odd::server(answer.bytes));
            let got = odd::ask(proxy.address, answer.method, &url);
            assert_eq!(
                odd::wrong(answer, relaxed, &got),
                None,
                "{} (relaxed: {relaxed})",
                answer.name
            );
        }
    }
}

/// The same answers where they may be kept: the second client gets what the first got.
#[test]
fn odd_answers_are_kept_plainly() {
    let proxy = Proxy::start();
    for answer in odd::ANSWERS
        .iter()
        .filter(|it| it.method == "GET" && it.status == 200 && it.interims.is_empty())
    {
        let (line, rest) = answer.bytes.split_once('\n').expect("a status line");
        let end = if rest.split_once('\n').is_some_and(|(line, _)| line.ends_with('\r')) {
            "\r\n"
        } else {
            "\n"
        };
        let origin = odd::server(format!("{line}\nCache-Control: max-age=60{end}{rest}"));
        for _ in 0..2 {
            let got = odd::ask(proxy.address, "GET", &format!("http://{origin}/x"));
            assert_eq!(odd::wrong(answer, true, &got), None, "{}", answer.name);
        }
    }
    assert!(proxy.node.metrics.hits.get() > 10);
}

/// What follows an odd answer on its connection is nobody's.
#[test]
fn nothing_follows_an_odd_answer_on_its_connection() {
    let ok = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert_eq!(asked_twice(&Origin::answering(ok, Then::Keep)), 1);
    for answer in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: \
         chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: \
         chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: \
         2\r\n\r\nok",
    ] {
        let origin = Origin::answering(answer, Then::Keep);
        assert_eq!(asked_twice(&origin), 2, "{answer:?}");
    }
    // And what is only spelt in another way leaves the connection as it is.
    for answer in [
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 02, 2\r\n\r\nok",
    ] {
        let origin = Origin::answering(answer, Then::Keep);
        assert_eq!(asked_twice(&origin), 1, "{answer:?}");
    }
}

/// How many connections an origin saw for requests of one client, whose worker keeps those that can
/// be used again.
fn asked(origin: &Origin, requests: &[(&str, &str)]) -> usize {
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    for (method, path) in requests {
        let request = format!(
            "{method} {} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            origin.url(path)
        );
        stream.write_all(request.as_bytes()).unwrap();
        assert!(matches!(read_reply(&mut stream, method).status, 200 | 204 | 304), "{method}");
    }
    origin.connections()
}

fn asked_twice(origin: &Origin) -> usize {
    asked(origin, &[("POST", "/"), ("GET", "/")])
}

/// The same where the answer is kept: lines of its chunks, which the head says nothing of.
#[test]
fn nothing_follows_odd_chunks_that_are_kept() {
    for (chunks, connections) in
        [("2\r\nok\r\n0\r\n\r\n", 1), ("2\nok\r\n0\r\n\r\n", 2), ("2\r\nok\n0\r\n\r\n", 2)]
    {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: \
             chunked\r\n\r\n{chunks}"
        );
        let origin = Origin::answering(answer, Then::Keep);
        assert_eq!(asked(&origin, &[("GET", "/a"), ("GET", "/b")]), connections, "{chunks:?}");
    }
}

#[test]
fn odd_requests_are_sent_on_plainly() {
    let origin = Origin::start(|stream, head| {
        drop(stream.write_all(response("Cache-Control: no-store\r\n", head).as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let (host, port) = (origin.address.ip(), origin.address.port());
    for (line, fields, expected) in [
        (
            format!("GET http://{host}:{port}/a HTTP/1.2"),
            format!("Host: {host}:{port}\r\n"),
            "GET /a HTTP/1.1",
        ),
        (
            format!("GET http://{host}:0{port}/a HTTP/1.1"),
            format!("Host: {host}:{port}\r\n"),
            "GET /a HTTP/1.1",
        ),
        (
            format!("GET http://{host}:{port}/a HTTP/1.1"),
            "Host: a:\r\n".to_owned(),
            "GET /a HTTP/1.1",
        ),
        (
            format!("GET http://{host}:{port}/a HTTP/1.1"),
            "Host: a:0080\r\n".to_owned(),
            "GET /a HTTP/1.1",
        ),
        (
            format!("POST http://{host}:{port}/a HTTP/1.1"),
            "Host: a\r\nContent-Length: 000\r\n".to_owned(),
            "Content-Length: 0",
        ),
    ] {
        let reply =
            proxy.raw(format!("{line}\r\n{fields}Connection: close\r\n\r\n").as_bytes(), "GET");
        let seen = reply.text();
        assert_eq!(reply.status, 200, "{line} {fields}");
        assert!(
            seen.contains(&format!("{expected}\r\n"))
                && seen.contains(&format!("\r\nHost: {host}:{port}\r\n")),
            "{line}: {seen}"
        );
    }
    // As strict as ever about everything else.
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length : 2\r\n",
        "X : y\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "X: a\0\r\n",
        "X: a\nY: b\r\n",
        "Host: a:\r\n",
    ] {
        let bytes =
            format!("POST http://{}/ HTTP/1.1\r\nHost: a\r\n{fields}\r\nok", origin.address);
        assert_eq!(proxy.raw(bytes.as_bytes(), "POST").status, 400, "{fields}");
    }
}

#[test]
fn extensions_of_chunks_stay_behind_in_both_directions() {
    let origin = Origin::start(|stream, _| {
        let mut body = Vec::new();
        let mut byte = [0];
        while !body.ends_with(b"0\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
        let answer = format!(
            "2;x=y\r\nok\r\n{:x};z\r\n{}\r\n0;a\r\n\r\n",
            body.len(),
            String::from_utf8(body).unwrap()
        );
        drop(stream.write_all(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{answer}").as_bytes(),
        ));
        Then::Keep
    });
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    let body = "5;a=b\r\nhello\r\n0005;c=\"d\"\r\nworld\r\n0;e\r\n\r\n";
    stream
        .write_all(
            format!(
                "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
                origin.url("/")
            )
            .as_bytes(),
        )
        .unwrap();
    assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
    let plain = "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    let expected = format!("2\r\nok\r\n{:x}\r\n{plain}\r\n0\r\n\r\n", plain.len());
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

#[test]
fn heads_are_as_large_as_the_configuration_says() {
    let origin = Origin::start(|stream, head| {
        let large = if head.contains("/large") {
            "X-L: l\r\n".repeat(7_000 / 8) + &format!("X-V: {}\r\n", "v".repeat(50_000))
        } else {
            String::new()
        };
        drop(stream.write_all(
            response(&format!("Cache-Control: max-age=60\r\n{large}"), "ok").as_bytes(),
        ));
        Then::Keep
    });
    let mut proxy = Proxy::start();
    let fields = "X-L: l\r\n".repeat(7_000 / 8) + &format!("X-V: {}\r\n", "v".repeat(50_000));
    for method in ["GET", "GET", "POST"] {
        let reply =
            proxy.ask(method, &origin.url("/large"), &format!("{fields}Content-Length: 0\r\n"));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "{method}");
        assert_eq!(reply.head.matches("X-L: l\r\n").count(), 875);
    }
    assert_eq!(
        proxy.ask("GET", &origin.url("/"), &format!("X: {}\r\n", "v".repeat(66_000))).status,
        431
    );
    assert_eq!(proxy.ask("GET", &origin.url("/"), &"X: y\r\n".repeat(1_100)).status, 431);
    proxy.change(|document| {
        document.request_header_max_size = 8 << 10;
        document.replies.max_size = 8 << 10;
    });
    assert_eq!(
        proxy.ask("GET", &origin.url("/"), &format!("X: {}\r\n", "v".repeat(9_000))).status,
        431
    );
    assert_eq!(proxy.ask("POST", &origin.url("/large"), "Content-Length: 0\r\n").status, 502);
    assert_eq!(proxy.ask("GET", &origin.url("/other"), "").status, 200);
}

/// A hint is of use before the answer is there.
#[test]
fn hints_come_before_the_answer_to_what_may_be_kept() {
    let gate = crate::support::Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        drop(stream.write_all(
            b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n",
        ));
        waiting.wait();
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "ok").as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let mut stream = connect(proxy.address);
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes())
        .unwrap();
    let hint = read_head(&mut stream).unwrap();
    assert!(
        hint.starts_with("HTTP/1.1 103 ")
            && hint.contains("Link: </a.css>\r\n")
            && !hint.contains("Hop"),
        "{hint}"
    );
    gate.open();
    assert_eq!(read_reply(&mut stream, "GET").text(), "ok");
    // An old client knows none, and an answer from memory has none.
    let mut old = connect(proxy.address);
    old.write_all(format!("GET {} HTTP/1.0\r\n\r\n", origin.url("/other")).as_bytes()).unwrap();
    assert!(read_head(&mut old).unwrap().starts_with("HTTP/1.1 200 "));
    stream
        .write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes())
        .unwrap();
    assert!(read_head(&mut stream).unwrap().contains("; hit;"));
    assert_eq!(origin.requests().len(), 2);
}

/// Whoever waits for another's fetch gets them too, also those that came before it.
#[test]
fn hints_reach_those_who_follow_a_fill() {
    let (first, second) = (crate::support::Gate::default(), crate::support::Gate::default());
    let gates = (first.clone(), second.clone());
    let origin = Origin::start(move |stream, _| {
        drop(stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"));
        gates.0.wait();
        drop(stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n"));
        gates.1.wait();
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "ok").as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let ask = |version: &str| {
        let mut stream = connect(proxy.address);
        stream
            .write_all(
                format!("GET {} HTTP/{version}\r\nHost: x\r\n\r\n", origin.url("/")).as_bytes(),
            )
            .unwrap();
        stream
    };
    let hint = |stream: &mut std::net::TcpStream| {
        read_head(stream)
            .unwrap()
            .lines()
            .find(|line| line.starts_with("Link: "))
            .map(str::to_owned)
    };
    let mut leader = ask("1.1");
    assert_eq!(hint(&mut leader).as_deref(), Some("Link: </a.css>"));
    // More than one worker has some of them.
    let mut followers: Vec<_> = (0..8).map(|_| ask("1.1")).collect();
    let mut old = ask("1.0");
    for follower in &mut followers {
        assert_eq!(hint(follower).as_deref(), Some("Link: </a.css>"));
    }
    first.open();
    for waiting in followers.iter_mut().chain([&mut leader]) {
        assert_eq!(hint(waiting).as_deref(), Some("Link: </b.css>"));
    }
    second.open();
    for waiting in followers.iter_mut().chain([&mut leader, &mut old]) {
        let reply = read_reply(waiting, "GET");
        assert_eq!((reply.status, reply.text()), (200, "ok".to_owned()));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn more_hints_than_sixteen_are_nothing_odd() {
    for method in ["GET", "POST"] {
        let hints = "HTTP/1.1 102 Processing\r\n\r\n".repeat(200);
        let origin =
            Origin::answering(hints + &response("Cache-Control: max-age=60\r\n", "ok"), Then::Keep);
        let got = odd::ask(Proxy::start().address, method, &origin.url("/")).unwrap();
        assert_eq!(
            (got.status, got.interims.len(), got.body.as_slice()),
            (200, 200, &b"ok"[..]),
            "{method}"
        );
    }
}

//! Origins that do what they should not, and clients that try what they must not.

use std::{
    io::{Read, Write},
    time::Duration,
};

use crate::support::{Gate, Origin, Proxy, Then, connect, read_reply};

#[test]
fn broken_answers_are_502_with_their_reason() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    for (answer, then, error) in [
        ("", Then::Close, "connection_terminated"),
        ("", Then::Reset, "connection_terminated"),
        ("garbage\r\n\r\n", Then::Close, "http_protocol_error"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            Then::Keep,
            "http_protocol_error",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Then::Keep, "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\nX: y\nContent-Length: 0\r\n\r\n", Then::Keep, "http_protocol_error"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Then::Keep, "http_protocol_error"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            Then::Close,
            "http_response_incomplete",
        ),
        ("HTTP/1.1 200", Then::Close, "connection_terminated"),
        (huge.as_str(), Then::Keep, "http_protocol_error"),
    ] {
        let origin = Origin::answering(answer, then);
        let proxy = Proxy::start();
        let reply = proxy.get(&origin.url("/"));
        let begin: String = answer.chars().take(60).collect();
        assert_eq!(reply.status, 502, "{begin:?}");
        assert_eq!(
            reply.field("proxy-status"),
            Some(format!("proxy-node-1; error={error}").as_str()),
            "{begin:?}"
        );
        assert_eq!(proxy.node.store.objects(), 0);
    }
}

#[test]
fn a_dead_a_silent_and_an_unknown_destination() {
    let dead = testkit::port::free();
    let proxy = Proxy::with(|document| document.timeouts.read = Duration::from_millis(200));
    let reply = proxy.get(&format!("http://{dead}/"));
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=connection_refused"))
    );
    let gate = Gate::default();
    let waiting = gate.clone();
    let silent = Origin::start(move |_, _| {
        waiting.wait();
        Then::Close
    });
    let reply = proxy.get(&silent.url("/"));
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (504, Some("proxy-node-1; error=http_response_timeout"))
    );
    gate.open();
    let reply = proxy.get("http://nowhere.example/");
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=dns_error"))
    );
    assert!(reply.text().contains("nowhere.example"));
}

#[test]
fn an_origin_cannot_speak_in_our_name() {
    let origin = Origin::answering(
        "HTTP/1.1 500 Oops\r\nProxy-Status: proxy-node-1; \
         error=proxy_internal_error\r\nShoal-Origin-Time: 1\r\nShoal-Request-Id: \
         forged\r\nProxy-Authenticate: Basic\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: \
         0\r\n\r\n",
        Then::Keep,
    );
    let reply = Proxy::start().get(&origin.url("/"));
    assert_eq!(reply.status, 500);
    for name in ["proxy-status", "shoal-origin-time", "proxy-authenticate", "x-hop"] {
        assert_eq!(reply.field(name), None, "{name}");
    }
    assert_ne!(reply.field("shoal-request-id"), Some("forged"));
    assert_eq!(reply.field("via"), Some("1.1 proxy-node-1.test"));
}

#[test]
fn smuggling_is_refused_and_the_connection_closed() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Keep);
    let proxy = Proxy::start();
    let url = origin.url("/");
    for (request, status) in [
        (
            format!(
                "POST {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: \
                 chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: \
                 4\r\n\r\nabcd"
            ),
            400,
        ),
        (format!("POST {url} HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"), 400),
        (
            format!(
                "POST {url} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"
            ),
            501,
        ),
        (
            format!(
                "POST {url} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
        ),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400),
        (format!("GET {url} HTTP/1.1\r\n\r\n"), 400),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n"), 400),
        (format!("GET {url} HTTP/1.1\nHost: a\n\n"), 400),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"), 400),
        (format!("GET {url}#x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("GET http://user@127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET http://0x7f.1/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (format!("GET {url} HTTP/2.0\r\nHost: a\r\n\r\n"), 505),
        (format!("GET http://a/{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000)), 414),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 501),
    ] {
        let mut stream = connect(proxy.address);
        // Whatever follows a refused request must not be taken for another one.
        stream
            .write_all(format!("{request}GET {url} HTTP/1.1\r\nHost: smuggled\r\n\r\n").as_bytes())
            .unwrap();
        let reply = read_reply(&mut stream, "GET");
        let begin: String = request.chars().take(120).collect();
        assert_eq!(reply.status, status, "{begin:?}");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        assert_eq!(rest, b"", "{begin:?}");
    }
    assert_eq!(origin.requests(), Vec::<String>::new(), "nothing reached the origin");
}

#[test]
fn a_bad_chunk_in_a_request_never_becomes_a_message() {
    let origin = Origin::start(|stream, _| {
        drop(stream.read(&mut [0; 100]));
        Then::Close
    });
    let proxy = Proxy::start();
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
        origin.url("/")
    );
    assert_eq!(proxy.raw(request.as_bytes(), "POST").status, 400);
}

/// Everything that comes to a client which has hardly read anything when the answer ends, and how
/// it ends.
fn ask_and_read_late(
    proxy: &Proxy,
    request: &str,
    lines: usize,
) -> (String, std::io::Result<usize>) {
    let mut stream = connect(proxy.address);
    socket2::SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // Its record is written when everything has been sent that came.
    proxy.log_lines(lines);
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received);
    (String::from_utf8(received).unwrap(), end)
}

#[test]
fn a_cut_answer_gives_all_that_came_of_it_and_ends_unclean() {
    let body = "x".repeat(40_000);
    let proxy = Proxy::start();
    let mut lines = 0;
    for (head, version) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\nCache-Control: no-store\r\n\
            \r\n"
                .to_owned(),
            "1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nCache-Control: max-age=60\r\n\
            \r\n"
                .to_owned(),
            "1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n\
            9c40\r\n"
                .to_owned(),
            "1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n\
            9c40\r\n"
                .to_owned(),
            "1.1",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\n\r\n\
            9c40\r\n"
                .to_owned(),
            "1.0",
        ),
    ] {
        let origin = Origin::answering(format!("{head}{body}"), Then::Close);
        lines += 1;
        let request = format!("GET {} HTTP/{version}\r\nHost: a\r\n\r\n", origin.url("/"));
        let (received, end) = ask_and_read_late(&proxy, &request, lines);
        assert!(
            received.starts_with("HTTP/1.1 200 OK\r\n")
                && !received.ends_with(
                    "\r\n0\r\n\
            \r\n"
                ),
            "{head:?}"
        );
        let came = received
            .split(
                "\r\n\
            \r\n",
            )
            .skip(1)
            .flat_map(str::bytes)
            .filter(|byte| *byte == b'x')
            .count();
        assert_eq!(came, body.len(), "{head:?} to HTTP/{version}");
        // Without a length and without chunks only a reset says that something is missing.
        assert_eq!(end.is_err(), version == "1.0", "{head:?} to HTTP/{version}");
        assert_eq!(origin.requests().len(), 1);
    }
    assert_eq!(proxy.node.store.objects(), 0, "half an answer is not kept");
}

#[test]
fn a_small_answer_that_breaks_off_is_a_502_that_says_so_and_is_asked_for_once() {
    for fields in ["Cache-Control: max-age=60\r\n", "Cache-Control: no-store\r\n"] {
        let origin = Origin::answering(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n{fields}\r\nhalf"),
            Then::Close,
        );
        let proxy = Proxy::start();
        let reply = proxy.get(&origin.url("/"));
        assert_eq!(
            (reply.status, reply.field("proxy-status")),
            (502, Some("proxy-node-1; error=http_response_incomplete")),
            "{fields}"
        );
        assert!(reply.text().contains("incomplete"), "{}", reply.text());
        assert_eq!(origin.requests().len(), 1);
        assert_eq!(proxy.node.store.objects(), 0);
    }
}

#[test]
fn an_answer_that_breaks_off_before_its_body_is_a_502_where_nothing_was_sent_on() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n";
    let origin = Origin::answering(head, Then::Close);
    let reply = Proxy::start().get(&origin.url("/"));
    assert_eq!(
        (reply.status, reply.field("proxy-status")),
        (502, Some("proxy-node-1; error=http_response_incomplete"))
    );
}

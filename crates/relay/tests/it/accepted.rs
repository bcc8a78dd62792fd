//! What is at the border of the allowed and allowed, and what it means.

use std::net::Ipv6Addr;

use relay::field::{Field, FieldSet};
use relay::framing::BodyFraming::{Chunked, Empty, Length, UntilClose};
use relay::head::{Limits, Progress, Version};
use relay::method::Method;
use relay::rewrite::{BodyFields, HeadWriter};
use relay::target::{Host, Target};
use relay::via;

use super::{byte_by_byte, request, request_in, response, response_in};

#[test]
fn requests() {
    // Head, framing, persistent.
    let cases = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Empty, true),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Empty, true),
        ("GET / HTTP/1.0\r\n\r\n", Empty, false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Empty, true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", Empty, false),
        ("GET http://a/ HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Empty, false),
        ("GET http://a/ HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n", Empty, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", Empty, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", Empty, false),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: closed\r\n\r\n", Empty, true),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", Empty, false),
        ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", Empty, true),
        ("OPTIONS * HTTP/1.1\r\nHost:\r\nMax-Forwards: 0\r\n\r\n", Empty, true),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 0\r\n\r\n", Empty, true),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Length(0), true),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t 999999999999999999 \t\r\n\r\n",
            Length(999_999_999_999_999_999),
            true,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", Chunked, true),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", Length(3), true),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", Empty, true),
        ("\r\nGET / HTTP/1.9\r\nHost: a\r\nConnection: close\r\n\r\n", Empty, false),
        ("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", Empty, true),
        ("GET http://a:/ HTTP/1.1\r\nHost: a:0080\r\n\r\n", Empty, true),
        ("CONNECT a:0443 HTTP/1.1\r\nX: a\r\n\r\n", Empty, true),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0000000000000000000000005\r\n\r\n",
            Length(5),
            true,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n", Length(0), true),
        (
            "brew /|\"{}^`\\ HTTP/1.1\r\nHost:a\r\nX:\r\nY: \t\r\nZ: \u{e9}\t\u{2028}\r\n\r\n",
            Empty,
            true,
        ),
    ];
    for (bytes, framing, persistent) in cases {
        for pieces in [vec![bytes.as_bytes()], byte_by_byte(bytes.as_bytes())] {
            let (verdict, head) = request_in(&pieces, &Limits::default());
            assert_eq!(verdict, Ok(Progress::Complete(bytes.len())), "{bytes:?}");
            assert_eq!((head.framing(), head.persistent()), (framing, persistent), "{bytes:?}");
        }
    }
}

#[test]
fn parts_of_a_request() {
    let bytes = b"\r\nGET http://[::1]:8080/a?b HTTP/1.1\r\nHost: other\r\nX-One:  1 \r\ncookie: \
        a\r\nCookie: b\r\nConnection: x-one, te\r\nTE: trailers\r\n\r\nbody";
    let (verdict, head) = request(bytes);
    assert_eq!(verdict, Ok(Progress::Complete(bytes.len() - 4)));
    let view = head.view(bytes);
    assert_eq!(
        (view.method(), view.method_text(), view.version()),
        (Method::Get, "GET", Version::Http11)
    );
    let Target::Absolute { path, authority, .. } = view.target() else {
        panic!("{:?}", view.target())
    };
    assert_eq!(
        (path, authority.host, authority.port),
        ("/a?b", Host::V6(Ipv6Addr::LOCALHOST), Some(8080))
    );
    assert_eq!(view.authority(), Some(authority));
    assert_eq!(view.host().map(|host| host.text), Some("other"));
    assert_eq!(view.values(Field::Cookie).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(view.lines().named("X-ONE").collect::<Vec<_>>(), [b"1"]);
    let nominated: Vec<_> =
        view.fields().filter(|line| line.nominated).map(|line| line.name).collect();
    assert_eq!(nominated, [&b"X-One"[..], b"TE"]);
    assert!(head.has(Field::Te) && !head.has(Field::Via) && view.value(Field::Via).is_none());
}

#[test]
fn expectations() {
    for (fields, expected) in [
        ("Expect: 100-Continue\r\nContent-Length: 1", true),
        ("Expect: 100-continue\r\nTransfer-Encoding: chunked", true),
        ("Expect: 100-continue", false),
        ("Expect: 100-continue\r\nContent-Length: 0", false),
        ("Expect: something\r\nContent-Length: 1", false),
    ] {
        assert_eq!(
            request(format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes())
                .1
                .expects_continue(),
            expected,
            "{fields}"
        );
    }
    assert!(
        !request(b"PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
            .1
            .expects_continue()
    );
}

#[test]
fn responses() {
    // Head, request method, framing, persistent.
    let cases = [
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Get, UntilClose, false),
        ("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", Method::Get, Length(5), true),
        ("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", Method::Get, Length(5), true),
        ("HTTP/1.1 200 \u{fc}ber\t!\r\nContent-Length: 5\r\n\r\n", Method::Post, Length(5), true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head, Empty, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Get, Chunked, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Head, Empty, true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
            Method::Get,
            Length(5),
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Get, Length(5), false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            Length(5),
            true,
        ),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Method::Get, UntilClose, false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Method::Get, Empty, true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", Method::Get, Empty, true),
        (
            "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            Empty,
            false,
        ),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", Method::Get, Empty, false),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Method::Get, Empty, false),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            Method::Post,
            Empty,
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
            Method::Delete,
            Empty,
            false,
        ),
        ("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", Method::Get, Empty, false),
        ("HTTP/1.2 200 OK\r\nContent-Length: 02\r\n\r\n", Method::Get, Length(2), true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\nContent-Length: 02, 2\r\n\r\n",
            Method::Get,
            Length(2),
            true,
        ),
        ("HTTP/1.1 200 OK\r\nX : y\r\nContent-Length \t: 2\r\n\r\n", Method::Get, Length(2), false),
        ("HTTP/1.1 100 Continue\r\n\r\n", Method::Post, Empty, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Method::Connect, Empty, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Connect, Empty, false),
        ("HTTP/1.1 407 Auth\r\nContent-Length: 5\r\n\r\n", Method::Connect, Length(5), true),
        ("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", Method::Get, Length(0), true),
    ];
    for (bytes, method, framing, persistent) in cases {
        for pieces in [vec![bytes.as_bytes()], byte_by_byte(bytes.as_bytes())] {
            let (verdict, head) = response_in(&pieces, &Limits::default());
            assert_eq!(verdict, Ok(Progress::Complete(bytes.len())), "{bytes:?}");
            assert_eq!(
                (head.framing(method), head.persistent(method)),
                (framing, persistent),
                "{bytes:?}"
            );
        }
    }
    for (bytes, reason) in [
        ("HTTP/1.1 200 Not a b\r\n\r\n", "Not a b"),
        ("HTTP/1.1 200\r\n\r\n", ""),
        ("HTTP/1.0 200 \u{e9}\r\n\r\n", "\u{e9}"),
    ] {
        assert_eq!(response(bytes.as_bytes()).1.view(bytes.as_bytes()).reason(), reason.as_bytes());
    }
}

/// What a server should not have written, and what is made of it.
#[test]
fn relaxed_responses() {
    let cases = [
        ("HTTP/1.1 200 OK\nContent-Length: 5\nX:y\n\n", Length(5), "Content-Length: 5\r\nX: y\r\n"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\n\n", Length(5), "Content-Length: 5\r\n"),
        ("HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\n", Length(5), "Content-Length: 5\r\n"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Chunked,
            "Transfer-Encoding: chunked\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: x\r\n\r\n",
            Chunked,
            "Transfer-Encoding: chunked\r\n",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Chunked,
            "Transfer-Encoding: chunked\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\0b\x01\x7f\x1b[0m\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            "X: a b   [0m\r\nContent-Length: 5\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            "X: a b\r\nContent-Length: 5\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX:\r\n\t a; b=\"c:d\" \r\n  e f: g\r\n\r\n",
            Length(5),
            "Content-Length: 5\r\nX: a; b=\"c:d\" e f: g\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            "Content-Length: 5\r\n",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Identity\r\n\r\n", UntilClose, ""),
        (
            "HTTP/1.1 200 OK\nX: a\x01\n b\nTransfer-Encoding: chunked\n\n",
            Chunked,
            "X: a b\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    for (bytes, framing, fields) in cases {
        assert!(response(bytes.as_bytes()).0.is_err(), "{bytes:?}, strictly");
        for pieces in [vec![bytes.as_bytes()], byte_by_byte(bytes.as_bytes())] {
            let (verdict, head) = response_in(&pieces, &Limits::default().relaxed(true));
            assert_eq!(verdict, Ok(Progress::Complete(bytes.len())), "{bytes:?}");
            assert_eq!(
                (head.framing(Method::Get), head.persistent(Method::Get)),
                (framing, false),
                "{bytes:?}"
            );
            let mut out = Vec::new();
            HeadWriter::response(
                &mut out,
                head.view(bytes.as_bytes()),
                FieldSet::EMPTY,
                BodyFields::AsReceived,
            )
            .finish();
            assert_eq!(
                String::from_utf8_lossy(&out),
                format!("HTTP/1.1 200 OK\r\n{fields}\r\n"),
                "{bytes:?}"
            );
        }
    }
}

/// More fields than are usually there are indexed all the same, and the next head finds nothing of
/// them.
#[test]
fn many_fields_and_large_heads() {
    let lines = "X-A: y\r\n".repeat(900);
    let value = "z".repeat(50_000);
    let bytes = format!(
        "HTTP/1.1 200 OK\r\n{lines}Content-Length: 5\r\nConnection: X-Last\r\nX-B: \
         {value}\r\nX-Last: a\r\n\r\n"
    );
    let mut head = relay::head::ResponseHead::new();
    for _ in 0..2 {
        assert_eq!(
            head.parse(bytes.as_bytes(), &Limits::default()),
            Ok(Progress::Complete(bytes.len()))
        );
        let view = head.view(bytes.as_bytes());
        assert_eq!((view.lines().count(), head.framing(Method::Get)), (904, Length(5)));
        assert_eq!(view.lines().named("x-b").next(), Some(value.as_bytes()));
        assert_eq!(
            view.fields().filter(|line| line.nominated).map(|line| line.name).collect::<Vec<_>>(),
            [b"X-Last"]
        );
        let small = b"HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n";
        assert_eq!(head.parse(small, &Limits::default()), Ok(Progress::Complete(small.len())));
        assert_eq!(head.view(small).lines().count(), 1);
    }
}

#[test]
fn protocols_that_are_asked_for() {
    let asked = |line: &str, fields: &str| {
        let bytes = format!("{line}\r\nHost: a\r\n{fields}\r\n");
        let (verdict, head) = request(bytes.as_bytes());
        assert_eq!(verdict, Ok(Progress::Complete(bytes.len())), "{bytes}");
        head.upgrades()
    };
    let get = "GET http://a/ HTTP/1.1";
    for (line, fields, upgrades) in [
        (get, "Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        (
            get,
            "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\nContent-Length: 0\r\n",
            true,
        ),
        (get, "Upgrade: irc/6.9\r\nConnection: upgrade\r\n", true),
        (get, "Upgrade: websocket\r\n", false),
        (get, "Connection: upgrade\r\n", false),
        (get, "Proxy-Connection: upgrade\r\nUpgrade: websocket\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", false),
        (
            get,
            "Connection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n",
            false,
        ),
        (get, "Connection: upgrade\r\nUpgrade: H2C\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: HTTP/2.0\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: TLS/1.2\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade: web socket\r\n", false),
        (get, "Connection: upgrade\r\nUpgrade:\r\n", false),
        ("POST http://a/ HTTP/1.1", "Connection: upgrade\r\nUpgrade: websocket\r\n", false),
        ("GET http://a/ HTTP/1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false),
    ] {
        assert_eq!(asked(line, fields), upgrades, "{line} {fields}");
    }
    let switching =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nContent-Length: 5\r\n\r\n";
    let mut head = relay::head::ResponseHead::new();
    assert!(head.parse(switching, &Limits::default()).is_err(), "unasked");
    head.set_may_switch(true);
    assert_eq!(head.parse(switching, &Limits::default()), Ok(Progress::Complete(switching.len())));
    let view = head.view(switching);
    assert!(!head.is_interim() && view.switches_to(b"websocket") && !view.switches_to(b"irc"));
    assert_eq!(head.framing(Method::Get), Empty);
}

#[test]
fn pipelined_heads_reuse_one_index() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    let mut head = relay::head::RequestHead::new();
    assert_eq!(head.parse(bytes, &Limits::default()), Ok(Progress::Complete(34)));
    assert_eq!(head.view(bytes).lines().count(), 2);
    let rest = &bytes[34..];
    assert_eq!(head.parse(&rest[..20], &Limits::default()), Ok(Progress::NeedMore));
    assert_eq!(head.parse(rest, &Limits::default()), Ok(Progress::Complete(rest.len())));
    assert_eq!((head.view(rest).target_text(), head.view(rest).lines().count()), ("/2", 1));
}

#[test]
fn loops() {
    for (fields, expected) in [
        ("", false),
        ("Via: 1.1 us.cluster\r\n", true),
        ("Via: 1.0 other, HTTP/1.1 \t us.cluster (Shoal, really)\r\n", true),
        ("Via: 1.1 a\r\nVia: 1.1 us.cluster\r\n", true),
        ("Via: 1.1 us.cluster2, 1.1 not-us.cluster, us.cluster\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (_, head) = request(bytes.as_bytes());
        assert_eq!(
            via::passed_through(head.view(bytes.as_bytes()).lines(), "us.cluster"),
            expected,
            "{fields}"
        );
    }
}

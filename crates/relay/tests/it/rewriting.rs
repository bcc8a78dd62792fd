//! What the next hop gets.

use relay::field::FieldSet;
use relay::framing::BodyFraming;
use relay::hygiene;
use relay::rewrite::{BodyFields, HeadWriter, LineForm, Persistence};

use super::{request, response};

fn forward(bytes: &str, form: LineForm, drop: FieldSet, body: BodyFields) -> String {
    let (verdict, head) = request(bytes.as_bytes());
    assert!(verdict.is_ok(), "{verdict:?}: {bytes}");
    let mut out = Vec::new();
    HeadWriter::request(&mut out, head.view(bytes.as_bytes()), form, drop, body).finish();
    String::from_utf8(out).expect("ASCII")
}

fn answer(bytes: &str, drop: FieldSet, body: BodyFields) -> String {
    let (verdict, head) = response(bytes.as_bytes());
    assert!(verdict.is_ok(), "{verdict:?}: {bytes}");
    let mut out = Vec::new();
    HeadWriter::response(&mut out, head.view(bytes.as_bytes()), drop, body).finish();
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn request_lines_and_host() {
    let (received, origin) = (LineForm::AsReceived, LineForm::Origin);
    let cases = [
        (
            "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
            received,
            "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n",
            origin,
            "GET /b?c HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "GET HTTP://a:81 HTTP/1.1\r\nX: 1\r\nhost:   b \r\nY: 2\r\n\r\n",
            origin,
            "GET / HTTP/1.1\r\nX: 1\r\nHost: a:81\r\nY: 2\r\n\r\n",
        ),
        (
            "GET http://a?c HTTP/1.1\r\nHost: a\r\n\r\n",
            origin,
            "GET /?c HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
            origin,
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "OPTIONS http://a?x HTTP/1.1\r\nHost: a\r\n\r\n",
            origin,
            "OPTIONS /?x HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", origin, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "GET http://a/ HTTP/1.0\r\nX: 1\r\n\r\n",
            origin,
            "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\r\n",
        ),
        ("GET / HTTP/1.0\r\n\r\n", received, "GET / HTTP/1.1\r\nHost: \r\n\r\n"),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n",
            origin,
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
        ),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", received, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "GET / HTTP/1.7\r\nX:1\r\nHost: a:\r\n\r\n",
            received,
            "GET / HTTP/1.1\r\nX: 1\r\nHost: a\r\n\r\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: [::1]:080\r\n\r\n",
            received,
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        ),
        (
            "GET http://p:/b HTTP/1.1\r\nHost: p:\r\n\r\n",
            received,
            "GET http://p/b HTTP/1.1\r\nHost: p\r\n\r\n",
        ),
        (
            "GET http://a:0081/b HTTP/1.1\r\nHost: a:81\r\n\r\n",
            received,
            "GET http://a:81/b HTTP/1.1\r\nHost: a:81\r\n\r\n",
        ),
        (
            "GET http://a:0081/b HTTP/1.1\r\nHost: a:0081\r\n\r\n",
            origin,
            "GET /b HTTP/1.1\r\nHost: a:81\r\n\r\n",
        ),
        (
            "GET http://a/b HTTP/1.1\r\nHost: b:\r\n\r\n",
            received,
            "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "CONNECT a:0443 HTTP/1.1\r\n\r\n",
            received,
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        ),
    ];
    for (bytes, form, expected) in cases {
        assert_eq!(
            forward(bytes, form, FieldSet::EMPTY, BodyFields::AsReceived),
            expected,
            "{bytes}"
        );
    }
}

/// RFC 9110 §7.6.1, field by field.
#[test]
fn hop_by_hop_fields_end_here() {
    let bytes = "GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\nX-Kept: 1\r\n\
                 connection: close, X-Mine ,TE, Host, Content-Length,,\r\n\
                 Keep-Alive: timeout=5\r\nx-mine: 2\r\nTE: trailers\r\nUpgrade: websocket\r\n\
                 X-MINE: 3\r\nContent-Length: 4\r\n\
                 Proxy-Authorization: Basic eA==\r\nShoal-Request-Id: forged\r\n\
                 Shoal-Origin-Time: 1\r\nX-Forwarded-For: 1.1.1.1\r\n\
                 X-Kept: 5\r\n\r\n";
    let to_node = "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nContent-Length: \
        4\r\nProxy-Authorization: Basic eA==\r\nX-Kept: 5\r\n\r\n";
    assert_eq!(
        forward(bytes, LineForm::AsReceived, hygiene::BALANCER_REQUEST, BodyFields::AsReceived),
        to_node
    );
    let to_origin =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nContent-Length: 4\r\nX-Kept: 5\r\n\r\n";
    assert_eq!(
        forward(bytes, LineForm::Origin, hygiene::NODE_REQUEST, BodyFields::AsReceived),
        to_origin
    );
    let from_node = "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nShoal-Origin-Time: \
        1\r\nShoal-Request-Id: a\r\nKeep-Alive: a\r\nContent-Length: 0\r\n\r\n";
    let to_client = "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\nShoal-Request-Id: \
        a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(from_node, hygiene::BALANCER_RESPONSE, BodyFields::AsReceived), to_client);
    assert_eq!(
        answer(from_node, hygiene::NODE_RESPONSE, BodyFields::AsReceived),
        "HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn framing_fields_are_canonical_and_in_place() {
    let cases = [
        ("Content-Length: 5\r\nX: a\r\n", BodyFields::AsReceived, "Content-Length: 5\r\nX: a\r\n"),
        (
            "content-LENGTH:\t5 \r\nX: a\r\n",
            BodyFields::AsReceived,
            "Content-Length: 5\r\nX: a\r\n",
        ),
        ("content-length: 5\r\nX: a\r\n", BodyFields::AsReceived, "content-length: 5\r\nX: a\r\n"),
        (
            "transfer-encoding: Chunked\r\nX: a\r\n",
            BodyFields::AsReceived,
            "Transfer-Encoding: chunked\r\nX: a\r\n",
        ),
        (
            "transfer-encoding: chunked\r\nTrailer: a\r\n",
            BodyFields::AsReceived,
            "transfer-encoding: chunked\r\nTrailer: a\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\nTrailer: b\r\nX: a\r\n",
            BodyFields::Set(BodyFraming::Length(7)),
            "X: a\r\nContent-Length: 7\r\n",
        ),
        (
            "Content-Length: 5\r\nX: a\r\n",
            BodyFields::Set(BodyFraming::Length(7)),
            "Content-Length: 7\r\nX: a\r\n",
        ),
        (
            "Content-Length: 5\r\nX: a\r\n",
            BodyFields::Set(BodyFraming::Chunked),
            "X: a\r\nTransfer-Encoding: chunked\r\n",
        ),
        (
            "Transfer-Encoding: chunked\r\nX: a\r\n",
            BodyFields::Set(BodyFraming::UntilClose),
            "X: a\r\n",
        ),
        ("Content-Length: 5\r\nX: a\r\n", BodyFields::Set(BodyFraming::Empty), "X: a\r\n"),
        ("X: a\r\n", BodyFields::Set(BodyFraming::Length(0)), "X: a\r\nContent-Length: 0\r\n"),
        ("X: a\r\n", BodyFields::AsReceived, "X: a\r\n"),
    ];
    for (fields, body, expected) in cases {
        let expected = format!("HTTP/1.1 200 OK\r\n{expected}\r\n");
        assert_eq!(
            answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), FieldSet::EMPTY, body),
            expected,
            "{fields} {body:?}"
        );
    }
    // The announced length of a body that does not come, and a length that must not be announced.
    let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(answer(not_modified, FieldSet::EMPTY, BodyFields::AsReceived), not_modified);
    let no_content = "HTTP/1.0 204\r\nContent-Length: 0\r\nX: a\r\n\r\n";
    assert_eq!(
        answer(no_content, FieldSet::EMPTY, BodyFields::AsReceived),
        "HTTP/1.1 204 \r\nX: a\r\n\r\n"
    );
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        forward(connect, LineForm::AsReceived, FieldSet::EMPTY, BodyFields::AsReceived),
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
    );
}

/// RFC 9110 §10.1.1: upstream is told 1.1 and would send a 100 that nobody waits for.
#[test]
fn expectations_that_nobody_has_are_dropped() {
    for (line, fields, kept) in [
        ("PUT / HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true),
        ("PUT / HTTP/1.1", "Expect: other\r\nContent-Length: 1\r\n", true),
        ("PUT / HTTP/1.1", "Expect: 100-continue\r\n", false),
        ("PUT / HTTP/1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ] {
        let out = forward(
            &format!("{line}\r\nHost: a\r\n{fields}\r\n"),
            LineForm::Origin,
            hygiene::NODE_REQUEST,
            BodyFields::AsReceived,
        );
        assert_eq!(out.contains("Expect"), kept, "{line} {fields}");
    }
}

#[test]
fn what_is_added_comes_last() {
    let bytes = b"GET / HTTP/1.0\r\nHost: a\r\nVia: 1.1 x\r\nX-Forwarded-For: \
        1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n\r\n";
    let (_, head) = request(bytes);
    let view = head.view(bytes);
    let write = |believed| {
        let mut out = Vec::new();
        let mut writer = HeadWriter::request(
            &mut out,
            view,
            LineForm::AsReceived,
            hygiene::BALANCER_REQUEST,
            BodyFields::AsReceived,
        );
        writer.via(view.version(), "us");
        writer.forwarded_for(believed, "9.9.9.9");
        writer.field("X-Note", "a\r\nb\0\u{e9}".as_bytes());
        writer.connection(Persistence::Close);
        writer.finish();
        String::from_utf8(out).expect("UTF-8")
    };
    let start = "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 x\r\nVia: 1.0 us\r\n";
    let end = "X-Note: a  b \u{e9}\r\nConnection: close\r\n\r\n";
    assert_eq!(write(None), format!("{start}X-Forwarded-For: 9.9.9.9\r\n{end}"));
    assert_eq!(
        write(Some(view.lines())),
        format!("{start}X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 9.9.9.9\r\n{end}")
    );
}

//! Lines, white space, control characters, sizes and versions of a request's head (RFC 9112 §2, §3
//! and §5).

use super::case::{Case, Meaning, forwarded, get, refused};

const LINES: &str = "lines";
const VERSION: &str = "version";
const SIZE: &str = "size";

/// All cases.
pub fn cases() -> Vec<Case> {
    [request_lines(), field_lines(), versions(), sizes()].into_iter().flatten().collect()
}

fn meant() -> Meaning {
    Meaning::of("GET", "/t")
}

fn request_lines() -> Vec<Case> {
    let mut cases = Vec::new();
    for bytes in [
        &b"GET http://{o}/t HTTP/1.1\nHost: {o}\r\n\r\n"[..],
        b"GET http://{o}/t HTTP/1.1\nHost: {o}\n\n",
        b"GET http://{o}/t HTTP/1.1\r\nHost: {o}\n\r\n",
        b"GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\n",
        b"GET http://{o}/t HTTP/1.1\r\nHost: {o}\n\n",
        b"GET http://{o}/t HTTP/1.1\rHost: {o}\r\n\r\n",
        b"GET http://{o}/t HTTP/1.1\r\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\r\n\r\n",
        b"GET  http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t  HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET\thttp://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t\tHTTP/1.1\r\nHost: {o}\r\n\r\n",
        b" GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\tGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t HTTP/1.1 \r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t HTTP/1.1\t\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t x HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t\x0bHTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET\0 http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t\0 HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/\x01 HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/\x7f HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/\xe9 HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET http://{o}/t#x HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"G(T http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"G\xc9T http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET,POST http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b" http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"GET HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\nGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\r\n\r\nGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\rGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\0GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\xef\xbb\xbfGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n!\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x00\x01\x00\x02GET \
            http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
    ] {
        cases.push(refused(LINES, bytes, &[400]));
    }
    // RFC 9112 §2.2 lets a server skip one.
    cases.push(forwarded(
        LINES,
        &b"\r\nGET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n"[..],
        meant(),
    ));
    cases
}

fn field_lines() -> Vec<Case> {
    let mut cases = Vec::new();
    for fields in [
        &b"X\r\n"[..],
        b"X a\r\n",
        b": a\r\n",
        b":\r\n",
        b"X : a\r\n",
        b"X\t: a\r\n",
        b"X Y: a\r\n",
        b"X(: a\r\n",
        b"X\xe9: a\r\n",
        b"X\x01: a\r\n",
        b"X\x0b: a\r\n",
        b"X@: a\r\n",
        b"X[]: a\r\n",
        b"\"X\": a\r\n",
        b"X/Y: a\r\n",
        b" X: a\r\n",
        b"\tX: a\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\r\n\tb\r\n",
        b"X: a\r\n \r\n",
        b"X:\r\n a\r\n",
        b"X: a\nY: b\r\n",
        b"X: a\r\n\nY: b\r\n",
        b"X: a\rY: b\r\n",
        b"X: a\r\r\n",
        b"X:\r a\r\n",
        b"X\r: a\r\n",
        b"X\n: a\r\n",
        b"X: a\0\r\n",
        b"X\0: a\r\n",
        b"\0\r\n",
        b"X: \x01\r\n",
        b"X: a\x7fb\r\n",
        b"X: \x0b\r\n",
        b"X: \x0c\r\n",
        b"X: a\x1b[31m\r\n",
        b"X: a\n\r\n",
        b"X: a\n\n",
        b"GET http://{o}/smuggled HTTP/1.1\r\n",
        b"X: a\r\n\r X: b\r\n",
        b"X: a\x08\r\n",
        b"X\xa0: a\r\n",
        b"\x0bX: a\r\n",
        b"\rX: a\r\n",
    ] {
        cases.push(refused(LINES, get(fields), &[400]));
    }
    cases.push(refused(LINES, &b"GET http://{o}/t HTTP/1.1\r\n Host: {o}\r\n\r\n"[..], &[400]));
    cases.push(refused(
        LINES,
        &b"GET http://{o}/t HTTP/1.1\r\n\tX: a\r\nHost: {o}\r\n\r\n"[..],
        &[400],
    ));
    for (fields, value) in [
        (&b"X-A: a\r\n"[..], "a"),
        (b"X-A:a\r\n", "a"),
        (b"X-A: \t a \t \r\n", "a"),
        (b"X-A:\r\n", ""),
        (b"X-A: \t\r\n", ""),
        (b"x-a: a\tb\r\n", "a\tb"),
        (b"X-A: \xe9\x80\xff\r\n", "\u{e9}\u{80}\u{ff}"),
        (b"X-A: :::\r\n", ":::"),
        (b"X-A: a: b\r\n", "a: b"),
        (b"!#$%&'*+-.^_`|~9: x\r\nX-A: \"\\\"\r\n", "\"\\\""),
        (
            b"X-A: GET http://{o}/smuggled HTTP/1.1\r\nX-B: y\r\n",
            "GET http://{o}/smuggled HTTP/1.1",
        ),
        (b"X-A: %0d%0aX-B: y\r\n", "%0d%0aX-B: y"),
    ] {
        let meaning =
            if value.contains("{o}") { meant().has("x-b", "y") } else { meant().has("x-a", value) };
        cases.push(forwarded(LINES, get(fields), meaning));
    }
    cases
}

fn versions() -> Vec<Case> {
    let mut cases = Vec::new();
    for version in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/11",
        "HTTP/1,1",
        "HTTP/1.1.1",
        "HTTP/a.b",
        "HTTP/-1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1.1x",
        "HTTPS/1.1",
        "ICAP/1.0",
        "RTSP/1.0",
        "HTTP",
        "HTTP/",
        "1.1",
        "HTTP\\1.1",
        "HTTP/1.1\0",
        "\"HTTP/1.1\"",
    ] {
        cases.push(refused(
            VERSION,
            format!("GET http://{{o}}/t {version}\r\nHost: {{o}}\r\n\r\n"),
            &[400],
        ));
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9", "HTTP/0.0"] {
        cases.push(refused(
            VERSION,
            format!("GET http://{{o}}/t {version}\r\nHost: {{o}}\r\n\r\n"),
            &[505],
        ));
    }
    cases.push(refused(VERSION, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505]));
    cases.push(refused(VERSION, "GET http://{o}/t\r\n", &[400]));
    cases.push(refused(VERSION, "GET http://{o}/t \r\n", &[400]));
    for (bytes, meaning) in [
        ("GET http://{o}/t HTTP/1.2\r\nHost: {o}\r\n\r\n", meant()),
        ("\r\nGET http://{o}/t HTTP/1.9\r\nHost: {o}\r\nX:y\r\n\r\n", meant().has("x", "y")),
        ("GET http://{o}/t HTTP/1.0\r\n\r\n", meant()),
        ("GET http://{o}/t HTTP/1.0\r\nHost: other\r\n\r\n", meant()),
        ("GET http://{o}/t HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", meant()),
        ("GET http://{o}/t HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", meant()),
        (
            "POST http://{o}/t HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
            Meaning::of("POST", "/t").body("hello"),
        ),
        (
            "POST http://{o}/t HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            Meaning::of("POST", "/t").body("hello").lacks("expect"),
        ),
        ("HEAD http://{o}/t HTTP/1.0\r\n\r\n", Meaning::of("HEAD", "/t")),
    ] {
        cases.push(forwarded(VERSION, bytes, meaning));
    }
    cases
}

fn sizes() -> Vec<Case> {
    let long = |length: usize| {
        format!("GET http://{{o}}/{} HTTP/1.1\r\nHost: {{o}}\r\n\r\n", "a".repeat(length))
    };
    let mut cases = vec![
        refused(SIZE, long(8192), &[414]),
        refused(SIZE, long(40_000), &[414]),
        refused(SIZE, format!("GET http://{{o}}/{}", "a".repeat(70_000)), &[414]),
        refused(SIZE, get("X: a\r\n".repeat(1100)), &[431]),
        refused(SIZE, get(format!("X: {}\r\n", "a".repeat(70_000))), &[431]),
        refused(SIZE, get(format!("{}: a\r\n", "x".repeat(256))), &[431]),
        refused(SIZE, get(format!("{}: a\r\n", "x".repeat(40_000))), &[431]),
        refused(SIZE, get(format!("Connection: {}\r\n", "a,".repeat(33))), &[431]),
        refused(SIZE, get("Connection: a, b, c\r\n".repeat(12)), &[431]),
        refused(
            SIZE,
            format!("{} http://{{o}}/t HTTP/1.1\r\nHost: {{o}}\r\n\r\n", "M".repeat(70_000)),
            &[400, 414, 431],
        ),
        forwarded(SIZE, get("X: a\r\n".repeat(900)), meant()),
        forwarded(SIZE, get(format!("X: {}\r\n", "a".repeat(60_000))), meant()),
        forwarded(SIZE, get(format!("{}: a\r\n", "x".repeat(255))), meant()),
        forwarded(SIZE, get(format!("Connection: {}\r\n", "a,".repeat(32))), meant()),
    ];
    let target: &'static str = Box::leak(format!("/{}", "a".repeat(8000)).into_boxed_str());
    cases.push(forwarded(SIZE, long(8000), Meaning::of("GET", target)));
    cases
}

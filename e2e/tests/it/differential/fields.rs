//! What concerns one hop, and what a client may not say in our name (RFC 9110 §7.6, §10.1.1), and
//! requests behind each other.

use super::case::{Case, Expect, Meaning, case, forwarded, get, local, post, refused};

const CONNECTION: &str = "connection";
const EXPECT: &str = "expect";
const SPOOFED: &str = "spoofed";
const PIPELINE: &str = "pipeline";
const CONNECT: &str = "connect";

/// All cases. `node` is the node's name in Via.
pub fn cases(node: &str) -> Vec<Case> {
    [connection(), expect(), spoofed(node), pipeline(), connect()].into_iter().flatten().collect()
}

fn meant() -> Meaning {
    Meaning::of("GET", "/t")
}

fn hello() -> Meaning {
    Meaning::of("POST", "/t").body("hello")
}

fn connection() -> Vec<Case> {
    let mut cases = Vec::new();
    for (fields, meaning) in [
        ("Connection: close\r\n", meant()),
        ("Connection: CLOSE\r\n", meant()),
        ("Connection: keep-alive\r\n", meant()),
        ("Connection: ,, close,,\r\n", meant()),
        ("Connection: X-A\r\nX-A: 1\r\n", meant().lacks("x-a")),
        ("X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\n", meant().lacks("x-a").has("x-b", "2")),
        ("X-A: 1\r\nConnection: close\r\nconnection: foo,X-A\r\nx-a: 2\r\n", meant().lacks("x-a")),
        ("Connection: X-A X-B\r\nX-A: 1\r\n", meant().has("x-a", "1")),
        ("Connection: keep-alive, close\r\n", meant()),
        ("Connection:\r\n", meant()),
        ("Connection: \"close\"\r\n", meant()),
        ("Connection: close;q=1\r\n", meant()),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            meant().has("upgrade", "websocket").has("connection", "upgrade"),
        ),
        ("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", meant()),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", meant()),
        ("Upgrade: websocket\r\n", meant()),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \
             AAMAAABkAARAAAAAAAIAAAAA\r\n",
            meant(),
        ),
        ("Upgrade: h2c\r\n", meant()),
        ("Upgrade: TLS/1.0\r\n", meant()),
        ("Keep-Alive: timeout=5, max=1000\r\n", meant()),
        ("TE: trailers\r\n", meant()),
        ("Connection: TE\r\nTE: gzip;q=1.0, trailers\r\n", meant()),
        ("TE: chunked\r\nTE: identity\r\n", meant()),
        ("Proxy-Connection: keep-alive\r\n", meant()),
        ("Proxy-Connection: close\r\n", meant()),
        ("Proxy-Connection: X-A\r\nX-A: 1\r\n", meant().has("x-a", "1")),
        ("Proxy-Authorization: Basic eDp5\r\n", meant()),
        ("Connection: Proxy-Authorization\r\nProxy-Authorization: Basic eDp5\r\n", meant()),
        // Who nominates these wants to take from the next hop what it decides by.
        (
            "Connection: Authorization\r\nAuthorization: Basic eDp5\r\n",
            meant().has("authorization", "Basic eDp5"),
        ),
        ("Connection: Cookie\r\nCookie: a=b\r\n", meant().has("cookie", "a=b")),
        ("Connection: Via\r\nVia: 1.1 before\r\n", meant()),
        ("Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n", meant()),
        ("Connection: Shoal-Request-Id\r\n", meant()),
        (
            "Connection: Cache-Control\r\nCache-Control: no-store\r\n",
            meant().has("cache-control", "no-store"),
        ),
        (
            "Connection: If-None-Match\r\nIf-None-Match: \"a\"\r\n",
            meant().has("if-none-match", "\"a\""),
        ),
        ("Connection: Forwarded\r\nForwarded: for=a\r\n", meant().lacks("forwarded")),
        ("Connection: Max-Forwards\r\nMax-Forwards: 3\r\n", meant().has("max-forwards", "3")),
        ("Connection: Connection\r\n", meant()),
        ("Connection: Host\r\n", meant()),
        (
            "Connection: close, X-Forwarded-For, Via, Host, Content-Length, Transfer-Encoding\r\n",
            meant(),
        ),
    ] {
        cases.push(forwarded(CONNECTION, get(fields), meaning));
    }
    cases.push(forwarded(
        CONNECTION,
        post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello"),
        hello().has("content-length", "5"),
    ));
    cases.push(forwarded(
        CONNECTION,
        post("Content-Length: 5\r\nConnection: close, content-length\r\n", "hello"),
        hello().has("content-length", "5"),
    ));
    cases.push(forwarded(
        CONNECTION,
        post(
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        hello(),
    ));
    cases.push(forwarded(
        CONNECTION,
        post(
            "Connection: Trailer\r\nTrailer: X-S\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nX-S: 1\r\n\r\n",
        ),
        hello().trailer("x-s", "1"),
    ));
    // Of a GET the whole may be fetched for the cache: this goes past it.
    cases.push(forwarded(
        CONNECTION,
        post("Connection: Range\r\nRange: bytes=0-1\r\nContent-Length: 5\r\n", "hello"),
        hello().has("range", "bytes=0-1"),
    ));
    cases.push(forwarded(
        CONNECTION,
        post("Connection: Content-Type\r\nContent-Type: a/b\r\nContent-Length: 5\r\n", "hello"),
        hello().has("content-type", "a/b"),
    ));
    cases.push(refused(
        CONNECTION,
        post(
            "Connection: Content-Length, Transfer-Encoding\r\nContent-Length: \
            5\r\nTransfer-Encoding: chunked\r\n",
            "0\r\n\r\n",
        ),
        &[400],
    ));
    cases
}

fn expect() -> Vec<Case> {
    let body = |expectation: &str| {
        post(format!("Expect: {expectation}\r\nContent-Length: 5\r\n"), "hello")
    };
    let mut cases = Vec::new();
    for expectation in ["100-continue", "100-Continue", "100-CONTINUE"] {
        cases.push(forwarded(EXPECT, body(expectation), hello()));
    }
    for expectation in ["100-continue, x", "200-ok", "y"] {
        cases.push(forwarded(EXPECT, body(expectation), hello()));
    }
    cases.push(forwarded(
        EXPECT,
        post("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        hello(),
    ));
    cases.push(forwarded(
        EXPECT,
        post("Connection: Expect\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
        hello(),
    ));
    cases.push(forwarded(EXPECT, get("Expect: 100-continue\r\n"), meant().lacks("expect")));
    cases.push(forwarded(
        EXPECT,
        post("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
        Meaning::of("POST", "/t").lacks("expect"),
    ));
    cases
}

fn spoofed(node: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for fields in [
        "X-Forwarded-For: 1.2.3.4\r\n",
        "X-Forwarded-For: 1.2.3.4, 127.0.0.1\r\n",
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n",
        "x-forwarded-for:\r\n",
        "X-Forwarded-For: unknown\r\n",
        "X-Forwarded-For: \"127.0.0.1\"\r\n",
        "X-Forwarded-For: \u{e9}\r\n",
        "X-Forwarded-For: ,,,\r\n",
        "X-Forwarded-For: 127.0.0.1\r\nConnection: X-Forwarded-For\r\n",
        "Shoal-Request-Id: 01890000-0000-7000-8000-000000000000\r\n",
        "Shoal-Request-Id: x\r\nShoal-Request-Id: y\r\n",
        "Shoal-Origin-Time: 99999999\r\n",
        "Shoal-Origin-Time: -1\r\nShoal-Origin-Time: x\r\n",
        "shoal-request-id: a\r\nConnection: shoal-request-id\r\n",
        "Proxy-Status: proxy-node-1; error=proxy_internal_error\r\n",
        "Via: 1.1 somebody\r\n",
        "Via: 1.1 a, 1.0 b (c), HTTP/1.1 d:80\r\n",
        "Via: proxy\r\n",
        "Via:\r\n",
        "Via: 1.1\r\n",
        "Via: ,,\r\n",
        "Via: 1.1 PROXY\r\nVia: 1.1 x\r\n",
        "Max-Forwards: 0\r\n",
        "Max-Forwards: -1\r\n",
        "Cache-Status: x; hit\r\n",
        "Age: 5\r\n",
        "Proxy-Authenticate: Basic\r\n",
        "Surrogate-Capability: a=\"ESI/1.0\"\r\n",
        "X-Real-IP: 1.2.3.4\r\n",
        "Forwarded: for=1.2.3.4\r\n",
        "X-HTTP-Method-Override: DELETE\r\n",
    ] {
        cases.push(forwarded(SPOOFED, get(fields), meant()));
    }
    // A loop is a loop however it is written.
    for via in [
        format!("Via: 1.1 {node}\r\n"),
        format!("via: 1.0 {node} (comment)\r\n"),
        format!("Via: HTTP/1.1 {node}\r\n"),
        format!("Via: 1.1 a, 1.1 {node}, 1.1 b\r\n"),
        format!("Via: 1.1 a\r\nVia: 1.1 {node}\r\n"),
        format!("Via: 1.1\t{node}\r\n"),
        format!("Connection: Via\r\nVia: 1.1 {node}\r\n"),
        format!("Via: 1.1   {node}\r\n"),
    ] {
        cases.push(local(SPOOFED, get(via), &[508]));
    }
    cases
}

fn pipeline() -> Vec<Case> {
    let one = |line: &str, rest: &str| format!("{line} HTTP/1.1\r\nHost: {{o}}\r\n{rest}");
    let (a, b) = (one("GET http://{o}/a", "\r\n"), one("GET http://{o}/b", "\r\n"));
    let posted = one("POST http://{o}/a", "Content-Length: 5\r\n\r\nhello");
    let chunked =
        one("POST http://{o}/a", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let head = one("HEAD http://{o}/a", "\r\n");
    let (get_a, get_b, post_a) = (
        Meaning::of("GET", "/a"),
        Meaning::of("GET", "/b"),
        Meaning::of("POST", "/a").body("hello"),
    );
    let all =
        |meanings: &[&Meaning]| Expect::Forwarded(meanings.iter().map(|&it| it.clone()).collect());
    let mut cases = vec![
        case(PIPELINE, format!("{a}{b}{a}{b}"), all(&[&get_a, &get_b, &get_a, &get_b])),
        case(PIPELINE, format!("{a}\r\n{b}"), all(&[&get_a, &get_b])),
        case(PIPELINE, format!("{posted}{b}"), all(&[&post_a, &get_b])),
        case(PIPELINE, format!("{posted}\r\n{b}"), all(&[&post_a, &get_b])),
        case(PIPELINE, format!("{chunked}{b}"), all(&[&post_a, &get_b])),
        case(PIPELINE, format!("{chunked}\r\n{posted}{b}"), all(&[&post_a, &post_a, &get_b])),
        case(
            PIPELINE,
            format!("{head}{b}{head}"),
            all(&[&Meaning::of("HEAD", "/a"), &get_b, &Meaning::of("HEAD", "/a")]),
        ),
        case(
            PIPELINE,
            format!("{}{b}", one("POST http://{o}/a", "Content-Length: 0\r\n\r\n")),
            all(&[&Meaning::of("POST", "/a"), &get_b]),
        ),
        case(
            PIPELINE,
            format!("{}{b}", one("POST http://{o}/a", "\r\n")),
            all(&[&Meaning::of("POST", "/a"), &get_b]),
        ),
        // What follows a close is not read.
        case(
            PIPELINE,
            format!("{}{b}", one("GET http://{o}/a", "Connection: close\r\n\r\n")),
            all(&[&get_a]),
        ),
        case(PIPELINE, format!("GET http://{{o}}/a HTTP/1.0\r\n\r\n{b}"), all(&[&get_a])),
        case(
            PIPELINE,
            format!(
                "{}{b}",
                one("POST http://{o}/a", "Connection: close\r\nContent-Length: 5\r\n\r\nhello")
            ),
            all(&[&post_a]),
        ),
        // A body is a body, whatever it looks like.
        case(
            PIPELINE,
            one("POST http://{o}/a", "Content-Length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
            all(&[&Meaning::of("POST", "/a").body("GET /smuggled HTTP/1.1\r\n\r\n")]),
        ),
        case(
            PIPELINE,
            one("GET http://{o}/a", "Content-Length: 26\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
            all(&[&Meaning::of("GET", "/a").body("GET /smuggled HTTP/1.1\r\n\r\n")]),
        ),
        case(
            PIPELINE,
            one(
                "POST http://{o}/a",
                "Transfer-Encoding: chunked\r\n\r\n1a\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\
                 \r\n",
            ),
            all(&[&Meaning::of("POST", "/a").body("GET /smuggled HTTP/1.1\r\n\r\n")]),
        ),
    ];
    let behind = [
        "\n",
        "\r\n\r\n",
        "x\r\n",
        " GET http://{o}/smuggled HTTP/1.1\r\nHost: {o}\r\n\r\n",
        "0\r\n\r\n",
        "\0",
        "\r",
        "HTTP/1.1 200 OK\r\n\r\n",
        "GET /smuggled\r\n",
    ];
    for junk in behind {
        for (first, meaning) in [(&a, &get_a), (&posted, &post_a), (&chunked, &post_a)] {
            cases.push(case(
                PIPELINE,
                format!("{first}{junk}"),
                Expect::Then(vec![meaning.clone()], &[400]),
            ));
        }
    }
    cases
}

fn connect() -> Vec<Case> {
    let mut cases = Vec::new();
    for target in [
        "127.0.0.1",
        "/t",
        "*",
        "http://{o}/",
        "http://{o}",
        "user@{o}",
        "{o}/",
        "{o}?",
        "{o}:{p}",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        ":{p}",
        "[::1]",
        "[::1:{p}",
        "127.1:{p}",
        "0x7f.1:{p}",
        "2130706433:{p}",
        "127.0.0.1:0x50",
        "{o},{o}",
        "{o}#",
        "127.0.0.1.:{p}",
        "@{o}",
        "a b:{p}",
    ] {
        cases.push(refused(
            CONNECT,
            format!("CONNECT {target} HTTP/1.1\r\nHost: {{o}}\r\n\r\n"),
            &[400],
        ));
    }
    for fields in [
        "Host: {o}\r\nContent-Length: 5\r\n",
        "Host: {o}\r\nTransfer-Encoding: chunked\r\n",
        "Host: {o}\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Host: {o}\r\nHost: {o}\r\n",
        "Host: a b\r\n",
        "Host: {o}\r\n x\r\n",
        "Host: {o}\nX: y\r\n",
        "Host: {o}\r\nContent-Length: 0\r\nContent-Length: 0\r\n",
    ] {
        cases.push(refused(CONNECT, format!("CONNECT {{o}} HTTP/1.1\r\n{fields}\r\n"), &[400]));
    }
    // Nobody is there: what stands behind was for the tunnel, and is for nobody.
    cases.push(refused(
        CONNECT,
        "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
        &[403, 502],
    ));
    cases.push(refused(
        CONNECT,
        "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 0\r\n\r\n",
        &[403, 502],
    ));
    cases.push(refused(
        CONNECT,
        "connect 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n",
        &[400],
    ));
    cases
}

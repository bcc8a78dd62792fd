//! What origins answer: framing, lines, statuses without a body, interim responses, and what they
//! may not say in our name.

use super::{
    case::{Gets, Reading, Reply},
    origin::Then,
};

const BOTH: &[&str] = &["GET", "POST"];

/// All cases.
pub fn cases() -> Vec<Reply> {
    [refused(), cut(), framed(), bodiless(), interims(), fields()].into_iter().flatten().collect()
}

fn reply(
    class: &'static str,
    methods: &'static [&'static str],
    bytes: impl Into<Vec<u8>>,
    then: Then,
    expect: Gets,
) -> Reply {
    let bytes = bytes.into();
    let name = bytes.escape_ascii().to_string().chars().take(300).collect();
    Reply { class, name, methods, bytes, then, expect }
}

/// A 200 that may be kept for a minute, with these field lines and this body.
fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}\r\n{body}")
}

fn refused() -> Vec<Reply> {
    let mut cases = Vec::new();
    let mut add =
        |class, bytes: &[u8], then| cases.push(reply(class, BOTH, bytes, then, Gets::Refused));
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 50\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5\x0b\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5x\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        add("response framing", ok(fields, body).as_bytes(), Then::Keep);
    }
    for fields in [
        "X: a\r\n Set-Cookie: b=c\r\n",
        "X: a\r\n \r\n",
        "X: a\r\n\t\r\nY: b\r\n",
        "X: a\r\n :\r\n",
        "X: a\r\n b\r\n Content-Length: 6\r\n",
        "Connection:\r\n close\r\n",
        "Trailer: a,\r\n b\r\n",
        "Upgrade: a,\r\n b\r\n",
    ] {
        add(
            "folded",
            ok(&format!("Content-Length: 5\r\n{fields}"), "hello").as_bytes(),
            Then::Keep,
        );
    }
    for fields in [
        " Content-Length: 5\r\n",
        " x\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\n 0\r\n",
        "Content-Length:\r\n 5\r\n",
    ] {
        add("folded", format!("HTTP/1.1 200 OK\r\n{fields}\r\nhello").as_bytes(), Then::Keep);
    }
    for fields in
        [" X: a\r\n", "X Y: a\r\n", "X\r\n", ": a\r\n", "X(: a\r\n", "X\0: a\r\n", "X\u{1}: a\r\n"]
    {
        add(
            "response lines",
            ok(&format!("Content-Length: 5\r\n{fields}"), "hello").as_bytes(),
            Then::Keep,
        );
    }
    // Splitting: one field that would be two to somebody.
    for fields in [
        "Location: /\rSet-Cookie: a=b\r\n",
        "Location: /\nSet-Cookie: a=b\r\n",
        "Location: /\n\nHTTP/1.1 200 OK\r\n",
        "Location: /\r\r\nSet-Cookie: a=b\r\n",
        "Location: /\r\n\nSet-Cookie: a=b\r\n",
        "X: a\n b\r\n",
        "Location: /\r\n\r Set-Cookie: a=b\r\n",
        "X: \u{1}\nY: b\r\n",
        "X:\nContent-Length: 0\r\n",
    ] {
        add(
            "splitting",
            ok(&format!("Content-Length: 5\r\n{fields}"), "hello").as_bytes(),
            Then::Keep,
        );
    }
    let rest = "Cache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "http/1.1 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/2 200",
        "HTTP/0.9 200 OK",
        "HTTP/1.1\t200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\nK",
        "GET / HTTP/1.1",
        "HTTP/1.1 200 a\rSet-Cookie: b",
        "HTTP/11 200 OK",
        "SSH-2.0-OpenSSH_9",
        "220 ftp ready",
        "+OK",
        "<html>",
        "\u{feff}HTTP/1.1 200 OK",
        "HTTP/1.1 101 Switching Protocols",
    ] {
        add("response lines", format!("{line}\r\n{rest}").as_bytes(), Then::Keep);
    }
    add("splitting", b"HTTP/1.1 200 OK\nContent-Length: 5\nX: a\r\nY: b\n\nhello", Then::Keep);
    add("splitting", b"HTTP/1.1 200 OK\nX: a\rContent-Length: 5\n\nhello", Then::Keep);
    add("response lines", b"HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\nhello", Then::Keep);
    add("response size", ok(&"X: a\r\n".repeat(1100), "").as_bytes(), Then::Close);
    add("response size", ok(&format!("X: {}\r\n", "a".repeat(70_000)), "").as_bytes(), Then::Close);
    add("response size", ok(&format!("{}: a\r\n", "x".repeat(300)), "").as_bytes(), Then::Close);
    add(
        "response size",
        format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(70_000)).as_bytes(),
        Then::Close,
    );
    // What is announced here never comes, and what comes is no response.
    for status in ["103 Early Hints", "100 Continue"] {
        for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
            add(
                "bodiless",
                format!("HTTP/1.1 {status}\r\n{fields}\r\nhello").as_bytes(),
                Then::Close,
            );
        }
    }
    for bytes in [
        &b""[..],
        b"H",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"<html>hello</html>",
        b"\r",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let then = if bytes.is_empty() { Then::Reset } else { Then::Close };
        if bytes.starts_with(b"HTTP/1.1 100") {
            continue;
        }
        add("early close", bytes, Then::Close);
        add("early close", bytes, then);
    }
    cases
}

fn cut() -> Vec<Reply> {
    let mut cases = Vec::new();
    let mut add =
        |class, bytes: String, then| cases.push(reply(class, BOTH, bytes, then, Gets::Cut));
    for (length, body) in [
        (10, "hello"),
        (6, "hello"),
        (1, ""),
        (100_000, "hello"),
        (999_999_999_999_999_999u64, "hello"),
    ] {
        for then in [Then::Close, Then::Reset] {
            add("truncated", ok(&format!("Content-Length: {length}\r\n"), body), then);
        }
    }
    for body in [
        "",
        "5",
        "5\r\n",
        "5\r\nhel",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0\r\n\r",
        "5\r\nhello\r\n0\r\nX: y\r\n",
        "5\r\nhello\r\n5\r\nhe",
    ] {
        for then in [Then::Close, Then::Reset] {
            add("truncated", ok("Transfer-Encoding: chunked\r\n", body), then);
        }
    }
    for body in [
        "g\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;a\0\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "hello",
        "5\r\nhello\r\n0\r\nX Y: y\r\n\r\n",
    ] {
        add("response chunks", ok("Transfer-Encoding: chunked\r\n", body), Then::Close);
    }
    cases
}

fn framed() -> Vec<Reply> {
    let mut cases = Vec::new();
    let mut add = |class, bytes: String, then, reading| {
        cases.push(reply(class, BOTH, bytes, then, Gets::Answer(reading)))
    };
    let hello = || Reading::of(200, "hello");
    let second = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";
    for (fields, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("content-length:5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: CHUNKED\r\n", "2;a=b\r\nhe\r\n03\r\nllo\r\n0\r\nX: y\r\n\r\n"),
        // Odd, with one meaning: it is sent on plainly.
        ("Content-Length: 05\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5 \nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\n\r\n"),
        ("Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\n", "hello"),
        ("Content-Length: 5, 5\r\n", "hello"),
        ("Content-Length : 5\r\nX\t: a\r\n", "hello"),
        ("Transfer-Encoding : chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5 \t\r\nhello\r\n0 \r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5;\r\nhello\r\n0 ; a = b\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\nShoal-Origin-Time: 1\r\nX \
             : y\r\n\r\n",
        ),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Content-Length: 5\r\nX-A: a\r\n b\r\n\t c\r\n", "hello"),
        ("X-A:\r\n a\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ("Content-Length: 5\r\nX-A: a\0b\u{1}\x7f\x1b[0m\r\n", "hello"),
    ] {
        add("response framing", ok(fields, body), Then::Keep, hello());
        add("response framing", ok(fields, body), Then::Close, hello());
        add(
            "response framing",
            ok(&format!("Connection: close\r\n{fields}"), body),
            Then::Close,
            hello(),
        );
        // Whatever comes behind is nobody's answer.
        add("desynchronised", ok(fields, &format!("{body}{second}")), Then::Keep, hello());
        add("desynchronised", ok(fields, &format!("{body}{second}{second}")), Then::Close, hello());
        add("desynchronised", ok(fields, &format!("{body}\r\n")), Then::Keep, hello());
        add("desynchronised", ok(fields, &format!("{body}x")), Then::Keep, hello());
    }
    for then in [Then::Keep, Then::Close] {
        add(
            "response lines",
            "HTTP/1.1 200 OK\nCache-Control: max-age=60\nContent-Length: 5\n\nhello".to_owned(),
            then,
            hello(),
        );
        add(
            "response lines",
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\nContent-Length: 5\n\nhello".to_owned(),
            then,
            hello(),
        );
        add(
            "response lines",
            format!("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n{second}"),
            then,
            hello(),
        );
        add(
            "response lines",
            "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            then,
            hello(),
        );
        let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: \
            chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        add("response framing", old.to_owned(), then, hello());
        add("response framing", format!("{old}{second}"), then, hello());
    }
    add("response framing", ok("", "hello"), Then::Close, hello());
    add("response framing", ok("Connection: keep-alive\r\n", "hello"), Then::Close, hello());
    add("response framing", "HTTP/1.0 200 OK\r\n\r\nhello".to_owned(), Then::Close, hello());
    add(
        "response framing",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        Then::Close,
        hello(),
    );
    add(
        "response framing",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        Then::Keep,
        hello(),
    );
    add(
        "response lines",
        "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        Then::Keep,
        hello(),
    );
    add(
        "response lines",
        "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        Then::Keep,
        hello(),
    );
    add(
        "response lines",
        "HTTP/1.1 200 a b: c\td\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        Then::Keep,
        hello(),
    );
    for status in [299, 302, 404, 410, 418, 451, 500, 503, 599, 600, 999] {
        add(
            "response lines",
            format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\nhello"),
            Then::Keep,
            Reading::of(status, "hello"),
        );
    }
    cases
}

fn bodiless() -> Vec<Reply> {
    let mut cases = Vec::new();
    for status in ["204 No Content", "304 Not Modified"] {
        let code: u16 = status[..3].parse().unwrap_or_default();
        for bytes in [
            "\r\n",
            "\r\nhello",
            "Connection: close\r\n\r\n",
            "ETag: \"a\"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled",
            "Content-Length: 0\r\n\r\n",
            "Content-Length: 5\r\n\r\nhello",
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "Content-Length: x\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 \
             OK\r\nContent-Length: 8\r\n\r\nsmuggled",
        ] {
            cases.push(reply(
                "bodiless",
                BOTH,
                format!("HTTP/1.1 {status}\r\n{bytes}"),
                Then::Keep,
                Gets::Answer(Reading::of(code, "")),
            ));
        }
    }
    for bytes in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Content-Length: 5\r\n\r\n",
    ] {
        cases.push(reply(
            "bodiless",
            BOTH,
            format!("HTTP/1.1 304 Not Modified\r\n{bytes}"),
            Then::Keep,
            Gets::Answer(Reading::of(304, "")),
        ));
        cases.push(reply(
            "bodiless",
            &["HEAD"],
            format!("HTTP/1.1 200 OK\r\n{bytes}"),
            Then::Keep,
            Gets::Answer(Reading::of(200, "")),
        ));
        cases.push(reply(
            "bodiless",
            &["HEAD"],
            format!(
                "HTTP/1.1 404 Not Found\r\n{bytes}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            ),
            Then::Keep,
            Gets::Answer(Reading::of(404, "")),
        ));
    }
    for bytes in ["\r\n", "\r\nhello", "Connection: close\r\n\r\n"] {
        cases.push(reply(
            "bodiless",
            &["HEAD"],
            format!("HTTP/1.1 200 OK\r\n{bytes}"),
            Then::Close,
            Gets::Answer(Reading::of(200, "")),
        ));
    }
    for fields in
        ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5, 5\r\n"]
    {
        let answer = Gets::Answer(Reading::of(200, ""));
        cases.push(reply(
            "bodiless",
            &["HEAD"],
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n"),
            Then::Keep,
            answer,
        ));
    }
    for fields in ["Content-Length: 5, 6\r\n", "Transfer-Encoding: gzip\r\n"] {
        cases.push(reply(
            "bodiless",
            &["HEAD"],
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n"),
            Then::Keep,
            Gets::Refused,
        ));
    }
    cases.push(reply(
        "bodiless",
        BOTH,
        "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
        Then::Keep,
        Gets::Answer(Reading::of(205, "")),
    ));
    cases
}

fn interims() -> Vec<Reply> {
    let mut cases = Vec::new();
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
        "HTTP/1.1 199 x\r\n\r\n",
        "HTTP/1.0 100 Continue\r\n\r\n",
        "HTTP/1.1 103 x\r\nShoal-Origin-Time: 1\r\nConnection: close\r\nProxy-Status: \
         proxy-node-1; error=proxy_internal_error\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 100 Continue\n\n",
        "HTTP/1.1 100 Continue\r\nConnection: X-A\r\nX-A: 1\r\nUpgrade: h2c\r\n\r\n",
    ] {
        cases.push(reply(
            "interim",
            BOTH,
            format!("{before}{last}"),
            Then::Keep,
            Gets::Answer(Reading::of(200, "hello")),
        ));
        cases.push(reply(
            "interim",
            BOTH,
            format!("{}{last}", before.repeat(12)),
            Then::Keep,
            Gets::Answer(Reading::of(200, "hello")),
        ));
        cases.push(reply(
            "interim",
            BOTH,
            format!("{}{last}", before.repeat(2000)),
            Then::Keep,
            Gets::Cut,
        ));
        cases.push(reply("interim", BOTH, before, Then::Close, Gets::Cut));
    }
    for before in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n X: y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nX: y\r\n\n",
        "HTTP/1.1 100 Continue\r\n\r\n\r\n",
        "HTTP/1.1 10 x\r\n\r\n",
    ] {
        cases.push(reply("interim", BOTH, format!("{before}{last}"), Then::Keep, Gets::Cut));
    }
    cases
}

fn fields() -> Vec<Reply> {
    let mut cases = Vec::new();
    let mut add = |status: u16, fields: &str, reading: Reading| {
        let bytes = format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n{fields}\r\nhello");
        cases.push(reply("response fields", BOTH, bytes, Then::Keep, Gets::Answer(reading)));
    };
    let hello = || Reading::of(200, "hello");
    add(200, "Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n", hello().lacks("x-a").has("x-b", "2"));
    add(200, "X-A: 1\r\nConnection: close, x-a\r\n", hello().lacks("x-a"));
    add(200, "Connection: Content-Length\r\n", hello().has("content-length", "5"));
    add(
        200,
        "Connection: Content-Type, Set-Cookie\r\nContent-Type: a/b\r\nSet-Cookie: c=d\r\n",
        hello().has("content-type", "a/b").has("set-cookie", "c=d"),
    );
    add(
        200,
        "Connection: Cache-Control\r\nCache-Control: private\r\n",
        hello().has("cache-control", "private"),
    );
    add(200, "Connection: Shoal-Request-Id, Via\r\n", hello());
    add(200, "Shoal-Origin-Time: 99999\r\n", hello());
    add(200, "Shoal-Request-Id: 00000000-0000-4000-8000-000000000000\r\n", hello());
    add(200, "Keep-Alive: timeout=99999\r\nProxy-Connection: keep-alive\r\n", hello());
    add(200, "Upgrade: h2,h2c\r\nConnection: Upgrade\r\n", hello());
    add(
        407,
        "Proxy-Authenticate: Basic realm=\"give me the proxy's password\"\r\n",
        Reading::of(407, "hello"),
    );
    add(200, "Proxy-Authentication-Info: x\r\n", hello().lacks("proxy-authentication-info"));
    add(200, "TE: trailers\r\nHTTP2-Settings: x\r\n", hello());
    add(
        200,
        "Location: /%0d%0aSet-Cookie:%20a=b\r\n",
        hello().has("location", "/%0d%0aSet-Cookie:%20a=b").lacks("set-cookie"),
    );
    add(200, "X-A: \u{e9}\r\n", hello());
    add(
        200,
        "X-A: a\r\n b\r\n\tc d: e\r\nX-B: f\r\n",
        hello().has("x-a", "a b c d: e").has("x-b", "f"),
    );
    add(200, "Set-Cookie: a=b;\r\n Path=/\r\n", hello().has("set-cookie", "a=b; Path=/"));
    // An origin that speaks in a node's name could have it ejected, or the request repeated
    // elsewhere.
    for error in [
        "proxy_internal_error",
        "connection_limit_reached",
        "proxy_configuration_error",
        "destination_unavailable",
    ] {
        for status in [500, 502, 503] {
            let fields = format!("Proxy-Status: proxy-node-1; error={error}\r\n");
            add(status, &fields, Reading::of(status, "hello").lacks("proxy-status"));
        }
    }
    cases
}

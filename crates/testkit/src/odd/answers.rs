//! The odd answers.

use super::{Odd, odd};

/// Every kind of oddity that has come up, in a few spellings each.
pub const ANSWERS: &[Odd] = &[
    // These end with the head, whatever it announces (RFC 9112 §6.3).
    odd(
        "204 with a coding",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\
        \r\n",
        204,
        "",
    ),
    odd(
        "204 with a coding and its last chunk",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: \
        chunked\r\n\r\n0\r\n\r\n",
        204,
        "",
    )
    .to("POST"),
    odd(
        "204 with a length",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nConnection: \
        close\r\n\r\n",
        204,
        "",
    )
    .to("DELETE"),
    odd(
        "204 with a length and a body",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n\
        hello",
        204,
        "",
    )
    .to("PUT"),
    odd(
        "204 with two lengths",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nContent-Length: \
        x\r\n\r\n",
        204,
        "",
    ),
    odd(
        "304 with both",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: \
        chunked\r\n\r\n",
        304,
        "",
    ),
    odd(
        "304 with a length that is none",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\
        \r\n",
        304,
        "",
    ),
    odd(
        "100 with a length",
        "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 \
        OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .to("POST")
    .after(&[100]),
    odd(
        "103 with a coding",
        "HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 \
        OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .after(&[103]),
    // Chunks.
    odd(
        "a size padded with blanks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \
        \r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    ),
    odd(
        "a last size padded",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
        chunked\r\n\r\n5\t\r\nhello\r\n0   \r\n\r\n",
        200,
        "hello",
    )
    .to("POST"),
    odd(
        "zeros before a size",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
        chunked\r\n\r\n000005\r\nhello\r\n0000\r\n\r\n",
        200,
        "hello",
    )
    .to("POST"),
    odd(
        "extensions",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ; a = \
        \"b\"\r\nhello\r\n0;x\r\n\r\n",
        200,
        "hello",
    )
    .to("POST"),
    odd(
        "a trailer that must not be merged",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: \
         Expires\r\n\r\n5\r\nhello\r\n0\r\nExpires: 0\r\n\r\n",
        200,
        "hello",
    ),
    odd(
        "trailers that must not be merged",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: \
         9\r\nSet-Cookie: a=b\r\nTransfer-Encoding: x\r\nContent-Language: en\r\n\r\n",
        200,
        "hello",
    )
    .to("POST"),
    // Field lines.
    odd(
        "a blank before the colon",
        "HTTP/1.1 200 OK\r\nX-Device : 7\r\nContent-Length: 2\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .with(&[("x-device", "7")]),
    odd(
        "blanks before the colon of a length",
        "HTTP/1.1 200 OK\r\nX-A\t :b\r\nContent-Length \t: \
        2\r\n\r\nok",
        200,
        "ok",
    )
    .with(&[("x-a", "b"), ("content-length", "2")])
    .to("POST"),
    odd("a later version", "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
    odd(
        "a much later version",
        "HTTP/1.9 404 Not Found\r\nContent-Length: 2\r\n\r\n\
        ok",
        404,
        "ok",
    )
    .to("POST"),
    // Lengths.
    odd(
        "a length with a zero",
        "HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .with(&[("content-length", "2")]),
    odd(
        "a length with zeros",
        "HTTP/1.1 200 OK\r\nContent-Length: 0000000000000000000002\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .to("POST"),
    odd(
        "no length in many zeros",
        "HTTP/1.1 200 OK\r\nContent-Length: 000\r\n\
        \r\n",
        200,
        "",
    )
    .with(&[("content-length", "0")]),
    odd(
        "equal lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\ncontent-length: \
        2\r\n\r\nok",
        200,
        "ok",
    )
    .with(&[("content-length", "2")]),
    odd(
        "equal lengths in a list",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2,02\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .with(&[("content-length", "2")])
    .to("POST"),
    odd(
        "lengths that differ",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n\
        ok!",
        502,
        "",
    ),
    odd(
        "lengths that differ in a list",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n\
        ok!",
        502,
        "",
    )
    .to("POST"),
    odd("half a list", "HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok", 502, ""),
    odd("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", 502, ""),
    // Hints.
    odd(
        "hints before what may be kept",
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 \
         OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .after(&[103]),
    odd(
        "signs of work",
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early \
         Hints\r\nLink: </b>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .to("POST")
    .after(&[102, 102, 103]),
    // What is against the rules, and read by everybody alike.
    odd(
        "lines that end with LF alone",
        "HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\n\
        ok",
        200,
        "ok",
    )
    .with(&[("x-a", "b")])
    .relaxed(),
    odd(
        "fields that end with LF alone",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\n\n\
        ok",
        200,
        "ok",
    )
    .relaxed()
    .to("POST"),
    odd(
        "chunks that end with LF alone",
        "HTTP/1.0 200 OK\nTransfer-Encoding: \
        chunked\n\n5;x\nhello\n0\nExpires: 0\n\n",
        200,
        "hello",
    )
    .relaxed(),
    odd(
        "the same, sent on in chunks",
        "HTTP/1.1 200 OK\nTransfer-Encoding: \
        chunked\n\n5\nhello\n1\n!\n0\n\n",
        200,
        "hello!",
    )
    .relaxed()
    .to("POST"),
    odd(
        "a length beside a coding",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: \
        chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    )
    .relaxed(),
    odd(
        "a coding beside a length",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
        chunked\r\nContent-Length: 99\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    )
    .relaxed()
    .to("POST"),
    odd(
        "chunks with HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: \
        chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        "hello",
    )
    .relaxed(),
    odd(
        "control characters in values",
        "HTTP/1.1 200 OK\r\nX-A: b\x01c\x1b[0m\r\nX-B: \
        \0\x7f.\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .with(&[("x-a", "b c [0m"), ("x-b", ".")])
    .relaxed(),
    odd(
        "a coding that does nothing",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
        identity\r\nContent-Length: 2\r\n\r\nok",
        200,
        "ok",
    )
    .relaxed(),
    odd(
        "the same without a length",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: identity\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .relaxed()
    .to("POST"),
    odd(
        "a folded line",
        "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n\r\n\
        ok",
        200,
        "ok",
    )
    .with(&[("x-a", "b c")])
    .relaxed(),
    odd(
        "a policy on several lines",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Security-Policy: default-src 'self';\r\n\
         \x20  script-src https://a.example\r\n\t'unsafe-inline';\r\n\r\nok",
        200,
        "ok",
    )
    .with(&[(
        "content-security-policy",
        "default-src 'self'; script-src https://a.example \
        'unsafe-inline';",
    )])
    .relaxed()
    .to("POST"),
    odd(
        "a line that is nothing but folded",
        "HTTP/1.1 200 OK\nContent-Length: 2\nX-A:\n\tb\n\n\
        ok",
        200,
        "ok",
    )
    .with(&[("x-a", "b")])
    .relaxed(),
    // What two readers could read as two messages.
    odd(
        "one LF among CRLFs",
        "HTTP/1.1 200 OK\r\nLocation: /\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok",
        502,
        "",
    ),
    odd(
        "a length behind an LF among CRLFs",
        "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\n\
        ok",
        502,
        "",
    ),
    odd(
        "an LF for the empty line behind CRLFs",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\n\
        ok",
        502,
        "",
    ),
    odd(
        "a CR in a value",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\n\
        ok",
        502,
        "",
    ),
    odd("a garbled length", "HTTP/1.1 200 OK\r\nContent-Length: 2\x0b\r\n\r\nok", 502, ""),
    odd(
        "a folded field",
        "HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: b=c\r\nContent-Length: \
        2\r\n\r\nok",
        502,
        "",
    ),
    odd("a folded length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 0\r\n\r\nok", 502, ""),
    odd(
        "a folded coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n \
        chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        502,
        "",
    )
    .to("POST"),
    odd(
        "a fold before the first field",
        "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\n\
        ok",
        502,
        "",
    ),
    odd(
        "a fold of blanks",
        "HTTP/1.1 200 OK\r\nX: a\r\n \t\r\nContent-Length: 2\r\n\r\n\
        ok",
        502,
        "",
    ),
    odd(
        "a coding twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: \
        chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        502,
        "",
    ),
    odd(
        "a protocol that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: \
        websocket\r\n\r\n",
        502,
        "",
    ),
];

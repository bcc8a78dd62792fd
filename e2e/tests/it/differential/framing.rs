//! Where a request's body ends: Content-Length, Transfer-Encoding, both, neither, and chunks (RFC
//! 9112 §6 and §7).

use super::case::{Case, Meaning, cut, forwarded, post, refused};

const LENGTH: &str = "content-length";
const CODING: &str = "transfer-coding";
const CHUNKS: &str = "chunks";
const TRAILERS: &str = "trailers";

/// All cases.
pub fn cases() -> Vec<Case> {
    [lengths(), codings(), both(), chunks(), trailers()].into_iter().flatten().collect()
}

fn hello() -> Meaning {
    Meaning::of("POST", "/t").body("hello")
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for value in [
        "",
        " ",
        "\t",
        "+5",
        "-5",
        "-0",
        "5,",
        ",5",
        "5,5",
        "5, 5",
        "5, 6",
        "5 5",
        "0x5",
        "5h",
        "5.0",
        "5e0",
        "1_0",
        "five",
        "\"5\"",
        "'5'",
        "5;",
        "5\u{a0}",
        "\u{b2}",
        "\u{ff15}",
        "1000000000000000000",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "4294967301x",
        "99999999999999999999999999999999999999",
        "5\x0b",
        "NaN",
        "null",
        "(5)",
    ] {
        cases.push(refused(LENGTH, post(format!("Content-Length: {value}\r\n"), "hello"), &[400]));
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\ncontent-length: 5\r\n",
        "Content-Length: 0\r\nX: y\r\nCONTENT-LENGTH: 5\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
        "Content-Length:\r\nContent-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        "Content-Length: 5\r\n 6\r\n",
        "Content-Length:\r\n 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length : 0\r\n",
        "Content-Length\0: 5\r\n",
        "Content-Length: 5\0\r\n",
        "Content-Length 5\r\n",
        "\u{1}Content-Length: 5\r\n",
        "Content-Length: 5\rContent-Length: 6\r\n",
        "Content-Length: 5\nContent-Length: 6\r\n",
    ] {
        cases.push(refused(LENGTH, post(fields, "hello"), &[400]));
    }
    for fields in [
        "Content-Length: 5\r\n",
        "Content-Length:5\r\n",
        "content-LENGTH: \t 5 \t\r\n",
        "A: b\r\nContent-Length: 5\r\nC: d\r\n",
    ] {
        cases.push(forwarded(LENGTH, post(fields, "hello"), hello().has("content-length", "5")));
    }
    for length in ["05", "0005", "00000000000000000000005"] {
        cases.push(forwarded(
            LENGTH,
            post(format!("Content-Length: {length}\r\n"), "hello"),
            hello().has("content-length", "5"),
        ));
    }
    cases.push(forwarded(
        LENGTH,
        post("Content-Length: 00\r\n", ""),
        Meaning::of("POST", "/t").has("content-length", "0"),
    ));
    cases.push(forwarded(
        LENGTH,
        post("Content-Length: 0\r\n", ""),
        Meaning::of("POST", "/t").has("content-length", "0"),
    ));
    cases.push(forwarded(
        LENGTH,
        post("", ""),
        Meaning::of("POST", "/t").lacks("transfer-encoding"),
    ));
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "get", "M-SEARCH"] {
        let bytes = format!(
            "{method} http://{{o}}/t HTTP/1.1\r\nHost: {{o}}\r\nContent-Length: 5\r\n\r\nhello"
        );
        cases.push(forwarded(LENGTH, bytes, Meaning::of(method, "/t").body("hello")));
    }
    // Names that only look like it are other fields, and decide nothing.
    for name in ["Content_Length", "Content-Length2", "X-Content-Length", "Contentlength"] {
        cases.push(forwarded(
            LENGTH,
            post(format!("{name}: 50\r\nContent-Length: 5\r\n"), "hello"),
            hello().has("content-length", "5"),
        ));
    }
    cases.push(refused(
        LENGTH,
        b"TRACE http://{o}/t HTTP/1.1\r\nHost: {o}\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        &[400],
    ));
    cases
}

fn codings() -> Vec<Case> {
    let mut cases = Vec::new();
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for value in [
        "",
        " ",
        "identity",
        "gzip",
        "deflate",
        "compress",
        "x-chunked",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, identity",
        "identity, chunked",
        "chunked;q=1",
        "chunked ;a=b",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chunked chunked",
        "chunked\u{a0}",
        "cow",
        "chunked, cow",
        "[chunked]",
        "chunked\t\tx",
        "%63hunked",
        "nothing, chunked",
    ] {
        cases.push(refused(CODING, post(format!("Transfer-Encoding: {value}\r\n"), body), &[501]));
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\r\n , identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: chunked\x0c\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding: chunked\0\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Transfer-Encoding: chunked\n\r\n",
    ] {
        cases.push(refused(CODING, post(fields, body), &[400]));
    }
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:chunked\r\n",
        "TRANSFER-ENCODING: \tCHUNKED \r\n",
        "Transfer-Encoding: Chunked\r\n",
    ] {
        cases.push(forwarded(
            CODING,
            post(fields, body),
            hello().has("transfer-encoding", "chunked").lacks("content-length"),
        ));
    }
    for name in ["Transfer_Encoding", "Transfer-Encodin", "X-Transfer-Encoding", "TransferEncoding"]
    {
        cases.push(forwarded(
            CODING,
            post(format!("{name}: chunked\r\nContent-Length: 5\r\n"), "hello"),
            hello().lacks("transfer-encoding"),
        ));
    }
    let old =
        |fields: &str| format!("POST http://{{o}}/t HTTP/1.0\r\nHost: {{o}}\r\n{fields}\r\n{body}");
    cases.push(refused(CODING, old("Transfer-Encoding: chunked\r\n"), &[400]));
    cases.push(refused(
        CODING,
        old("Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n"),
        &[400],
    ));
    cases.push(refused(
        CODING,
        b"TRACE http://{o}/t HTTP/1.1\r\nHost: {o}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_vec(),
        &[400],
    ));
    cases
}

fn both() -> Vec<Case> {
    let mut cases = Vec::new();
    for length in ["0", "4", "5", "15", "6", "", "x", "5, 5"] {
        for coding in ["chunked", "Chunked", "identity", "gzip, chunked", "x", ""] {
            let (first, last) = (
                format!("Content-Length: {length}\r\n"),
                format!("Transfer-Encoding: {coding}\r\n"),
            );
            let body = "5\r\nhello\r\n0\r\n\r\n";
            cases.push(refused("both", post(format!("{first}{last}"), body), &[400, 501]));
            cases.push(refused("both", post(format!("{last}{first}"), body), &[400, 501]));
        }
    }
    cases
}

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn chunks() -> Vec<Case> {
    let mut cases = Vec::new();
    for line in [
        "",
        " 5",
        "5 ",
        "\t5",
        "+5",
        "-5",
        "0x5",
        "5_",
        "g",
        "5,5",
        "5.0",
        "\u{b2}",
        "10000000000000005",
        "8000000000000005",
        "ffffffffffffffff",
        "fffffffffffffffffffffffffffffffb",
        "00000000000000000005",
        "5;",
        "5;;a",
        "5; a",
        "5;a ",
        "5;a =b",
        "5;a= b",
        "5;a=",
        "5;a=b=c",
        "5;a=\"b",
        "5;a=\"b\"c",
        "5 ;a=b",
        "5;\u{1}",
        "5;a=\"\0\"",
        "5;a\0",
        "5\x0b",
        "5\rX",
        "\r\n5",
        ";5",
        "5;a\rb",
        "5;\"a\"",
        "5;a=(b)",
    ] {
        cases.push(cut(CHUNKS, chunked(format!("{line}\r\nhello\r\n0\r\n\r\n"))));
    }
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n0;\r\n\r\n",
        "5\r\nhello\r\n\0\r\n\r\n",
        "hello",
        "\r\n\r\n",
    ] {
        cases.push(cut(CHUNKS, chunked(body)));
    }
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5000));
    cases.push(cut(CHUNKS, chunked(long)));
    let many = "1;a=b;c=d;e=f;g=h;i=j;k=l;m=n\r\nx\r\n".repeat(300);
    cases.push(cut(CHUNKS, chunked(format!("{many}0\r\n\r\n"))));
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n0\r\n\r\n",
        "0000000000000005\r\nhello\r\n000\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0;b\r\n\r\n",
        "5;a=b;c=\"d;e\\\"\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"0\"\r\nhello\r\n0\r\n\r\n",
    ] {
        cases.push(forwarded(CHUNKS, chunked(body), hello()));
    }
    cases.push(forwarded(CHUNKS, chunked("0\r\n\r\n"), Meaning::of("POST", "/t")));
    cases.push(forwarded(
        CHUNKS,
        chunked("a\r\n0\r\n\r\nGET /\r\n0\r\n\r\n"),
        Meaning::of("POST", "/t").body("0\r\n\r\nGET /"),
    ));
    cases.push(forwarded(
        CHUNKS,
        chunked(format!("A\r\n{}\r\n0\r\n\r\n", "x".repeat(10))),
        Meaning::of("POST", "/t").body("x".repeat(10)),
    ));
    let big = "y".repeat(100_000);
    cases.push(forwarded(
        CHUNKS,
        chunked(format!("186a0\r\n{big}\r\n0\r\n\r\n")),
        Meaning::of("POST", "/t").body(big),
    ));
    cases
}

fn trailers() -> Vec<Case> {
    let mut cases = Vec::new();
    for trailer in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: evil",
        "Connection: close",
        "Trailer: x",
        "TE: trailers",
        "Upgrade: h2c",
        "Keep-Alive: 1",
        "Proxy-Connection: x",
        "Via: 1.1 x",
        "Expect: 100-continue",
        "Max-Forwards: 1",
        "X-Forwarded-For: 1.2.3.4",
        "Forwarded: for=x",
        "Authorization: Basic eA==",
        "Proxy-Authorization: Basic eA==",
        "Cookie: a=b",
        "Cache-Control: max-age=1",
        "Range: bytes=0-1",
        "Content-Type: text/html",
        "Content-Encoding: gzip",
        "Shoal-Request-Id: x",
        "Shoal-Origin-Time: 1",
        "X-Forwarded-Host: x",
        "NoColon",
        ": empty",
        "X : y",
        "X\t: y",
        " X: y",
        "\tX: y",
        "X: y\r\n z",
        "X: a\0b",
        "X: a\u{1}b",
        "X(: y",
        "X: a\x7f",
        "\0: x",
        "X: a\nY: b",
        "X: a\rY: b",
        "GET http://{o}/smuggled HTTP/1.1",
    ] {
        cases.push(cut(TRAILERS, chunked(format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"))));
    }
    cases.push(cut(
        TRAILERS,
        chunked(format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(2000))),
    ));
    cases
        .push(cut(TRAILERS, chunked(format!("5\r\nhello\r\n0\r\n{}: y\r\n\r\n", "x".repeat(300)))));
    let with = |trailers: &str| chunked(format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    cases.push(forwarded(TRAILERS, with("X-Sum: 1\r\n"), hello().trailer("x-sum", "1")));
    cases.push(forwarded(
        TRAILERS,
        with("Grpc-Status:0\r\nY:\r\n"),
        hello().trailer("grpc-status", "0").trailer("y", ""),
    ));
    cases
}

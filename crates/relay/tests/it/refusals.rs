//! One line per way to be ambiguous, whole and byte by byte.

use relay::head::{Limits, MAX_FIELDS};
use relay::malformed::Malformed as M;

use super::{byte_by_byte, request, request_in, response, response_in};

/// Request line and Host are fine; `fields` is what is wrong.
fn with_fields(fields: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn refused(bytes: &[u8], reason: M) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    assert_eq!(request(bytes).0, Err(reason), "{shown:?}");
    assert_eq!(
        request_in(&byte_by_byte(bytes), &Limits::default()).0,
        Err(reason),
        "{shown:?}, byte by byte"
    );
    assert!([400, 414, 431, 501, 505].contains(&reason.request_status()));
}

fn response_refused(bytes: &[u8], reason: M) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    assert_eq!(response(bytes).0, Err(reason), "{shown:?}");
    assert_eq!(
        response_in(&byte_by_byte(bytes), &Limits::default()).0,
        Err(reason),
        "{shown:?}, byte by byte"
    );
    assert_eq!(reason.response_status(), 502);
}

#[test]
fn request_lines() {
    let cases: &[(&[u8], M)] = &[
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", M::EmptyLine),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", M::BareLf),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", M::BareLf),
        (b"\r\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", M::BareCr),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", M::RequestLine),
        (b"\tGET / HTTP/1.1\r\nHost: a\r\n\r\n", M::Method),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", M::RequestLine),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", M::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", M::RequestLine),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", M::RequestLine),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", M::Method),
        (b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", M::NoVersion),
        (b"GET /\ta HTTP/1.1\r\nHost: a\r\n\r\n", M::ControlCharacter),
        (b"GET\r\nHost: a\r\n\r\n", M::RequestLine),
        (b"GET \r\nHost: a\r\n\r\n", M::RequestLine),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", M::Method),
        (b"\x16\x03\x01 / HTTP/1.1\r\nHost: a\r\n\r\n", M::Method),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", M::BareLf),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", M::BareCr),
        (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", M::BareCr),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", M::BareCr),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", M::Nul),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", M::ControlCharacter),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", M::ControlCharacter),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", M::Target),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", M::Target),
        (b"GET /\r\n", M::NoVersion),
        (b"GET / \r\n", M::VersionSyntax),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / Http/1.1\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTP/1\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTP/11\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTP/1,1\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTPS/1.1\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / ICAP/1.0\r\nHost: a\r\n\r\n", M::VersionSyntax),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", M::Version),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", M::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", M::Version),
        (b"HTTP/1.1 200 OK\r\n\r\n", M::Method),
    ];
    for (bytes, reason) in cases {
        refused(bytes, *reason);
    }
}

#[test]
fn targets_and_hosts() {
    let cases = [
        ("GET a HTTP/1.1\r\nHost: a", M::Target),
        ("GET a:80 HTTP/1.1\r\nHost: a", M::Target),
        ("GET * HTTP/1.1\r\nHost: a", M::Target),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a", M::Scheme),
        ("GET http:/a HTTP/1.1\r\nHost: a", M::Target),
        ("GET http:///a HTTP/1.1\r\nHost: a", M::Authority),
        ("GET http://u:p@a/ HTTP/1.1\r\nHost: a", M::Authority),
        ("GET http://a:0/ HTTP/1.1\r\nHost: a", M::Authority),
        ("GET http://127.1/ HTTP/1.1\r\nHost: a", M::Authority),
        ("GET http://[::1/ HTTP/1.1\r\nHost: a", M::Authority),
        ("CONNECT a HTTP/1.1\r\nHost: a", M::Authority),
        ("CONNECT /a HTTP/1.1\r\nHost: a", M::Authority),
        ("CONNECT http://a:443/ HTTP/1.1\r\nHost: a", M::Authority),
        ("CONNECT u@a:443 HTTP/1.1\r\nHost: a", M::Authority),
        ("CONNECT a:443:443 HTTP/1.1\r\nHost: a", M::Authority),
        ("GET / HTTP/1.1\r\nX: a", M::MissingHost),
        ("GET http://a/ HTTP/1.1\r\nX: a", M::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a", M::SeveralHosts),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\nhOST: b", M::SeveralHosts),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b", M::SeveralHosts),
        ("GET / HTTP/1.1\r\nHost:", M::BadHost),
        ("GET http://a/ HTTP/1.1\r\nHost: ", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: a, b", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: a b", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: u@a", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: http://a", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: a:x", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: ::1", M::BadHost),
        ("GET / HTTP/1.1\r\nHost: \u{e9}", M::BadHost),
        ("GET / HTTP/1.0\r\nHost: a\tb", M::BadHost),
        ("OPTIONS * HTTP/1.1\r\nHost: a b", M::BadHost),
    ];
    for (head, reason) in cases {
        refused(format!("{head}\r\n\r\n").as_bytes(), reason);
    }
}

#[test]
fn field_lines() {
    let cases = [
        ("X\r\n", M::NoColon),
        ("X a\r\n", M::NoColon),
        (": a\r\n", M::EmptyFieldName),
        ("X : a\r\n", M::SpaceBeforeColon),
        ("X\t: a\r\n", M::SpaceBeforeColon),
        ("Content-Length : 5\r\n", M::SpaceBeforeColon),
        ("X Y: a\r\n", M::FieldName),
        ("X(: a\r\n", M::FieldName),
        ("X\u{e9}: a\r\n", M::FieldName),
        ("X\x01: a\r\n", M::FieldName),
        ("X\x0b: a\r\n", M::FieldName),
        (" X: a\r\n", M::ObsFold),
        ("X: a\r\n b\r\n", M::ObsFold),
        ("X: a\r\n\tb\r\n", M::ObsFold),
        ("X: a\r\n \r\n", M::ObsFold),
        ("X:\r\n a\r\n", M::ObsFold),
        ("X: a\nY: b\r\n", M::BareLf),
        ("X: a\r\n\nY: b\r\n", M::BareLf),
        ("X: a\rY: b\r\n", M::BareCr),
        ("X: a\r\r\n", M::BareCr),
        ("X:\r a\r\n", M::BareCr),
        ("X\r: a\r\n", M::BareCr),
        ("X: a\0\r\n", M::Nul),
        ("X\0: a\r\n", M::Nul),
        ("X: \x01\r\n", M::ControlCharacter),
        ("X: a\x7fb\r\n", M::ControlCharacter),
        ("X: \x0b\r\n", M::ControlCharacter),
        ("X: a\x1b[31m\r\n", M::ControlCharacter),
    ];
    for (fields, reason) in cases {
        refused(&with_fields(fields), reason);
    }
    refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", M::LeadingWhitespace);
    refused(b"GET / HTTP/1.1\r\n\tX: a\r\nHost: a\r\n\r\n", M::LeadingWhitespace);
    refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n", M::BareLf);
    refused(b"GET / HTTP/1.1\r\nHost: a\n\n", M::BareLf);
}

#[test]
fn framing_fields() {
    let cases = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", M::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", M::LengthAndCoding),
        ("Transfer-Encoding: x\r\nContent-Length: y\r\n", M::LengthAndCoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", M::SeveralContentLengths),
        ("Content-Length: 5\r\ncontent-length: 6\r\n", M::SeveralContentLengths),
        ("Content-Length:\r\n", M::ContentLength),
        ("Content-Length: \t \r\n", M::ContentLength),
        ("Content-Length: +5\r\n", M::ContentLength),
        ("Content-Length: -5\r\n", M::ContentLength),
        ("Content-Length: -0\r\n", M::ContentLength),
        ("Content-Length: 5, 5\r\n", M::ContentLength),
        ("Content-Length: 5 5\r\n", M::ContentLength),
        ("Content-Length: 5,\r\n", M::ContentLength),
        ("Content-Length: 0x5\r\n", M::ContentLength),
        ("Content-Length: 5.0\r\n", M::ContentLength),
        ("Content-Length: 5e1\r\n", M::ContentLength),
        ("Content-Length: 1_0\r\n", M::ContentLength),
        ("Content-Length: five\r\n", M::ContentLength),
        ("Content-Length: \"5\"\r\n", M::ContentLength),
        ("Content-Length: \u{b2}\r\n", M::ContentLength),
        ("Content-Length: 1000000000000000000\r\n", M::ContentLength),
        ("Content-Length: 18446744073709551616\r\n", M::ContentLength),
        ("Content-Length: 99999999999999999999999999999999\r\n", M::ContentLength),
        ("Transfer-Encoding:\r\n", M::TransferCoding),
        ("Transfer-Encoding: identity\r\n", M::TransferCoding),
        ("Transfer-Encoding: gzip\r\n", M::TransferCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunked, gzip\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunked, chunked\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunked,\r\n", M::TransferCoding),
        ("Transfer-Encoding: ,chunked\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunked;q=1\r\n", M::TransferCoding),
        ("Transfer-Encoding: \"chunked\"\r\n", M::TransferCoding),
        ("Transfer-Encoding: xchunked\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunke\r\n", M::TransferCoding),
        ("Transfer-Encoding: chunked \u{a0}\r\n", M::TransferCoding),
        ("Transfer-Encoding: chun ked\r\n", M::TransferCoding),
        ("Transfer-Encoding: \x0bchunked\r\n", M::ControlCharacter),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            M::SeveralTransferEncodings,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            M::SeveralTransferEncodings,
        ),
        ("Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n", M::SeveralTransferEncodings),
        ("Transfer-Encoding\t: chunked\r\n", M::SpaceBeforeColon),
        ("Transfer-Encoding:\r\n chunked\r\n", M::ObsFold),
    ];
    for (fields, reason) in cases {
        refused(&with_fields(fields), reason);
    }
    refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", M::CodingOnOldVersion);
    refused(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n", M::UnexpectedBody);
    refused(
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n",
        M::UnexpectedBody,
    );
    refused(b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", M::UnexpectedBody);
}

#[test]
fn sizes() {
    refused(&with_fields(&"X: a\r\n".repeat(MAX_FIELDS)), M::TooManyFields);
    refused(&with_fields(&format!("X: {}\r\n", "a".repeat(66_000))), M::HeadTooLarge);
    refused(&with_fields(&format!("X: {}", "a".repeat(66_000))), M::HeadTooLarge);
    refused(&with_fields(&format!("{}: a\r\n", "x".repeat(256))), M::FieldNameTooLong);
    refused(
        &with_fields(&format!("Connection: {}\r\n", "a,".repeat(33))),
        M::TooManyConnectionOptions,
    );
    refused(
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(8192)).as_bytes(),
        M::TargetTooLong,
    );
    refused(format!("GET /{}", "a".repeat(66_000)).as_bytes(), M::TargetTooLong);
    // A head of exactly the limit is fine, one byte more is not.
    let limits = Limits { head: 64, ..Limits::default() };
    let exactly = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(64 - 32));
    assert_eq!(exactly.len(), 64);
    assert!(request_in(&[exactly.as_bytes(), b"more"], &limits).0.is_ok());
    assert!(request_in(&byte_by_byte(exactly.as_bytes()), &limits).0.is_ok());
    let more = exactly.replace("X: ", "X: a");
    assert_eq!(request_in(&[more.as_bytes()], &limits).0, Err(M::HeadTooLarge));
    assert_eq!(request_in(&byte_by_byte(more.as_bytes()), &limits).0, Err(M::HeadTooLarge));
}

#[test]
fn statuses() {
    for (reason, status) in [
        (M::TargetTooLong, 414),
        (M::HeadTooLarge, 431),
        (M::TooManyFields, 431),
        (M::TransferCoding, 501),
        (M::Version, 505),
        (M::VersionSyntax, 400),
        (M::NoVersion, 400),
        (M::LengthAndCoding, 400),
        (M::ChunkSize, 400),
    ] {
        assert_eq!(reason.request_status(), status, "{reason}");
    }
}

#[test]
fn responses() {
    let cases: &[(&[u8], M)] = &[
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", M::EmptyLine),
        (b"\nHTTP/1.1 200 OK\r\n\r\n", M::BareLf),
        (b" HTTP/1.1 200 OK\r\n\r\n", M::VersionSyntax),
        (b"HTTP/1.1 200 OK\n\n", M::BareLf),
        (b"HTTP/1.1 200 OK\r\n\n", M::BareLf),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", M::BareCr),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", M::Nul),
        (b"HTTP/1.1 200 O\x1bK\r\n\r\n", M::ControlCharacter),
        (b"HTTP/1.1 20 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 2000 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 +20 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 099 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 000 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1  200 OK\r\n\r\n", M::StatusCode),
        (b"HTTP/1.1 200OK\r\n\r\n", M::StatusLine),
        (b"HTTP/1.1 200\tOK\r\n\r\n", M::StatusLine),
        (b"HTTP/1.1\r\n\r\n", M::StatusLine),
        (b"HTTP/1.1 \r\n\r\n", M::StatusLine),
        (b"HTTP/1.1\t200 OK\r\n\r\n", M::StatusLine),
        (b"http/1.1 200 OK\r\n\r\n", M::VersionSyntax),
        (b"HTTP/2.0 200 OK\r\n\r\n", M::Version),
        (b"HTTP/0.9 200 OK\r\n\r\n", M::Version),
        (b"HTTP/2 200\r\n\r\n", M::VersionSyntax),
        (b"ICY 200 OK\r\n\r\n", M::VersionSyntax),
        (b"<html>\r\n\r\n", M::StatusLine),
        (b"GET / HTTP/1.1\r\n\r\n", M::VersionSyntax),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", M::SwitchingProtocols),
        (b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n", M::LeadingWhitespace),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX\r\n\r\n", M::NoColon),
        (b"HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n", M::FieldName),
        (b"HTTP/1.1 200 OK\r\n : a\r\n\r\n", M::LeadingWhitespace),
        (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", M::Nul),
        (b"HTTP/1.1 200 OK\r\nX: \x01\r\n\r\n", M::ControlCharacter),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            M::SeveralContentLengths,
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", M::SeveralContentLengths),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n", M::ContentLength),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length:\r\n\r\n", M::ContentLength),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\n", M::ContentLength),
        (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", M::EmptyFieldName),
        (b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", M::BareLf),
        (b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", M::BareCr),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::LengthAndCoding,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", M::TransferCoding),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", M::TransferCoding),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::SeveralTransferEncodings,
        ),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", M::CodingOnOldVersion),
    ];
    for (bytes, reason) in cases {
        response_refused(bytes, *reason);
    }
    response_refused(
        format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(66_000)).as_bytes(),
        M::HeadTooLarge,
    );
    response_refused(
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(MAX_FIELDS + 1)).as_bytes(),
        M::TooManyFields,
    );
}

/// What not even a relaxed reading lets pass: two readers would see two messages.
#[test]
fn relaxed_responses() {
    let cases: &[(&[u8], M)] = &[
        // One LF among CRLFs, and the other way round, wherever it is.
        (b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", M::BareLf),
        (b"HTTP/1.1 200 OK\nX: a\nY: b\r\n\n", M::BareLf),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n\n", M::BareLf),
        (b"HTTP/1.1 200 OK\nX: a\n\r\n", M::BareLf),
        (b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 5\r\n\r\n", M::BareLf),
        (b"HTTP/1.1 200 OK\nX: a\r\r\n\n", M::BareCr),
        (b"HTTP/1.1 200 OK\r\nX: a\r\r\n\r\n", M::BareCr),
        (b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", M::BareCr),
        (b"HTTP/1.1 200 OK\nX: a\rY: b\n\n", M::BareCr),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", M::Nul),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", M::ControlCharacter),
        (b"HTTP/1.1 200 OK\r\nX\0: a\r\n\r\n", M::Nul),
        (b"HTTP/1.1 200 OK\r\nX\x01: a\r\n\r\n", M::FieldName),
        // A fold where nothing can be folded, or of what a reader could take for the empty line, a
        // field, or another connection.
        (b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n", M::LeadingWhitespace),
        (b"HTTP/1.1 200 OK\r\n b\r\n\r\n", M::LeadingWhitespace),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n \r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n\t \t\r\nContent-Length: 5\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n \0\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\x01c\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: b\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n\tContent-Length \t:5\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n c: d\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n : d\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n 0\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 5\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding :\r\n chunked\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n\tchunked\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive,\r\n x\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nUpgrade: a,\r\n b\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nTrailer: a,\r\n b\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: a,\r\n b\r\n\r\n", M::ObsFold),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\nY: c\r\n\r\n", M::BareLf),
        (b"\nHTTP/1.1 200 OK\n\n", M::EmptyLine),
        // Where a message ends is not guessed.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\x0b\r\n\r\n", M::ControlCharacter),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \0chunked\r\n\r\n", M::ControlCharacter),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            M::SeveralContentLengths,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n",
            M::TransferCoding,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: identity, chunked\r\n\r\n",
            M::TransferCoding,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::SeveralTransferEncodings,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\nTransfer-Encoding: identity\r\n\r\n",
            M::SeveralContentLengths,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            M::SeveralTransferEncodings,
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", M::SwitchingProtocols),
    ];
    let relaxed = Limits::default().relaxed(true);
    for (bytes, reason) in cases {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(response_in(&[bytes], &relaxed).0, Err(*reason), "{shown:?}");
        assert_eq!(
            response_in(&byte_by_byte(bytes), &relaxed).0,
            Err(*reason),
            "{shown:?}, byte by byte"
        );
    }
}

/// Every byte at every place in and around the tokeniser's vector widths: only the grammar's are
/// accepted.
#[test]
fn every_byte_everywhere() {
    for byte in 0..=255u8 {
        for at in 0..70 {
            let filler = |len: usize| {
                let mut text = vec![b'a'; len];
                text.insert(at, byte);
                text
            };
            let head = |target: &[u8], name: &[u8], value: &[u8]| {
                [b"GET /", target, b" HTTP/1.1\r\nHost: a\r\n", name, b": b", value, b"b\r\n\r\n"]
                    .concat()
            };
            let target = request(&head(&filler(70), b"X", b"a")).0.is_ok();
            assert_eq!(
                target,
                byte.is_ascii_graphic() && byte != b'#',
                "target: {byte:#x} at {at}"
            );
            let value = request(&head(b"", b"X", &filler(70))).0.is_ok();
            assert_eq!(
                value,
                byte == b'\t' || (byte >= b' ' && byte != 0x7f),
                "value: {byte:#x} at {at}"
            );
            // A colon in a name is the end of a shorter one.
            let name = request(&head(b"", &filler(70), b"a")).0.is_ok();
            let token = byte.is_ascii_alphanumeric()
                || b"!#$%&'*+-.^_`|~".contains(&byte)
                || (byte == b':' && at > 0);
            assert_eq!(name, token, "name: {byte:#x} at {at}");
        }
    }
}

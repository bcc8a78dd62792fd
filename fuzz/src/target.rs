//! The targets: what comes from clients and origins, then from operators, then from other processes
//! of the cluster.

pub mod chunked;
pub mod client_hello;
pub mod forwarded;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;

pub mod cache;
pub mod dns;
pub mod url;

pub mod bundle;
pub mod list;

pub mod resume_token;
pub mod vrrp;
pub mod wire;

use relay::head::{Limits, Progress, RequestHead, ResponseHead};

/// Small, so that mutations meet the limits.
const SMALL: Limits = Limits { head: 2048, target: 256, fields: 16, relaxed: false };

/// Words of every HTTP head.
const HEAD_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\tb",
    b"\r\n x: y",
    b"\r\n\r\n",
    b"\0",
    b": ",
    b" :",
    b"\t",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/1.2\r\n",
    b"Host: a:080\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Content-Length : 5\r\n",
    b"X: a\n",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 05\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: 999999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, x-a, host, te\r\n",
    b"Proxy-Connection: keep-alive\r\n",
    b"X-A: b\r\n",
    b"Upgrade: h2c\r\n",
    b"HTTP2-Settings: AAMAAABk\r\n",
    b"Expect: 100-continue\r\n",
    b"Trailer: x\r\n",
    b"TE: trailers\r\n",
    b"Via: 1.1 a, 1.0 b (c, d)\r\n",
    b"Shoal-Request-Id: 0\r\n",
    b"Shoal-Origin-Time: 1\r\n",
    b"Proxy-Authorization: Basic YTpi\r\n",
    b"X-Forwarded-For: 192.0.2.1\r\n",
    b"\x80",
    b"\x7f",
];

/// A complete request at the front of `bytes`.
fn request(bytes: &[u8]) -> Option<RequestHead> {
    let mut head = RequestHead::new();
    matches!(head.parse(bytes, &Limits::default()), Ok(Progress::Complete(_))).then_some(head)
}

/// A complete response at the front of `bytes`.
fn response(bytes: &[u8]) -> Option<ResponseHead> {
    let mut head = ResponseHead::new();
    matches!(head.parse(bytes, &Limits::default()), Ok(Progress::Complete(_))).then_some(head)
}

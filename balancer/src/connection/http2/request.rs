//! From the head of a stream to the head of an HTTP/1.1 request. Pure.
//!
//! What comes out is one request in one spelling, or nothing: it is read again by the parser that
//! reads every client's requests, which judges what is left to judge (the target, lengths, how
//! many fields). Here is checked what would not survive the translation: RFC 9113 §8.2 and §8.3,
//! as far as the `h2` crate has not.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts, uri::Scheme};
use relay::chunked::{LAST_CHUNK, push_size_line};

/// What an HTTP/1.1 request is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// With the empty line at its end.
    pub bytes: Vec<u8>,
    /// How what follows is framed.
    pub body: Body,
}

/// How the bytes that a client sends on a stream go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There are none.
    None,
    /// As they are: their number was announced.
    Length,
    /// In chunks.
    Chunked,
    /// As they are, until the client ends its half: a tunnel.
    Tunnel,
}

/// Why a stream is refused as malformed (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// §8.3.1: it would run into the authority.
    #[error(":path begins with no slash")]
    Path,
    /// CONNECT names no authority.
    #[error("CONNECT without :authority")]
    NoAuthority,
    /// Nobody knows which of them is meant.
    #[error("Host is not :authority, or there are several")]
    Host,
    /// §8.1.1: content is announced that will not come.
    #[error("content-length of a request that has ended")]
    Length,
    /// §8.2.1: a recipient may strip it, or not.
    #[error("a field value begins or ends with white space")]
    Blank,
    /// §8.2.2.
    #[error("a field of one connection, which HTTP/2 does not have")]
    ConnectionSpecific,
}

/// Where a client may have its own business with the balancer: a check, the statistics page.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// What the client has called the balancer in its TLS handshake.
    pub name: Option<&'a str>,
    /// Where its connection came in.
    pub address: Option<std::net::SocketAddr>,
    /// By TLS.
    pub secure: bool,
}

impl Own<'_> {
    /// Whether a request is for the balancer itself and not for an origin behind it. HTTP/1.1 tells
    /// the two apart by the form of the target; here only the name can.
    fn is_meant(&self, request: &Parts) -> bool {
        let scheme = if self.secure { Scheme::HTTPS } else { Scheme::HTTP };
        let (Some(address), Some(authority)) = (self.address, request.uri.authority()) else {
            return false;
        };
        let port = authority.port_u16().unwrap_or(if self.secure { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_name = self.name.is_some_and(|name| name.eq_ignore_ascii_case(host));
        let is_address = host.parse().is_ok_and(|ip: std::net::IpAddr| ip == address.ip());
        request.uri.scheme() == Some(&scheme) && port == address.port() && (is_name || is_address)
    }
}

/// Writes the request. `ends`: nothing follows its head.
///
/// # Errors
/// See [`Refused`].
pub fn translate(request: &Parts, ends: bool, own: Own<'_>) -> Result<Head, Refused> {
    let connect = request.method == Method::CONNECT;
    let host = host(request)?;
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).iter();
    if ends && lengths.any(|it| it != "0") {
        return Err(Refused::Length);
    }
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    target(&mut out, request, own)?;
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        field(&mut out, header::HOST.as_str(), host)?;
    }
    fields(&mut out, &request.headers)?;
    let body = body(request, ends, connect);
    match body {
        Body::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // A server may ask for the length of what has none (RFC 9110 §8.6).
        Body::None if expects_content(request) => out.extend_from_slice(b"content-length: 0\r\n"),
        Body::None | Body::Length | Body::Tunnel => {}
    }
    // One request, and nothing that could be taken for another one behind it.
    out.extend_from_slice(b"connection: close\r\n\r\n");
    Ok(Head { bytes: out, body })
}

/// The one authority of the request.
fn host(request: &Parts) -> Result<Option<&[u8]>, Refused> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refused::Host);
    }
    let Some(authority) = request.uri.authority() else { return Ok(host) };
    let said = authority.as_str().as_bytes();
    let default = match request.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => &b":80"[..],
        Some(scheme) if *scheme == Scheme::HTTPS => b":443",
        _ => b"",
    };
    let plain = |it: &'_ [u8]| it.strip_suffix(default).unwrap_or(it).to_ascii_lowercase();
    match host {
        Some(host) if plain(host) != plain(said) => Err(Refused::Host),
        _ => Ok(Some(said)),
    }
}

fn target(out: &mut Vec<u8>, request: &Parts, own: Own<'_>) -> Result<(), Refused> {
    let authority = request.uri.authority().map(|it| it.as_str());
    if request.method == Method::CONNECT {
        out.extend_from_slice(authority.ok_or(Refused::NoAuthority)?.as_bytes());
        return Ok(());
    }
    let path = request.uri.path_and_query().map_or("", |it| it.as_str());
    // Of a server as a whole (§8.3.1); in the absolute form by an empty path (RFC 9112 §3.2.4).
    let asterisk = path == "*" && request.method == Method::OPTIONS;
    if !asterisk && !path.starts_with('/') {
        return Err(Refused::Path);
    }
    match (authority, request.uri.scheme_str()) {
        (Some(authority), Some(scheme)) if !own.is_meant(request) => {
            out.extend_from_slice(scheme.as_bytes());
            out.extend_from_slice(b"://");
            out.extend_from_slice(authority.as_bytes());
            out.extend_from_slice(if asterisk { b"" } else { path.as_bytes() });
        }
        _ => out.extend_from_slice(path.as_bytes()),
    }
    Ok(())
}

fn fields(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<(), Refused> {
    for (name, value) in fields {
        // What it asks for is not passed on; Host is written already, cookies are below.
        if name == header::TE || name == header::HOST || name == header::COOKIE {
            continue;
        }
        if is_of_connection(name) {
            return Err(Refused::ConnectionSpecific);
        }
        field(out, name.as_str(), value.as_bytes())?;
    }
    cookies(out, fields)
}

/// Cookies that came in pieces are one field again (§8.2.3).
fn cookies(out: &mut Vec<u8>, fields: &HeaderMap) -> Result<(), Refused> {
    let mut before = &b"cookie: "[..];
    for crumb in fields.get_all(header::COOKIE) {
        out.extend_from_slice(before);
        checked(crumb.as_bytes())?;
        out.extend_from_slice(crumb.as_bytes());
        before = b"; ";
    }
    if before == b"; " {
        out.extend_from_slice(b"\r\n");
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Refused> {
    checked(value)?;
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

fn checked(value: &[u8]) -> Result<(), Refused> {
    let blank = |it: Option<&u8>| matches!(it, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) { Err(Refused::Blank) } else { Ok(()) }
}

/// Fields that say something of one HTTP/1.1 connection (§8.2.2).
pub(super) fn is_of_connection(name: &HeaderName) -> bool {
    name == header::CONNECTION
        || name == header::TRANSFER_ENCODING
        || name == header::UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

fn body(request: &Parts, ends: bool, connect: bool) -> Body {
    let announced = request.headers.contains_key(header::CONTENT_LENGTH);
    match (connect, ends, announced) {
        (true, false, _) => Body::Tunnel,
        // The h2 crate holds the client to it, and the relay takes no more than that.
        (false, false, true) => Body::Length,
        (false, false, false) => Body::Chunked,
        (_, true, _) => Body::None,
    }
}

fn expects_content(request: &Parts) -> bool {
    let content = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    content && !request.headers.contains_key(header::CONTENT_LENGTH)
}

/// Appends what ends a body in chunks.
///
/// # Errors
/// See [`Refused`].
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) -> Result<(), Refused> {
    let Some(trailers) = trailers else {
        out.extend_from_slice(LAST_CHUNK);
        return Ok(());
    };
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if is_of_connection(name) {
            return Err(Refused::ConnectionSpecific);
        }
        field(out, name.as_str(), value.as_bytes())?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Appends what begins a chunk.
pub fn chunk(out: &mut Vec<u8>, length: usize) {
    push_size_line(out, length);
}

#[cfg(test)]
mod tests;

//! One URL through a proxy, read to its end and thrown away.
//!
//! HTTP clients open a tunnel for https URLs, of which nothing is cached: so the request is written
//! here, in absolute form, and one connection is for one request.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Bytes of the head of an answer.
const MOST_HEAD: usize = 128 << 10;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Of the body, as it was sent.
    pub(super) bytes: u64,
    pub(super) kept: Kept,
}

/// Whether the cache has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Before,
    Now,
    Not,
}

/// Fetches one.
///
/// # Errors
/// What to tell people.
pub(super) async fn fetch(proxy: &str, url: &str, within: Duration) -> Result<Fetched, String> {
    match timeout(within, exchange(proxy, url)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("not within {} s", within.as_secs())),
    }
}

async fn exchange(proxy: &str, url: &str) -> Result<Fetched, String> {
    let request = request(url)?;
    let connected = TcpStream::connect(proxy).await;
    let mut stream = connected.map_err(|error| format!("{proxy}: {error}"))?;
    let broken = |error: std::io::Error| format!("the connection broke: {error}");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::with_capacity(16 << 10);
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
            break Head::read(bytes.get(..end).unwrap_or_default())?;
        }
        if bytes.len() > MOST_HEAD {
            return Err("the head of the answer is too large".to_owned());
        }
        if stream.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err("the proxy closed the connection without an answer".to_owned());
        }
    };
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(0) + 4;
    let mut got = (bytes.len() - end.min(bytes.len())) as u64;
    let mut last = bytes.split_off(end.min(bytes.len()));
    let mut piece = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut piece).await.map_err(broken)?;
        let Some(new) = piece.get(..count).filter(|new| !new.is_empty()) else { break };
        got += count as u64;
        last.extend_from_slice(new);
        // Its end says whether it is whole.
        last.drain(..last.len().saturating_sub(16));
    }
    head.judge(got, &last)
}

fn request(url: &str) -> Result<String, String> {
    let absolute = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = absolute.ok_or("not an absolute http or https URL")?;
    let (url, _) = url.split_once('#').unwrap_or((url, ""));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || url.contains(|it: char| it.is_whitespace() || it.is_control()) {
        return Err("not a URL".to_owned());
    }
    Ok(format!(
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: shoal-cache-warm\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    ))
}

/// What the head of an answer says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Option<u64>,
    chunked: bool,
    kept: Kept,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut head = Self {
            status: status.ok_or("what came is no answer of HTTP")?,
            length: None,
            chunked: false,
            kept: Kept::Not,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().ok(),
                "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
                "cache-status" if value.contains("; hit") => head.kept = Kept::Before,
                "cache-status" if value.contains("; stored") => head.kept = Kept::Now,
                _ => {}
            }
        }
        Ok(head)
    }

    fn judge(self, got: u64, last: &[u8]) -> Result<Fetched, String> {
        if self.status >= 400 {
            return Err(format!("answered with {}", self.status));
        }
        let whole = match self.length {
            Some(length) if !self.chunked => got == length,
            _ if self.chunked => last.ends_with(b"0\r\n\r\n"),
            _ => true,
        };
        if !whole {
            return Err("the answer was cut off".to_owned());
        }
        Ok(Fetched { bytes: got, kept: self.kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_one_request() {
        let asked = request("https://a.example:8443/x?y#z").unwrap();
        assert!(
            asked
                .starts_with("GET https://a.example:8443/x?y HTTP/1.1\r\nHost: a.example:8443\r\n")
        );
        for nonsense in
            ["a.example/", "ftp://a/", "http:///x", "http://a/ HTTP/1.1", "http://a/\r\nX: y"]
        {
            assert!(request(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn what_came_is_judged_by_its_own_framing() {
        let ok = |kept| Ok(Fetched { bytes: 5, kept });
        let cut = || Err("the answer was cut off".to_owned());
        for (head, last, came) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5", "12345", ok(Kept::Not)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 6", "12345", cut()),
            ("HTTP/1.1 200 OK\r\nCache-Status: n; hit; ttl=5", "12345", ok(Kept::Before)),
            ("HTTP/1.1 200 OK\r\nCache-Status: n; fwd=uri-miss; stored", "12345", ok(Kept::Now)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "0\r\n\r\n", ok(Kept::Not)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "1234\n", cut()),
            ("HTTP/1.1 503 No", "12345", Err("answered with 503".to_owned())),
        ] {
            assert_eq!(
                Head::read(head.as_bytes()).unwrap().judge(5, last.as_bytes()),
                came,
                "{head}"
            );
        }
        assert!(Head::read(b"SSH-2.0").is_err());
    }
}

//! Answers as real servers write them: odd, and with one meaning all the same; a server that sends
//! them, and a client that reads what a proxy makes of them as strictly as can be.

mod answers;

pub use answers::ANSWERS;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// An odd answer, and what a client has to get of it.
#[derive(Clone, Copy, Debug)]
pub struct Odd {
    /// What is odd.
    pub name: &'static str,
    /// The method of the request.
    pub method: &'static str,
    /// What the server sends; then it closes.
    pub bytes: &'static str,
    /// The status that the client gets.
    pub status: u16,
    /// The body that the client gets.
    pub body: &'static str,
    /// Fields that the client gets, exactly so.
    pub fields: &'static [(&'static str, &'static str)],
    /// Statuses of interim responses that the client gets before.
    pub interims: &'static [u16],
    /// Only where servers are read in a relaxed way; otherwise it is a 502.
    pub relaxed: bool,
}

const fn odd(name: &'static str, bytes: &'static str, status: u16, body: &'static str) -> Odd {
    Odd { name, method: "GET", bytes, status, body, fields: &[], interims: &[], relaxed: false }
}

impl Odd {
    const fn to(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    const fn with(self, fields: &'static [(&'static str, &'static str)]) -> Self {
        Self { fields, ..self }
    }

    const fn after(self, interims: &'static [u16]) -> Self {
        Self { interims, ..self }
    }

    const fn relaxed(self) -> Self {
        Self { relaxed: true, ..self }
    }
}

/// A server that reads a request with its body (of a Content-Length) and answers so. It ends with
/// the process.
///
/// # Panics
/// Without a port.
#[must_use]
pub fn server(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, answer) = (listener.local_addr().expect("bound"), answer.into());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let head = read_until(&mut stream, b"\r\n\r\n");
                let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
                    .unwrap_or(0);
                // Whatever comes of it, the connection ends.
                drop(
                    stream
                        .read_exact(&mut vec![0; length])
                        .and_then(|()| stream.write_all(&answer)),
                );
            });
        }
    });
    address
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end) && matches!(stream.read(&mut byte), Ok(1)) {
        bytes.push(byte[0]);
    }
    bytes
}

/// A message as a client gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Got {
    /// Its status.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Its body, without chunks.
    pub body: Vec<u8>,
    /// Statuses of interim responses before it.
    pub interims: Vec<u16>,
}

/// Asks a proxy for a URL on a connection of its own, which is to end with the answer.
///
/// # Errors
/// What a strict reader finds wrong with the answer.
pub fn ask(proxy: SocketAddr, method: &str, url: &str) -> Result<Got, String> {
    let mut stream = TcpStream::connect(proxy).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(40))).map_err(|error| error.to_string())?;
    let host = url.split('/').nth(2).unwrap_or_default();
    let body = if matches!(method, "POST" | "PUT") { "Content-Length: 0\r\n" } else { "" };
    let request =
        format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{body}\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{error} after {:?}", String::from_utf8_lossy(&bytes)))?;
    read(&bytes).map_err(|why| format!("{why}: {:?}", String::from_utf8_lossy(&bytes)))
}

/// Reads all that came on a connection: one answer, with whatever interim ones before it, in the
/// plainest spelling.
fn read(mut bytes: &[u8]) -> Result<Got, String> {
    let mut interims = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
        let (status, fields) = head(&bytes[..end])?;
        bytes = &bytes[end + 4..];
        if status < 200 && status != 101 {
            interims.push(status);
            continue;
        }
        let body = body(status, &fields, bytes)?;
        return Ok(Got { status, fields, body, interims });
    }
}

type Fields = Vec<(String, String)>;

fn head(head: &[u8]) -> Result<(u16, Fields), String> {
    let text = std::str::from_utf8(head).map_err(|_| "a head beyond ASCII")?;
    let mut lines = text.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
        .ok_or("no status line")?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("field line {line:?}"))?;
        if name.contains([' ', '\t'])
            || line.contains(|it: char| it != '\t' && it.is_ascii_control())
        {
            return Err(format!("field line {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok((status, fields))
}

fn body(status: u16, fields: &[(String, String)], rest: &[u8]) -> Result<Vec<u8>, String> {
    let all = |name: &str| {
        fields
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if matches!(status, 101 | 204 | 304) => {
            if rest.is_empty() {
                Ok(Vec::new())
            } else {
                Err("a body".to_owned())
            }
        }
        (_, []) if status == 304 => Ok(Vec::new()),
        ([], []) => Ok(rest.to_vec()),
        ([length], []) if status != 204 => {
            let plain = *length == "0" || !length.starts_with('0');
            match length.parse::<usize>() {
                Ok(length) if plain && rest.len() == length => Ok(rest.to_vec()),
                _ => Err(format!("{} bytes after Content-Length: {length}", rest.len())),
            }
        }
        ([], ["chunked"]) if status != 204 => chunks(rest),
        other => Err(format!("framed by {other:?}")),
    }
}

/// Sizes without padding and extensions, and trailers as they come (they are checked by what is not
/// among them).
fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let end =
            rest.windows(2).position(|window| window == b"\r\n").ok_or("no size of a chunk")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let padded = line.len() > 1 && line.starts_with('0');
        let size = usize::from_str_radix(&line, 16)
            .ok()
            .filter(|_| !padded)
            .ok_or_else(|| format!("size of a chunk {line:?}"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return if rest == b"\r\n" {
                Ok(body)
            } else {
                Err(format!("after the last chunk {:?}", String::from_utf8_lossy(rest)))
            };
        }
        let chunk = rest
            .get(..size + 2)
            .filter(|chunk| chunk.ends_with(b"\r\n"))
            .ok_or("a chunk of another size")?;
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[size + 2..];
    }
}

/// What is wrong with what a client got of an odd answer.
#[must_use]
pub fn wrong(odd: &Odd, relaxed: bool, got: &Result<Got, String>) -> Option<String> {
    let got = match got {
        Ok(got) => got,
        Err(why) => return Some(why.clone()),
    };
    let refused = odd.status == 502 || (odd.relaxed && !relaxed);
    if refused {
        return (got.status != 502).then(|| format!("{} instead of 502", got.status));
    }
    let body = String::from_utf8_lossy(&got.body);
    if (got.status, &*body, got.interims.as_slice()) != (odd.status, odd.body, odd.interims) {
        return Some(format!("{got:?}"));
    }
    let missing = odd.fields.iter().find(|(name, value)| {
        let all: Vec<_> = got
            .fields
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
            .collect();
        all != [*value]
    });
    missing.map(|field| format!("not exactly {field:?} in {:?}", got.fields))
}

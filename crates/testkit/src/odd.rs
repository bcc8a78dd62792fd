//! Answers as real servers write them: odd, and with one meaning all the same; a server that sends
//! them, and a client that reads what a proxy makes of them as strictly as can be.

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

//! A client that writes frames by hand, right ones and wrong ones.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const PRIORITIZED: u8 = 32;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A head's fields, each as a literal without indexing (RFC 7541 §6.2.2), whatever they hold.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        return out.push(value as u8);
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// The fields of a plain request.
pub fn get<'a>() -> Vec<(&'a [u8], &'a [u8])> {
    vec![(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"o.test"), (b":path", b"/")]
}

/// A request's head as one frame.
pub fn head(stream: u32, fields: &[(&[u8], &[u8])], ends: bool) -> Vec<u8> {
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    frame(HEADERS, flags, stream, &block(fields))
}

/// What a client hears in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The stream is reset with this code.
    Reset(u32),
    /// The connection ends with this code.
    GoAway(u32),
    /// It is closed.
    Closed,
    /// An answer with content, or without.
    Answer,
}

pub struct Raw {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the frontend");
        Self { stream, seen: Vec::new() }
    }

    /// Says hello in order.
    pub async fn greeted(address: SocketAddr) -> Self {
        let mut raw = Self::open(address).await;
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat();
        raw.send(&hello).await;
        raw
    }

    /// Sends; false: the balancer takes nothing any more.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// The next frame: kind, flags, stream and payload.
    pub async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            if self.seen.len() >= 9 {
                let length = u32::from_be_bytes([0, self.seen[0], self.seen[1], self.seen[2]]);
                let whole = 9 + length as usize;
                if self.seen.len() >= whole {
                    let payload = self.seen[9..whole].to_vec();
                    let id = [self.seen[5], self.seen[6], self.seen[7], self.seen[8]];
                    let (kind, flags) = (self.seen[3], self.seen[4]);
                    self.seen.drain(..whole);
                    return Some((kind, flags, u32::from_be_bytes(id), payload));
                }
            }
            let read = self.stream.read_buf(&mut self.seen);
            match tokio::time::timeout(testkit::wait::PATIENCE, read).await.expect("a frame") {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// What becomes of a stream, or of the connection.
    pub async fn hear(&mut self, stream: u32) -> Heard {
        while let Some((kind, flags, id, payload)) = self.frame().await {
            let code = |at: usize| {
                let bytes = payload.get(at..at + 4).and_then(|it| it.try_into().ok());
                u32::from_be_bytes(bytes.expect("a code"))
            };
            match kind {
                GOAWAY => return Heard::GoAway(code(4)),
                RST_STREAM if id == stream => return Heard::Reset(code(0)),
                HEADERS | DATA if id == stream && flags & END_STREAM != 0 => return Heard::Answer,
                _ => {}
            }
        }
        Heard::Closed
    }
}

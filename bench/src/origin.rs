//! An origin that is faster than everybody it is used to measure: one thread, bare epoll, prepared
//! answers, one read and one write a request.
//!
//! `/b/N` is N bytes that nobody may store, `/c/N` are N bytes that everybody may, `/v/N` are N
//! bytes that everybody may and has to ask for again each time, and `/u/N` takes N bytes before it
//! answers. CONNECT is answered with 200 and what follows in the tunnel is served as everything
//! else, so that the origin can be the end of a tunnel, or the next hop that opens one.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use anyhow::{Context, Result};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

/// A body is this again and again.
static BODY: [u8; 64 * 1024] = [b'x'; 64 * 1024];
/// More than a head of ours: who sends more without an end is cut off.
const MOST_HEAD: usize = 64 * 1024;

/// What a cache says of what it has of `/v/`.
const TAG: &[u8] = b"\"x-1\"";

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It stays open for the next request.
    Open,
    /// It ends.
    Closed,
}

/// Where it listens, and what it has seen.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where.
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cacheable: AtomicU64,
    validated: AtomicU64,
}

impl Origin {
    /// Starts its thread, which lives as long as the process.
    pub fn start() -> Result<Self> {
        let (origin, _) = Self::at_many(1, Keeping::Open)?;
        Ok(origin)
    }

    /// The same at so many addresses, the first of which is its own.
    pub fn at_many(count: usize, keeping: Keeping) -> Result<(Self, Vec<SocketAddr>)> {
        let listeners = (0..count).map(|_| TcpListener::bind(([127, 0, 0, 1], 0).into()));
        let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr);
        let addresses = addresses.collect::<io::Result<Vec<_>>>()?;
        let address = *addresses.first().context("an origin without an address")?;
        let origin = Self { address, seen: Arc::default() };
        let seen = Arc::clone(&origin.seen);
        std::thread::Builder::new()
            .name("origin".into())
            .spawn(move || run(listeners, keeping, &seen))?;
        Ok((origin, addresses))
    }

    /// How often something was asked for that a cache could have had.
    #[must_use]
    pub fn cacheable(&self) -> u64 {
        self.seen.cacheable.load(Ordering::Relaxed)
    }

    /// How often a cache asked whether what it has is still true.
    #[must_use]
    pub fn validated(&self) -> u64 {
        self.seen.validated.load(Ordering::Relaxed)
    }
}

fn run(mut listeners: Vec<TcpListener>, keeping: Keeping, seen: &Seen) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let mut peers = HashMap::new();
    // Listeners come first among the tokens.
    let mut next = listeners.len();
    for (index, listener) in listeners.iter_mut().enumerate() {
        poll.registry().register(listener, Token(index), Interest::READABLE)?;
    }
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if let Some(listener) = listeners.get(event.token().0) {
                while let Ok((mut stream, _)) = listener.accept() {
                    next += 1;
                    stream.set_nodelay(true)?;
                    poll.registry().register(
                        &mut stream,
                        Token(next),
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    peers.insert(Token(next), Peer::new(stream, keeping));
                }
            } else if let Some(peer) = peers.get_mut(&event.token())
                && !peer.ready(event.is_read_closed(), seen).unwrap_or(false)
            {
                peers.remove(&event.token());
            }
        }
    }
}

/// A connection: what it still has to be sent, and what it sent that was no whole head.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    head: Vec<u8>,
    body: u64,
    /// What is still to come of an upload.
    upload: u64,
    keeping: Keeping,
    /// Nothing comes after what is left to be sent.
    ending: bool,
}

impl Peer {
    fn new(stream: TcpStream, keeping: Keeping) -> Self {
        let (input, head) = (Vec::new(), Vec::new());
        Self { stream, input, head, body: 0, upload: 0, keeping, ending: false }
    }

    /// Does all that can be done now; false: the connection is over.
    fn ready(&mut self, closed: bool, seen: &Seen) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let mut drained = false;
        loop {
            if self.upload > 0 && !self.swallow()? {
                return Ok(true);
            }
            if !self.flush()? {
                return Ok(true);
            }
            if self.ending {
                return Ok(false);
            }
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                self.answer(end, seen);
                self.input.drain(..end + 4);
                let came = self.upload.min(self.input.len() as u64);
                self.input.drain(..usize::try_from(came).unwrap_or_default());
                self.upload -= came;
                continue;
            }
            if drained {
                return Ok(true);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.input.extend_from_slice(&buffer[..read]);
                    // A short read has emptied the socket: what comes later is a new event. Only an
                    // end that came with it is none.
                    drained = read < buffer.len() && !closed;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(self.input.len() < MOST_HEAD);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn answer(&mut self, end: usize, seen: &Seen) {
        let line = self.input[..end].split(|byte| *byte == b'\r').next().unwrap_or_default();
        if line.starts_with(b"CONNECT ") {
            self.head.extend_from_slice(b"HTTP/1.1 200 OK\r\n\r\n");
            return;
        }
        let (kind, mut body) = asked(line).unwrap_or((Kind::Bytes, 0));
        if kind == Kind::Upload {
            (self.upload, body) = (body, 0);
        }
        let head = &self.input[..end];
        let known = kind == Kind::Validated && head.windows(TAG.len()).any(|it| it == TAG);
        seen.cacheable.fetch_add(u64::from(kind == Kind::Cacheable), Ordering::Relaxed);
        seen.validated.fetch_add(u64::from(known), Ordering::Relaxed);
        // Squid keeps nothing whose age it would have to guess.
        let date = || httpdate::fmt_http_date(SystemTime::now());
        let control = match kind {
            Kind::Cacheable => format!("max-age=86400\r\nDate: {}", date()),
            Kind::Validated => format!("no-cache\r\nETag: \"x-1\"\r\nDate: {}", date()),
            Kind::Bytes | Kind::Upload => "no-store".into(),
        };
        if known {
            let control = control.as_bytes();
            let line = b"HTTP/1.1 304 Not Modified\r\nCache-Control: ";
            self.head.extend([&line[..], control, b"\r\n\r\n"].concat());
            return;
        }
        self.ending = self.keeping == Keeping::Closed;
        let last = if self.ending { "Connection: close\r\n" } else { "" };
        self.head.extend_from_slice(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {body}\r\nCache-Control: {control}\r\n\
                 {last}\r\n"
            )
            .as_bytes(),
        );
        self.body = body;
    }

    /// Reads and forgets an upload; true when all of it has come.
    fn swallow(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 256 * 1024];
        while self.upload > 0 {
            let most = usize::try_from(self.upload).unwrap_or(usize::MAX).min(buffer.len());
            match self.stream.read(&mut buffer[..most]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.upload -= read as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// True when nothing is left to be sent.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.head.is_empty() || self.body > 0 {
            let body = &BODY[..usize::try_from(self.body).unwrap_or(usize::MAX).min(BODY.len())];
            match self.stream.write_vectored(&[IoSlice::new(&self.head), IoSlice::new(body)]) {
                Ok(written) => {
                    let of_head = written.min(self.head.len());
                    self.head.drain(..of_head);
                    self.body -= (written - of_head) as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bytes,
    Cacheable,
    Validated,
    Upload,
}

/// What is asked for, and how long it is.
fn asked(line: &[u8]) -> Option<(Kind, u64)> {
    let path = line.split(|byte| *byte == b' ').nth(1)?;
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let bytes = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let kind = match parts.next()? {
        b"c" => Kind::Cacheable,
        b"u" => Kind::Upload,
        b"v" => Kind::Validated,
        _ => Kind::Bytes,
    };
    Some((kind, bytes))
}

#[cfg(test)]
mod tests {
    use super::{Keeping, Kind, Origin, asked};
    use crate::load::{
        dial::Dialers,
        requests::{Connection, Paths, Plan, run},
    };

    #[tokio::test(flavor = "current_thread")]
    async fn answers_at_every_address_and_ends_what_it_shall_not_keep() {
        let (origin, addresses) = Origin::at_many(3, Keeping::Closed).unwrap();
        assert_eq!((addresses.len(), addresses[0]), (3, origin.address));
        for address in addresses {
            let plan = |connection| Plan {
                address,
                dialers: Dialers::plain(),
                origin: address,
                paths: Paths::various(9),
                connection,
                connections: 1,
                requests: 2,
            };
            assert_eq!(run(plan(Connection::New)).await.unwrap().latencies.len(), 2);
            run(plan(Connection::Kept)).await.expect_err("the second finds no connection");
        }
    }

    #[test]
    fn reads_the_path_of_every_form() {
        assert_eq!(asked(b"GET /b/1024 HTTP/1.1"), Some((Kind::Bytes, 1024)));
        assert_eq!(
            asked(b"GET http://127.0.0.1:80/c/65536 HTTP/1.1"),
            Some((Kind::Cacheable, 65536))
        );
        assert_eq!(asked(b"POST /u/7 HTTP/1.1"), Some((Kind::Upload, 7)));
        assert_eq!(asked(b"GET /v/8 HTTP/1.1"), Some((Kind::Validated, 8)));
        assert_eq!(asked(b"OPTIONS * HTTP/1.1"), None);
    }
}

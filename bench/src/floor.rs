//! The floor: what relaying costs on this kernel when nothing else is done. One thread, bare epoll,
//! one receive and one send a message. It looks for the end of a request's head, so that it
//! connects only for what is one, and reads nothing else; every client has a connection to the
//! origin of its own, which the next client takes over.
//!
//! It has no deadlines, no log, no statistics and no mercy: nobody should use it.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(0);
/// As much as is read at once.
const BUFFER: usize = 256 * 1024;

/// Relays what comes to `listen` until the process is ended.
pub fn run(listen: SocketAddr, origin: SocketAddr) -> io::Result<()> {
    let mut listener = TcpListener::bind(listen)?;
    let mut relay = Relay {
        poll: Poll::new()?,
        origin,
        ends: HashMap::new(),
        idle: Vec::new(),
        next: LISTENER.0,
        buffer: vec![0; BUFFER],
    };
    relay.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.add(stream, Role::Client)?;
                }
            } else if relay.ready(event.token(), event.is_writable()).is_err() {
                relay.end(event.token());
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Client,
    Origin,
}

/// One end of a relayed connection.
struct End {
    stream: TcpStream,
    role: Role,
    /// Where what comes here goes.
    other: Option<Token>,
    /// What its kernel did not take yet. While there is some, its other end is not read.
    unsent: Vec<u8>,
}

struct Relay {
    poll: Poll,
    origin: SocketAddr,
    ends: HashMap<Token, End>,
    /// Connections to the origin without a client.
    idle: Vec<Token>,
    next: usize,
    buffer: Vec<u8>,
}

impl Relay {
    fn add(&mut self, mut stream: TcpStream, role: Role) -> io::Result<Token> {
        stream.set_nodelay(true)?;
        self.next += 1;
        let token = Token(self.next);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, token, interest)?;
        self.ends.insert(token, End { stream, role, other: None, unsent: Vec::new() });
        Ok(token)
    }

    /// Does all that can be done now; an error: the connection is over.
    fn ready(&mut self, token: Token, writable: bool) -> io::Result<()> {
        if writable && self.flush(token)? {
            // What waited for it to take more may be read again.
            if let Some(other) = self.ends.get(&token).and_then(|end| end.other) {
                self.relay(other)?;
            }
        }
        self.relay(token)
    }

    /// Sends what is left; whether there was any, and all of it has gone.
    fn flush(&mut self, token: Token) -> io::Result<bool> {
        let Some(end) = self.ends.get_mut(&token) else { return Ok(false) };
        if end.unsent.is_empty() {
            return Ok(false);
        }
        let sent = send(&mut end.stream, &end.unsent)?;
        end.unsent.drain(..sent);
        Ok(end.unsent.is_empty())
    }

    /// Receives and sends until nothing comes, or the other end takes no more.
    fn relay(&mut self, token: Token) -> io::Result<()> {
        loop {
            let Some(end) = self.ends.get_mut(&token) else { return Ok(()) };
            if let Some(other) = end.other
                && self.ends.get(&other).is_some_and(|other| !other.unsent.is_empty())
            {
                return Ok(());
            }
            let Some(end) = self.ends.get_mut(&token) else { return Ok(()) };
            let read = match end.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let other = match (end.other, end.role) {
                (Some(other), _) => other,
                // Heads of this benchmark's clients come in one piece.
                (None, Role::Client) if self.buffer[..read].ends_with(b"\r\n\r\n") => {
                    self.pair(token)?
                }
                (None, _) => return Err(ErrorKind::InvalidData.into()),
            };
            let Some(to) = self.ends.get_mut(&other) else {
                return Err(ErrorKind::NotConnected.into());
            };
            let sent = send(&mut to.stream, &self.buffer[..read])?;
            to.unsent.extend_from_slice(&self.buffer[sent..read]);
            if read < BUFFER {
                return Ok(());
            }
        }
    }

    /// A connection to the origin for a client.
    fn pair(&mut self, client: Token) -> io::Result<Token> {
        let origin = match self.idle.pop() {
            Some(idle) => idle,
            None => {
                let stream = std::net::TcpStream::connect(self.origin)?;
                stream.set_nonblocking(true)?;
                self.add(TcpStream::from_std(stream), Role::Origin)?
            }
        };
        for (token, other) in [(client, origin), (origin, client)] {
            if let Some(end) = self.ends.get_mut(&token) {
                end.other = Some(other);
            }
        }
        Ok(origin)
    }

    /// A connection is over: with an origin's its client's, with a client's the origin's idles.
    fn end(&mut self, token: Token) {
        self.idle.retain(|idle| *idle != token);
        let Some(end) = self.ends.remove(&token) else { return };
        let Some(other) = end.other else { return };
        match end.role {
            Role::Origin => drop(self.ends.remove(&other)),
            Role::Client => {
                if let Some(origin) = self.ends.get_mut(&other) {
                    origin.other = None;
                    self.idle.push(other);
                }
            }
        }
    }
}

/// How much of it the kernel took.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => sent += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use crate::{
        contender::free_address,
        load::{
            dial::Dialers,
            requests::{Connection, Paths, Plan, run},
        },
        origin::Origin,
    };

    #[tokio::test(flavor = "current_thread")]
    async fn every_byte_goes_both_ways_and_connections_are_taken_over() {
        let origin = Origin::start().expect("an origin");
        let (listen, to) = (free_address().expect("an address"), origin.address);
        std::thread::spawn(move || super::run(listen, to));
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            tokio::task::yield_now().await;
        }
        for (path, body) in [("/b/1024", 1024), ("/b/3000000", 3_000_000)] {
            let plan = Plan {
                address: listen,
                dialers: Dialers::plain(),
                origin: to,
                paths: Paths::one(path, body),
                connection: Connection::Kept,
                connections: 4,
                requests: 40,
            };
            assert_eq!(run(plan).await.expect("answers").latencies.len(), 40);
        }
    }
}

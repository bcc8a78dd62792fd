//! The client's end: raw bytes out, answers in order back.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::message::{self, Message, Parsed};

/// Nothing may hang: not even what is refused.
const DEADLINE: Duration = Duration::from_secs(40);

/// A connection to a proxy.
pub struct Talk {
    stream: TcpStream,
    buffer: Vec<u8>,
    ended: bool,
}

/// What came of waiting for an answer.
#[derive(Debug)]
pub enum Got {
    /// A whole one, and the interim ones before it.
    Answer(Box<Message>, Vec<Message>),
    /// The connection ended before: with so many bytes of an answer that is visibly not whole.
    Closed(usize),
    /// What came is no HTTP.
    Broken(String),
    /// Nothing, for too long.
    Silence,
}

impl Talk {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = timeout(DEADLINE, TcpStream::connect(address))
            .await
            .expect("a connection in time")
            .expect("a connection");
        stream.set_nodelay(true).expect("an option");
        Self { stream, buffer: Vec::new(), ended: false }
    }

    /// Sends. A proxy that has already refused need not take it.
    pub async fn send(&mut self, bytes: &[u8]) {
        drop(timeout(DEADLINE, self.stream.write_all(bytes)).await);
    }

    /// Sends in about forty pieces, so that no place is spared.
    pub async fn drip(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(bytes.len().div_ceil(40).max(1)) {
            self.send(piece).await;
            tokio::task::yield_now().await;
        }
    }

    /// Says that nothing more will come.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }

    /// The answer to a request with this method.
    pub async fn answer(&mut self, method: &str) -> Got {
        let mut interims = Vec::new();
        loop {
            match message::response(&self.buffer, method, self.ended) {
                Parsed::Broken(why) => return Got::Broken(why),
                Parsed::Complete(answer, length) => {
                    self.buffer.drain(..length);
                    if answer.status() >= 200 {
                        return Got::Answer(answer, interims);
                    }
                    interims.push(*answer);
                    continue;
                }
                Parsed::Incomplete { .. } if self.ended => return Got::Closed(self.buffer.len()),
                Parsed::Incomplete { .. } => {}
            }
            let Ok(()) = timeout(DEADLINE, self.fill()).await else { return Got::Silence };
        }
    }

    /// Whether the connection has ended, with nothing more on it.
    pub async fn is_closed(&mut self) -> Result<(), String> {
        while !self.ended && self.buffer.is_empty() {
            if timeout(DEADLINE, self.fill()).await.is_err() {
                return Err("the connection stays open".to_owned());
            }
        }
        if self.buffer.is_empty() {
            Ok(())
        } else {
            Err(format!("more on the connection: {:?}", message::latin(&self.buffer)))
        }
    }

    async fn fill(&mut self) {
        let mut piece = [0; 16 * 1024];
        // A reset is an end like any other here.
        let read = self.stream.read(&mut piece).await.unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..read]);
        self.ended = read == 0;
    }
}

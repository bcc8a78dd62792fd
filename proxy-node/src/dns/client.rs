//! A stub resolver: asks the servers of resolv.conf, by UDP and where an answer does not fit by TCP
//! (RFC 1035 §4.2, RFC 7766).
//!
//! Each question has a socket, a port and an id of its own, and its answer must come from where it
//! was sent. A server that is silent for a moment is not given up: the next one is asked beside it,
//! and whichever answers first is believed and asked first from then on.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::sleep,
};

use super::{
    error::Error,
    families::Answer,
    files::Servers,
    message::{self, Family, Reply},
};

/// A server that has not answered for so long has the next one, or itself once more, asked beside
/// it; twice as long each round.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer counts at least and at most so long.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);
/// A datagram of an answer.
const LARGEST: usize = 4096;

/// Asks, and remembers which server answered.
#[derive(Debug, Default)]
pub struct Client {
    /// Place of the server that is asked first.
    first: AtomicUsize,
    asked: AtomicU64,
    random: RandomState,
}

impl Client {
    /// The addresses of one family.
    pub async fn ask(&self, servers: &Servers, host: &str, family: Family) -> Answer {
        // An id that nobody can guess: a keyed hash of a counter.
        let [.., high, low] =
            self.random.hash_one(self.asked.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        let Some(query) = message::encode(u16::from_be_bytes([high, low]), host, family) else {
            return Answer::NoSuchName;
        };
        let all = self.ask_all(servers, &query);
        tokio::time::timeout(servers.within, all).await.unwrap_or(Answer::Failed(Error::Timeout))
    }

    async fn ask_all(&self, servers: &Servers, query: &[u8]) -> Answer {
        let count = servers.list.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut order = (0..servers.rounds)
            .flat_map(|round| (0..count).map(move |place| (round, (first + place) % count)));
        let mut attempts = FuturesUnordered::new();
        loop {
            let mut patience = None;
            if let Some((round, place)) = order.next()
                && let Some(server) = servers.list.get(place)
            {
                attempts.push(async move { (place, exchange(*server, query).await) });
                patience = Some(PATIENCE * 2_u32.saturating_pow(round));
            }
            tokio::select! {
                attempt = attempts.next() => match attempt {
                    None => return Answer::Failed(Error::Failed),
                    Some((place, Ok(reply))) => {
                        if let Some(answer) = answer(reply) {
                            self.first.store(place, Ordering::Relaxed);
                            return answer;
                        }
                    }
                    Some((place, Err(error))) => {
                        let server = servers.list.get(place);
                        tracing::debug!(?server, %error, "a name server is out of reach");
                    }
                },
                () = sleep(patience.unwrap_or_default()), if patience.is_some() => {}
            }
        }
    }
}

/// `None`: another server may know better.
fn answer(reply: Reply) -> Option<Answer> {
    match reply {
        Reply::Addresses(addresses, ttl) => Some(Answer::Addresses(
            addresses,
            Duration::from_secs(u64::from(ttl)).clamp(SHORTEST, LONGEST),
        )),
        Reply::NoRecords => Some(Answer::NoRecords),
        Reply::NoSuchName => Some(Answer::NoSuchName),
        Reply::Truncated | Reply::Failed => None,
    }
}

async fn exchange(server: SocketAddr, query: &[u8]) -> io::Result<Reply> {
    match by_udp(server, query).await? {
        Reply::Truncated => by_tcp(server, query).await,
        reply => Ok(reply),
    }
}

async fn by_udp(server: SocketAddr, query: &[u8]) -> io::Result<Reply> {
    let here = if server.is_ipv4() {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(here).await?;
    // From now on the kernel drops what others send.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = message::decode(buffer.get(..length).unwrap_or_default(), query) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    message::decode(&buffer, query)
        .filter(|reply| *reply != Reply::Truncated)
        .ok_or_else(|| io::Error::other("no answer to the question"))
}

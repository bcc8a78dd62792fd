//! An origin that records every byte and answers with scripted ones. Each case has one of its own,
//! so that nothing of another's is in its record.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::message::{self, Message, Parsed};

/// What an origin does with a request.
#[derive(Clone, Debug)]
pub struct Script {
    /// Sent as they are.
    pub bytes: Vec<u8>,
    /// And then.
    pub then: Then,
    /// As soon as the head is there, whatever body follows.
    pub early: bool,
}

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It stays.
    Keep,
    /// It is closed in order.
    Close,
    /// It is reset.
    Reset,
}

/// Decides by the request and how many came before; none: the usual answer, which names the
/// request.
pub type Decide = Arc<dyn Fn(&Message, usize) -> Option<Script> + Send + Sync>;

/// What an origin has seen.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every byte, by connection.
    pub connections: Vec<Vec<u8>>,
    /// Whole requests.
    pub requests: Vec<Message>,
    /// What a strict reader does not read as a request.
    pub broken: Vec<String>,
}

/// A running origin; dropping it stops it.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// Listens on a loopback address that no other origin of this test has: a port alone would come
    /// again, and with it what is cached of somebody else.
    pub async fn start(decide: Decide) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(Ipv4Addr::from_bits(0x7f10_0000 + number), decide).await
    }

    /// Listens on a free port of that address.
    pub async fn at(address: Ipv4Addr, decide: Decide) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let record = Arc::<Mutex<Record>>::default();
        let shared = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let index = {
                    let mut record = lock(&shared);
                    record.connections.push(Vec::new());
                    record.connections.len() - 1
                };
                let (shared, decide) = (Arc::clone(&shared), Arc::clone(&decide));
                connections
                    .spawn(async move { drop(connection(stream, &shared, index, &decide).await) });
            }
        });
        Self { address, record, task }
    }

    /// What it has seen so far.
    pub fn record(&self) -> Record {
        lock(&self.record).clone()
    }
}

fn lock(record: &Mutex<Record>) -> std::sync::MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(
    mut stream: TcpStream,
    record: &Mutex<Record>,
    index: usize,
    decide: &Decide,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    // Of the request that is coming in: whether its head has been dealt with.
    let mut greeted = false;
    loop {
        let answer = match message::request(&buffer) {
            Parsed::Complete(request, length) => {
                buffer.drain(..length);
                let before = arrived(record, &request);
                let answered = std::mem::take(&mut greeted)
                    && decide(&request, before).is_some_and(|script| script.early);
                if answered {
                    None
                } else {
                    Some(decide(&request, before).unwrap_or_else(|| usual(&request)))
                }
            }
            Parsed::Broken(why) => {
                lock(record).broken.push(why);
                return Ok(());
            }
            Parsed::Incomplete { head: Some(head) } if !greeted => {
                greeted = true;
                match decide(&head, lock(record).requests.len()).filter(|script| script.early) {
                    None if head.only("expect").is_some() => Some(Script {
                        bytes: b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(),
                        then: Then::Keep,
                        early: false,
                    }),
                    early => early,
                }
            }
            Parsed::Incomplete { .. } => None,
        };
        if let Some(Script { bytes, then, .. }) = answer {
            stream.write_all(&bytes).await?;
            match then {
                Then::Keep => continue,
                Then::Close => return stream.shutdown().await,
                Then::Reset => return stream.set_zero_linger(),
            }
        }
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&piece[..read]);
        lock(record).connections[index].extend_from_slice(&piece[..read]);
    }
}

fn arrived(record: &Mutex<Record>, request: &Message) -> usize {
    let mut record = lock(record);
    record.requests.push(request.clone());
    record.requests.len() - 1
}

/// The answer that says which request it answers.
pub fn usual(request: &Message) -> Script {
    let body = seen(request.word(0), request.word(1));
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\r\n",
        body.len()
    );
    if request.word(0) != "HEAD" {
        answer.push_str(&body);
    }
    Script { bytes: answer.into_bytes(), then: Then::Keep, early: false }
}

/// The body of the usual answer.
pub fn seen(method: &str, target: &str) -> String {
    format!("seen {method} {target}")
}

//! A client that comes anew every few milliseconds, however long the others before it wait: who
//! answered, and when. It runs in another network namespace.

use std::{
    fs::File,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

/// Between two of them.
const EVERY: Duration = Duration::from_millis(5);
/// Who was not answered by then will not be.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST: usize = 64 * 1024;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the client came.
    pub asked: Instant,
    /// When it had the answer.
    pub answered: Instant,
    /// What it says.
    pub body: String,
}

/// A running client; dropping it ends it.
#[derive(Debug)]
pub struct Knocks {
    answers: mpsc::Receiver<Answer>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Knocks {
    /// Comes to `address` in the network namespace of this name.
    pub fn start(space: &str, address: SocketAddr) -> Result<Self> {
        let space = File::open(format!("/var/run/netns/{space}")).context("a network namespace")?;
        let over = Arc::new(AtomicBool::new(false));
        let (tell, answers) = mpsc::channel(MOST);
        let ended = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("knocks".into()).spawn(move || {
            setns(&space, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(knock(address, &tell, &ended));
            Ok(())
        })?;
        Ok(Self { answers, over, thread: Some(thread) })
    }

    /// The first answer with this body to somebody who came at `from` or later.
    pub async fn first(&mut self, from: Instant, body: &str, within: Duration) -> Result<Answer> {
        let found = async {
            loop {
                let answer = self.answers.recv().await.context("the client has ended")?;
                if answer.asked >= from && answer.body == body {
                    return anyhow::Ok(answer);
                }
            }
        };
        timeout(within, found).await.with_context(|| format!("no answer of {body:?}"))?
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("clients: {error:#}"),
            Some(Err(_)) => eprintln!("clients: panicked"),
            _ => {}
        }
    }
}

async fn knock(address: SocketAddr, tell: &mpsc::Sender<Answer>, over: &AtomicBool) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let (asked, tell) = (Instant::now(), tell.clone());
        tokio::spawn(async move {
            if let Ok(Ok(body)) = timeout(PATIENCE, one(address)).await {
                let answer = Answer { asked, answered: Instant::now(), body };
                // Nobody has listened for so long that nobody will.
                drop(tell.try_send(answer));
            }
        });
    }
}

async fn one(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = "GET http://o.test/ HTTP/1.1\r\nHost: o.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer")?;
    anyhow::ensure!(head.split(' ').nth(1) == Some("200"), "not a 200: {head}");
    Ok(body.to_owned())
}

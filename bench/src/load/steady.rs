//! Clients that go on at an even pace whatever happens, and what they noticed of a fault.
//!
//! Each sends a request, waits for its answer, pauses, and sends the next, on a connection that it
//! keeps as long as answers come. Whatever is not the right answer within [`PATIENCE`] has failed;
//! nothing is sent a second time. A tunnel that stood when its node froze or died cannot move
//! elsewhere, whether it ends or stands still: it counts apart.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{
    task::{JoinSet, LocalSet},
    time::timeout,
};

use super::client::{Client, get};

/// How long a client waits for an answer, or for a tunnel and then for what it asks for in there,
/// before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Between an answer and the next request.
const PAUSE: Duration = Duration::from_millis(2);
const BODY: usize = 1024;

/// What kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A GET on a kept-alive connection.
    Get,
    /// A CONNECT on a new connection, and one GET inside the tunnel.
    Connect,
}

/// What came of the requests of one kind.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests that were sent.
    pub sent: u64,
    /// Requests without the right answer in time. What was asked in a tunnel that stood is not
    /// among them.
    pub failed: u64,
    /// Tunnels that stood and then were cut or brought nothing more in time.
    pub cut: u64,
    /// The longest time in which none of the clients got an answer.
    pub gap: Duration,
    /// The longest that one request took, failed ones included.
    pub slowest: Duration,
    /// The first few failures.
    pub failures: Vec<String>,
}

/// What one client noticed.
#[derive(Debug, Default)]
struct Notes {
    answers: Vec<Instant>,
    outcome: Outcome,
}

struct Shared {
    entrance: SocketAddr,
    origin: SocketAddr,
    kind: Kind,
    patience: Duration,
    over: Cell<bool>,
    notes: RefCell<Notes>,
}

/// Runs `clients` of each kind while `meanwhile` does its work; a gap that has not ended by then
/// counts up to then.
pub async fn run<T>(
    entrance: SocketAddr,
    origin: SocketAddr,
    clients: usize,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(T, [Outcome; 2])> {
    patiently(PATIENCE, entrance, origin, clients, meanwhile).await
}

async fn patiently<T>(
    patience: Duration,
    entrance: SocketAddr,
    origin: SocketAddr,
    clients: usize,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(T, [Outcome; 2])> {
    let local = LocalSet::new();
    local
        .run_until(async {
            let begun = Instant::now();
            let kinds = [Kind::Get, Kind::Connect].map(|kind| {
                Rc::new(Shared {
                    entrance,
                    origin,
                    kind,
                    patience,
                    over: Cell::new(false),
                    notes: RefCell::default(),
                })
            });
            let mut running = JoinSet::new();
            for shared in &kinds {
                for _ in 0..clients {
                    running.spawn_local(client(Rc::clone(shared)));
                }
            }
            let done = meanwhile.await;
            let ended = Instant::now();
            kinds.iter().for_each(|shared| shared.over.set(true));
            while let Some(joined) = running.join_next().await {
                joined?;
            }
            let outcomes = kinds.map(|shared| {
                let notes = shared.notes.take();
                Outcome { gap: longest_gap(begun, notes.answers, ended), ..notes.outcome }
            });
            Ok((done?, outcomes))
        })
        .await
}

/// The longest time between two answers, before the first and after the last.
fn longest_gap(begun: Instant, mut answers: Vec<Instant>, ended: Instant) -> Duration {
    answers.retain(|answer| *answer < ended);
    answers.sort_unstable();
    let starts = std::iter::once(&begun).chain(&answers);
    let ends = answers.iter().chain(std::iter::once(&ended));
    starts.zip(ends).map(|(start, end)| end.duration_since(*start)).max().unwrap_or_default()
}

async fn client(shared: Rc<Shared>) {
    let mut kept = None;
    while !shared.over.get() {
        let begun = Instant::now();
        let result = one(&shared, &mut kept).await.map_err(|error| format!("{error:#}"));
        if result.is_err() {
            kept = None;
        }
        note(&mut shared.notes.borrow_mut(), begun, result);
        tokio::time::sleep(PAUSE).await;
    }
}

/// True: answered. False: a tunnel that stood was cut.
async fn one(shared: &Shared, kept: &mut Option<Client>) -> Result<bool> {
    let request = get(shared.origin, &format!("/b/{BODY}"), "");
    let silent = || format!("no answer within {:?}", shared.patience);
    match shared.kind {
        Kind::Get => {
            let before = kept.take();
            let asked = async {
                let mut client = match before {
                    Some(client) => client,
                    None => Client::connect(shared.entrance).await?,
                };
                client.request(&request, BODY).await?;
                anyhow::Ok(client)
            };
            let client = timeout(shared.patience, asked).await.with_context(silent)??;
            if !client.asked_to_close() {
                *kept = Some(client);
            }
            Ok(true)
        }
        Kind::Connect => {
            let asked = async {
                let mut client = Client::connect(shared.entrance).await?;
                client.tunnel(shared.origin).await?;
                anyhow::Ok(client)
            };
            let mut client = timeout(shared.patience, asked).await.with_context(silent)??;
            Ok(timeout(shared.patience, client.request(&request, BODY))
                .await
                .is_ok_and(|answered| answered.is_ok()))
        }
    }
}

fn note(notes: &mut Notes, begun: Instant, result: Result<bool, String>) {
    let outcome = &mut notes.outcome;
    outcome.sent += 1;
    outcome.slowest = outcome.slowest.max(begun.elapsed());
    match result {
        Ok(true) => notes.answers.push(Instant::now()),
        Ok(false) => outcome.cut += 1,
        Err(why) => {
            outcome.failed += 1;
            if outcome.failures.len() < 5 {
                outcome.failures.push(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn gaps_begin_with_the_load_and_end_with_it() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        for (answers, ended, gap) in [
            (vec![], 50, 50),
            (vec![10, 20], 60, 40),
            (vec![30, 31], 40, 30),
            (vec![20, 5], 25, 15),
            (vec![1, 99], 10, 9),
        ] {
            let answers = answers.into_iter().map(at).collect();
            assert_eq!(longest_gap(begun, answers, at(ended)), Duration::from_millis(gap));
        }
    }

    /// Answers every connection with `said`, takes what comes, and says nothing more.
    async fn proxy_that_says(said: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.write_all(said.as_bytes()).await.unwrap();
                    drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
                });
            }
        });
        address
    }

    /// As a node that freezes just after it has opened a tunnel, and one that freezes before.
    #[tokio::test(flavor = "current_thread")]
    async fn a_tunnel_that_stood_and_stands_still_counts_apart() {
        let origin = SocketAddr::from(([127, 0, 0, 1], 9));
        for (said, opened) in [("HTTP/1.1 200 OK\r\n\r\n", true), ("", false)] {
            let entrance = proxy_that_says(said).await;
            let patience = Duration::from_millis(50);
            let wait = async {
                tokio::time::sleep(patience).await;
                Ok(())
            };
            let ((), [_, connects]) = patiently(patience, entrance, origin, 1, wait).await.unwrap();
            assert!(connects.sent > 0, "{connects:?}");
            assert_eq!((connects.cut > 0, connects.failed > 0), (opened, !opened), "{connects:?}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_proxy_that_refuses_connections_fails_every_request() {
        let origin = crate::origin::Origin::start().unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let wait = || async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(())
        };
        let ((), [gets, connects]) = run(nobody, origin.address, 2, wait()).await.unwrap();
        assert!(
            gets.failed > 0 && gets.failed == gets.sent && connects.failed == connects.sent,
            "{gets:?} {connects:?}"
        );
        assert!(gets.gap >= Duration::from_millis(200), "nothing was ever answered: {gets:?}");
        let ((), [gets, connects]) = run(origin.address, origin.address, 2, wait()).await.unwrap();
        assert!(gets.failed == 0 && connects.failed == 0 && gets.sent > 0, "{gets:?} {connects:?}");
    }
}

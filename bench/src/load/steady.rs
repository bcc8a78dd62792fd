//! Clients that go on at an even pace whatever happens, and what they noticed of a fault.
//!
//! Each sends a request, waits for its answer, pauses, and sends the next, on a connection that it keeps as long as answers come. Whatever is
//! not the right answer within [`PATIENCE`] has failed; nothing is sent a second time.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    task::{JoinSet, LocalSet},
    time::timeout,
};

use super::client::{Client, get};

/// How long a client waits for an answer before it gives up.
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
    /// Requests without the right answer in time. A tunnel that was cut after it stood is not among them.
    pub failed: u64,
    /// Tunnels that stood and were cut.
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
    over: Cell<bool>,
    notes: RefCell<Notes>,
}

/// Runs `clients` of each kind while `meanwhile` does its work; a gap that has not ended by then counts up to then.
pub async fn run<T>(
    entrance: SocketAddr,
    origin: SocketAddr,
    clients: usize,
    meanwhile: impl Future<Output = Result<T>>,
) -> Result<(T, [Outcome; 2])> {
    let local = LocalSet::new();
    local
        .run_until(async {
            let begun = Instant::now();
            let kinds = [Kind::Get, Kind::Connect]
                .map(|kind| Rc::new(Shared { entrance, origin, kind, over: Cell::new(false), notes: RefCell::default() }));
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
        let result = match timeout(PATIENCE, one(&shared, &mut kept)).await {
            Ok(result) => result.map_err(|error| format!("{error:#}")),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
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
    match shared.kind {
        Kind::Get => {
            let mut client = match kept.take() {
                Some(client) => client,
                None => Client::connect(shared.entrance).await?,
            };
            client.request(&request, BODY).await?;
            if !client.asked_to_close() {
                *kept = Some(client);
            }
            Ok(true)
        }
        Kind::Connect => {
            let mut client = Client::connect(shared.entrance).await?;
            client.tunnel(shared.origin).await?;
            Ok(client.request(&request, BODY).await.is_ok())
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
    use super::*;

    #[test]
    fn gaps_begin_with_the_load_and_end_with_it() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        for (answers, ended, gap) in
            [(vec![], 50, 50), (vec![10, 20], 60, 40), (vec![30, 31], 40, 30), (vec![20, 5], 25, 15), (vec![1, 99], 10, 9)]
        {
            let answers = answers.into_iter().map(at).collect();
            assert_eq!(longest_gap(begun, answers, at(ended)), Duration::from_millis(gap));
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
        assert!(gets.failed > 0 && gets.failed == gets.sent && connects.failed == connects.sent, "{gets:?} {connects:?}");
        assert!(gets.gap >= Duration::from_millis(200), "nothing was ever answered: {gets:?}");
        let ((), [gets, connects]) = run(origin.address, origin.address, 2, wait()).await.unwrap();
        assert!(gets.failed == 0 && connects.failed == 0 && gets.sent > 10, "{gets:?} {connects:?}");
        assert!(gets.gap < Duration::from_millis(200), "{gets:?}");
    }
}

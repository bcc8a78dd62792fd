//! Many requests through a cluster, counted.
//!
//! The clients do what well-behaved ones do. They keep a connection until an answer says
//! `Connection: close`. They know every frontend, and go on to the next when one cannot be
//! connected to or closes a connection with not one byte of an answer: then the request is sent
//! again when its method is idempotent (RFC 9110 §9.2.2), and counted as retried. A POST, and
//! anything that was answered in part, is never sent again.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Connection;

/// What kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A GET on a kept-alive connection.
    Get,
    /// A POST with a small body on a kept-alive connection.
    Post,
    /// A CONNECT on a new connection, then one GET inside the tunnel.
    Connect,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Frontends: a client that cannot connect to one uses the next, as clients that know several
    /// do.
    pub frontends: Vec<SocketAddr>,
    /// The origin's `host:port`.
    pub origin: String,
    /// Path asked for.
    pub path: String,
    /// What kind of request.
    pub kind: Kind,
    /// Clients at work at the same time.
    pub clients: usize,
    /// Requests in all.
    pub requests: u64,
}

/// What came of it. Printed as the one line per test that the reliability table is made of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// Requests that got no answer or one that is not a 2xx. Tunnels that were cut after they stood
    /// are not among them.
    pub failed: u64,
    /// Requests that a client sent again, because a connection was closed with nothing answered.
    /// They failed only if that failed too.
    pub retried: u64,
    /// Tunnels cut after their 2xx.
    pub cut_tunnels: u64,
    /// Longest time without any successful answer, over all clients.
    pub longest_gap_ms: u64,
    /// What went wrong, the first few.
    #[serde(skip)]
    pub failures: Vec<String>,
    /// Ids (`x-test-id`) of the requests that failed.
    #[serde(skip)]
    pub failed_ids: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    next: AtomicU64,
    succeeded: AtomicU64,
    outcome: Mutex<Outcome>,
    last_success: Mutex<Instant>,
    /// Clients of an open-ended load go on until this is set.
    enough: AtomicBool,
    pause: Duration,
}

/// Requests under way.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients.
    #[must_use]
    pub fn start(plan: Plan) -> Self {
        Self::launch(plan, Duration::ZERO, AtomicBool::new(true))
    }

    /// Starts clients that send the requests of the plan and go on, at an even pace, until
    /// [`Load::enough`]: for faults that take their time.
    #[must_use]
    pub fn open_ended(plan: Plan) -> Self {
        Self::launch(plan, Duration::from_millis(2), AtomicBool::new(false))
    }

    /// Lets an open-ended load end as soon as it has sent what its plan asks for.
    pub async fn enough(self) -> Outcome {
        self.shared.enough.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Requests that have succeeded so far.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.shared.succeeded.load(Ordering::Relaxed)
    }

    fn launch(plan: Plan, pause: Duration, enough: AtomicBool) -> Self {
        let clients = plan.clients;
        let shared = Arc::new(Shared {
            plan,
            next: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            outcome: Mutex::default(),
            last_success: Mutex::new(Instant::now()),
            enough,
            pause,
        });
        let mut set = JoinSet::new();
        for number in 0..clients {
            let shared = Arc::clone(&shared);
            set.spawn(async move { shared.client(number).await });
        }
        Self { shared, clients: set }
    }

    /// Waits until so many requests have succeeded.
    pub async fn reach(&self, successes: u64) {
        crate::wait::until(format!("{successes} successful requests"), || async {
            let failures = self.shared.outcome().failures.clone();
            let reached = self.shared.succeeded.load(Ordering::Relaxed);
            assert!(
                self.shared.outcome().failed <= self.shared.plan.requests / 2,
                "half of all requests fail: {failures:?}"
            );
            (reached >= successes).then_some(())
        })
        .await;
    }

    /// Waits for the last request and gives the counts.
    pub async fn finish(mut self) -> Outcome {
        while let Some(joined) = self.clients.join_next().await {
            assert!(joined.is_ok(), "a client of the load generator panicked");
        }
        self.shared.outcome().clone()
    }
}

impl Outcome {
    /// Adds the counts of another load that ran at the same time.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.retried += other.retried;
        self.cut_tunnels += other.cut_tunnels;
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.failures.extend_from_slice(&other.failures);
        self.failed_ids.extend_from_slice(&other.failed_ids);
    }

    /// Prints the counts as one JSON line, named.
    pub fn print(&self, test: &str) {
        let counts = serde_json::to_string(self).unwrap_or_default();
        println!("e2e {test}: {counts}");
    }
}

impl Shared {
    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self, number: usize) {
        let mut kept: Option<Connection> = None;
        loop {
            let request = self.next.fetch_add(1, Ordering::Relaxed);
            if request >= self.plan.requests && self.enough.load(Ordering::Relaxed) {
                return;
            }
            if !self.pause.is_zero() {
                // The pace of a client, not a wait for anything.
                tokio::time::sleep(self.pause).await;
            }
            let id = format!("{:?}-{request}", self.plan.kind).to_lowercase();
            let begun = Instant::now();
            let result = match self.plan.kind {
                Kind::Get => self.kept_alive(&mut kept, number, "GET", &id, b"").await,
                Kind::Post => self.kept_alive(&mut kept, number, "POST", &id, b"posted once").await,
                Kind::Connect => self.tunnel(number, &id).await,
            };
            self.note(&id, begun, result);
        }
    }

    /// The frontends in the order in which that client tries them.
    fn frontends(&self, number: usize) -> impl Iterator<Item = SocketAddr> {
        let known = &self.plan.frontends;
        (0..known.len()).map(move |offset| known[(number + offset) % known.len()])
    }

    async fn kept_alive(
        &self,
        kept: &mut Option<Connection>,
        number: usize,
        method: &str,
        id: &str,
        body: &[u8],
    ) -> Result<(), Broken> {
        let url = format!("http://{}{}", self.plan.origin, self.plan.path);
        if let Some(mut connection) = kept.take() {
            match connection.request(method, &url, &[("x-test-id", id)], body).await {
                Ok(answer) => return settle(kept, connection, &answer),
                Err(error) => self.may_repeat(method, &connection, &error)?,
            }
        }
        let mut last = Broken::Failed("no frontend".to_owned());
        for frontend in self.frontends(number) {
            let mut connection = match Connection::open(frontend).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Broken::Failed(format!("connect: {error}"));
                    continue;
                }
            };
            match connection.request(method, &url, &[("x-test-id", id)], body).await {
                Ok(answer) => return settle(kept, connection, &answer),
                Err(error) => self.may_repeat(method, &connection, &error)?,
            }
            last = Broken::Failed(format!(
                "{frontend} closed the connection with nothing answered, and so did every other"
            ));
        }
        Err(last)
    }

    /// Counts a request that is about to be sent again; an error when it must not be.
    fn may_repeat(
        &self,
        method: &str,
        connection: &Connection,
        error: &std::io::Error,
    ) -> Result<(), Broken> {
        // Silence until the deadline is no close: it shows as the failure that it is.
        let closed = error.kind() != std::io::ErrorKind::Other && connection.is_unanswered();
        if closed && method != "POST" {
            self.outcome().retried += 1;
            Ok(())
        } else {
            Err(Broken::Failed(error.to_string()))
        }
    }

    async fn tunnel(&self, number: usize, id: &str) -> Result<(), Broken> {
        let mut last = Broken::Failed("no frontend".to_owned());
        for frontend in self.frontends(number) {
            let mut connection = match Connection::open(frontend).await {
                Ok(connection) => connection,
                Err(error) => {
                    last = Broken::Failed(format!("connect: {error}"));
                    continue;
                }
            };
            let head = match connection.connect(&self.plan.origin, &[]).await {
                Ok(head) => head,
                Err(error) => {
                    self.may_repeat("CONNECT", &connection, &error)?;
                    last = Broken::Failed(error.to_string());
                    continue;
                }
            };
            if !matches!(head.status(), Some(200..=299)) {
                return Err(Broken::Failed(head.line));
            }
            return match connection.inside("GET", &self.plan.path, &[("x-test-id", id)]).await {
                Ok(answer) if answer.status() == 200 => Ok(()),
                Ok(answer) => Err(Broken::Failed(answer.head.line)),
                Err(_) => Err(Broken::Cut),
            };
        }
        Err(last)
    }

    fn note(&self, id: &str, begun: Instant, result: Result<(), Broken>) {
        let mut outcome = self.outcome();
        outcome.sent += 1;
        match result {
            Ok(()) => {
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                let mut last = self.last_success.lock().unwrap_or_else(PoisonError::into_inner);
                let gap = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                outcome.longest_gap_ms = outcome.longest_gap_ms.max(gap);
                *last = Instant::now();
            }
            Err(Broken::Cut) => outcome.cut_tunnels += 1,
            Err(Broken::Failed(why)) => {
                outcome.failed += 1;
                outcome.failed_ids.push(id.to_owned());
                if outcome.failures.len() < 10 {
                    outcome.failures.push(format!(
                        "{id} after {:?}: {why}",
                        Duration::from_millis(
                            u64::try_from(begun.elapsed().as_millis()).unwrap_or(0)
                        )
                    ));
                }
            }
        }
    }
}

enum Broken {
    Failed(String),
    Cut,
}

fn settle(
    kept: &mut Option<Connection>,
    connection: Connection,
    answer: &crate::client::Answer,
) -> Result<(), Broken> {
    if !answer.head.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *kept = Some(connection);
    }
    if answer.status() / 100 == 2 {
        Ok(())
    } else {
        Err(Broken::Failed(format!(
            "{} {}",
            answer.head.line,
            String::from_utf8_lossy(&answer.body)
        )))
    }
}

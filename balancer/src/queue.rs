//! The bounds of a backend, and who waits when they are reached: `maxconn` of its servers, what its
//! circuit breaker says of all of them together, and a queue, first come, first served, over all
//! workers of the process.
//!
//! A request that finds a server with room takes a [`Permit`], by atomics alone, and has it until
//! its answer or its tunnel has ended. One that finds everybody full joins the [`Queue`]. Whoever
//! gives a permit back hands the place to the first who waits and may have that server, so that
//! nobody overtakes: while somebody waits, who comes joins the queue, too. Whoever stops waiting,
//! because the client has left or it took too long, drops its [`Place`].
//!
//! Between looking at the servers and joining, a place may become free. Who joins is in the queue
//! first and looks again then; who gives back has given back first and looks at the queue then. So
//! one of the two sees the other.
//!
//! Which servers those who wait may have says the newest snapshot ([`Queue::prepare`] before it is
//! published, [`Queue::follow`] after): a server that drains or has failed gets nobody, and who
//! waits for nobody else is told to look again. A backend without bounds has a queue that nobody
//! joins, and its requests take no permits.

mod line;

use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use cluster_config::document::balancer::CircuitBreaker;
use dataplane::ledger::Carried;
use tokio::sync::oneshot;

use crate::{capacity::Capacity, pick::Plan, server::Server};
use line::Line;

/// The right to send a server one request, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    server: Arc<Server>,
    queue: Arc<Queue>,
    /// Whether the next one in the queue has it after this one.
    hands_on: bool,
}

impl Permit {
    /// Whose it is.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.server.capacity.give_back();
        self.queue.connections.give_back();
        if self.hands_on && !self.queue.is_empty() {
            self.queue.offer(&self.server);
        }
    }
}

/// Which servers a request may have.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// Those of this rank and better ([`crate::standing::Standing::rank`]).
    pub rank: u8,
    /// This one alone.
    pub only: Option<u64>,
    /// None of these.
    pub tried: Vec<u64>,
    /// The snapshot by which that was found out.
    pub snapshot: u64,
}

impl Wants {
    fn accepts(&self, server: &Server) -> bool {
        self.only.is_none_or(|key| key == server.key)
            && server.capacity.rank() <= self.rank
            && !self.tried.contains(&server.key)
    }
}

/// What becomes of a request that waits.
#[derive(Debug)]
pub enum Outcome {
    /// It has this server.
    Go(Permit),
    /// None of those that it may have is there any more: it has to look again.
    Again,
}

/// The queue is as long as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What has become of those who came to the queue.
#[derive(Debug, Default)]
pub struct Counts {
    /// Who has waited.
    pub waited: AtomicU64,
    /// How long, all together, in microseconds.
    pub micros: AtomicU64,
    /// Who found the queue full.
    pub full: AtomicU64,
    /// Who waited for too long.
    pub late: AtomicU64,
    /// The most who have waited at a time.
    pub peak: AtomicUsize,
}

impl Counts {
    fn rising(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("waited", &self.waited),
            ("microseconds", &self.micros),
            ("full", &self.full),
            ("late", &self.late),
        ]
    }

    /// Somebody has waited for too long.
    pub fn late(&self) {
        self.late.fetch_add(1, SeqCst);
    }

    /// Somebody waits no longer.
    pub fn note(&self, waited: Duration) {
        self.micros.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), SeqCst);
    }
}

impl Carried for Queue {
    fn totals(&self) -> BTreeMap<String, u64> {
        self.counts.rising().map(|(name, count)| (name.to_owned(), count.load(SeqCst))).into()
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        for (name, count) in self.counts.rising() {
            count.fetch_add(more.get(name).copied().unwrap_or(0), SeqCst);
        }
    }
}

/// One backend's.
#[derive(Debug, Default)]
pub struct Queue {
    /// Requests and tunnels of all servers together.
    pub connections: Capacity,
    /// Retries.
    pub retries: Capacity,
    pub counts: Counts,
    pending: AtomicU32,
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

impl Queue {
    /// Takes the bounds that the bundle says.
    pub fn bound(&self, bounds: &CircuitBreaker) {
        self.connections.bound(bounds.connections);
        self.retries.bound(bounds.retries);
        self.pending.store(bounds.pending, SeqCst);
    }

    /// How many may wait.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.pending.load(SeqCst)
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// A place at a server, if it has one and the backend has one.
    #[must_use]
    pub fn take(self: &Arc<Self>, server: &Arc<Server>) -> Option<Permit> {
        if !server.capacity.take() {
            return None;
        }
        if !self.connections.take() {
            server.capacity.give_back();
            return None;
        }
        let (server, queue) = (Arc::clone(server), Arc::clone(self));
        Some(Permit { server, queue, hands_on: true })
    }

    /// The right to try something again, until it is dropped; none where there is no bound.
    ///
    /// # Errors
    /// As many as may be are tried again now.
    pub fn retry(self: &Arc<Self>) -> Result<Option<Retry>, Full> {
        if self.retries.most().is_none() {
            return Ok(None);
        }
        if self.retries.take() { Ok(Some(Retry(Arc::clone(self)))) } else { Err(Full) }
    }

    /// Joins the queue, at its end, or at the place that one had before.
    ///
    /// # Errors
    /// It is as long as it may be.
    pub fn join(self: &Arc<Self>, wants: Wants, number: Option<u64>) -> Result<Place, Full> {
        let (told, turn) = oneshot::channel();
        let mut line = self.line();
        if number.is_none() {
            if line.len() >= self.pending() as usize {
                drop(line);
                self.counts.full.fetch_add(1, SeqCst);
                return Err(Full);
            }
            self.counts.waited.fetch_add(1, SeqCst);
        }
        let ahead = u32::try_from(line.len()).unwrap_or(u32::MAX);
        let number = line.join(number, wants, told);
        self.changed(&line);
        line.serve(number, self);
        self.changed(&line);
        drop(line);
        Ok(Place { number, ahead, turn: Some(turn), queue: Arc::clone(self) })
    }

    /// Who may get what becomes free, by the plan that will be in force.
    pub fn prepare(&self, plan: &Plan, servers: &[Arc<Server>]) {
        self.line().prepare(plan, servers);
    }

    /// The snapshot of this number is in force: those who wait get what is free by it, and those
    /// whose servers are gone look again.
    pub fn follow(self: &Arc<Self>, snapshot: u64) {
        let mut line = self.line();
        line.follow(snapshot, self);
        self.changed(&line);
    }

    /// A server has a place.
    fn offer(self: &Arc<Self>, server: &Arc<Server>) {
        let mut line = self.line();
        line.offer(server, self);
        self.changed(&line);
    }

    /// Says how many wait.
    fn changed(&self, line: &Line) {
        self.counts.peak.fetch_max(line.len(), SeqCst);
        self.waiting.store(line.len(), SeqCst);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to try something again.
#[derive(Debug)]
pub struct Retry(Arc<Queue>);

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.retries.give_back();
    }
}

/// Somebody's place in a queue, given up when it is dropped.
#[derive(Debug)]
pub struct Place {
    number: u64,
    ahead: u32,
    turn: Option<oneshot::Receiver<Outcome>>,
    queue: Arc<Queue>,
}

impl Place {
    /// Waits for its turn.
    pub async fn turn(&mut self) -> Outcome {
        match &mut self.turn {
            // Nobody drops a sender that is in the queue.
            Some(turn) => turn.await.unwrap_or(Outcome::Again),
            None => Outcome::Again,
        }
    }

    /// How many waited when it was taken.
    #[must_use]
    pub const fn ahead(&self) -> u32 {
        self.ahead
    }

    /// With which the same place is taken again after [`Outcome::Again`].
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut line = self.queue.line();
        line.leave(self.number);
        self.queue.changed(&line);
        // What it was given meanwhile is given back to the next one, who needs the lock.
        drop(line);
        drop(self.turn.take());
    }
}

#[cfg(test)]
mod tests;

//! The parent proxies as this process knows them: which of them answers, what proves this node to them, which one a request goes to.
//!
//! What is known of a parent is shared by all workers and outlives a revision that keeps it. A dead one is passed over while another lives, and
//! found alive again by connections that are tried beside the traffic; when all are dead they are asked all the same.

mod login;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use cluster_config::document::proxy::{self as document, Login};
use futures::future::join_all;
use relay::{
    exchange,
    fault::Fault,
    method::Method,
    retry::{self, Budget, Cause, Decision, Phase},
};
use tokio::net::TcpStream;

use crate::{
    node::{Node, unix_millis},
    request::Destination,
    respond::{Failure, Unreached},
};

pub use login::Credentials;

/// So many failures in a row make a parent dead.
const FAILURES: u32 = 2;
/// How many parents of one tier are told apart.
const MOST: usize = 64;

/// One of them.
#[derive(Debug)]
pub struct Parent {
    /// What the operator says of it.
    pub document: document::Parent,
    /// Where it is.
    pub destination: Destination,
    /// What proves this node to it, as it was read last.
    credentials: ArcSwap<Credentials>,
    /// Failures since the last success.
    in_a_row: AtomicU32,
    /// When it was found dead, in Unix milliseconds; 0: it is not.
    dead_since: AtomicU64,
    /// Requests that were sent to it, and those of them that it failed.
    requests: AtomicU64,
    failures: AtomicU64,
    last: Mutex<Option<Unreached>>,
}

impl PartialEq for Parent {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for Parent {}

impl fmt::Display for Parent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.destination.authority())
    }
}

impl Parent {
    /// A parent of which nothing is known yet. Reads its credentials, which may take as long as a disk takes.
    #[must_use]
    pub fn new(document: document::Parent) -> Self {
        let destination = Destination { host: document.host.as_str().into(), address: document.host.parse().ok(), port: document.port };
        let credentials = ArcSwap::from_pointee(Credentials::read(document.login.as_ref()));
        let (in_a_row, dead_since, requests, failures) = Default::default();
        let last = Mutex::default();
        Self { document, destination, credentials, in_a_row, dead_since, requests, failures, last }
    }

    /// Whether requests go to it while others live too.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.dead_since.load(Ordering::Relaxed) == 0
    }

    /// Since when it is dead, in Unix milliseconds.
    #[must_use]
    pub fn dead_since(&self) -> Option<u64> {
        Some(self.dead_since.load(Ordering::Relaxed)).filter(|since| *since > 0)
    }

    /// How often it was asked, and how often it failed.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// How it failed last, whether or not it has answered since.
    #[must_use]
    pub fn last_failure(&self) -> Option<Unreached> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What proves this node to it.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.load_full()
    }

    /// The client's own proof goes on to it, and its challenge back.
    #[must_use]
    pub fn passes_credentials(&self) -> bool {
        self.document.login == Some(Login::Passthrough)
    }

    /// It has answered.
    pub fn answered(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.revive();
        }
    }

    fn revive(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
        if self.dead_since.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(parent = %self, "the parent proxy is alive again");
        }
    }

    /// It has not. What is not its doing does not count: a limit of this node's, or the silence of whom it asked itself.
    pub fn failed(&self, failure: Failure) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Failure::Parent(how) = failure.of_parent() else { return };
        let weight = weight(how);
        if weight == 0 {
            return;
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        let before = self.in_a_row.fetch_add(weight, Ordering::Relaxed);
        if before.saturating_add(weight) >= FAILURES
            && self.dead_since.compare_exchange(0, unix_millis(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::warn!(parent = %self, "the parent proxy {how}: others are asked first until it takes connections again");
        }
    }
}

/// How much a failure says. Waiting for a connection in vain costs every request that tries it the whole deadline, so once is enough.
const fn weight(how: Unreached) -> u32 {
    match how {
        Unreached::Timeout => FAILURES,
        Unreached::Silent | Unreached::BadResponse(_) | Unreached::Incomplete => 0,
        Unreached::Dns(_) | Unreached::Refused | Unreached::Unroutable | Unreached::Terminated => 1,
    }
}

/// The parents that one request has been to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried(u64);

impl Tried {
    /// The parent to ask now: the first that lives, else the first, of those that have not been asked.
    pub fn next<'a>(&mut self, parents: &'a [Arc<Parent>]) -> Option<(usize, &'a Arc<Parent>)> {
        let left = || parents.iter().take(MOST).enumerate().filter(|(index, _)| !self.has(*index));
        let next = left().find(|(_, parent)| parent.is_alive()).or_else(|| left().next())?;
        self.0 |= 1 << next.0;
        Some(next)
    }

    /// It may be asked once more: it was on a connection that was just being closed.
    pub fn forget(&mut self, index: usize) {
        self.0 &= !(1_u64.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0));
    }

    /// Whether somebody is left to ask.
    #[must_use]
    pub fn leaves_any(&self, parents: &[Arc<Parent>]) -> bool {
        (0..parents.len().min(MOST)).any(|index| !self.has(index))
    }

    const fn has(self, index: usize) -> bool {
        self.0 & (1 << index) != 0
    }
}

/// The order in which a request that comes now would ask them.
#[must_use]
pub fn order(parents: &[Arc<Parent>]) -> Vec<&Arc<Parent>> {
    let mut tried = Tried::default();
    std::iter::from_fn(|| tried.next(parents).map(|(_, parent)| parent)).collect()
}

/// Whether a request that a parent failed may go to another one: the retry table, where parents are the nodes.
#[must_use]
pub fn may_ask_another(method: Method, replayable: bool, failure: &exchange::Failure) -> bool {
    let cause = match failure.fault {
        Fault::Timeout(_) => Cause::Timeout,
        Fault::Malformed(_) => Cause::NodeAnswered,
        _ => Cause::NodeLost,
    };
    let body = if replayable { retry::Body::Replayable } else { retry::Body::Gone };
    let attempt = retry::Attempt { phase: failure.phase, method, body, cause, number: 1, of: 2 };
    // Without a budget: what a live parent has answered is an answer.
    failure.side == exchange::Side::Upstream && retry::decide(&attempt, &mut Budget::new(0)) == Decision::Retry
}

/// As [`may_ask_another`], of a request without a body that was written as a whole.
#[must_use]
pub fn may_ask_another_for(method: Method, fault: Fault) -> bool {
    may_ask_another(method, true, &exchange::Failure { side: exchange::Side::Upstream, fault, phase: Phase::Written })
}

/// Tries connections to dead parents and reads credentials again, for as long as the node lives.
pub async fn look_after(node: Arc<Node>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let generation = node.current.load_full();
        let within = generation.document.timeouts.connect;
        join_all(generation.parents.iter().map(|parent| look_at(&node, parent, within))).await;
        node.metrics.dead_parents.set(generation.parents.iter().filter(|parent| !parent.is_alive()).count() as u64);
    }
}

async fn look_at(node: &Node, parent: &Arc<Parent>, within: Duration) {
    if matches!(parent.document.login, Some(Login::File(_))) {
        let reading = Arc::clone(parent);
        // A panic there leaves what was read before.
        drop(tokio::task::spawn_blocking(move || reading.read_again()).await);
    }
    if !parent.is_alive() && takes_connections(node, &parent.destination, within).await {
        parent.revive();
    }
}

impl Parent {
    fn read_again(&self) {
        let read = Credentials::read(self.document.login.as_ref());
        if *self.credentials.load_full() != read {
            self.credentials.store(Arc::new(read));
        }
    }
}

async fn takes_connections(node: &Node, destination: &Destination, within: Duration) -> bool {
    let connecting = async {
        let addresses = match destination.address {
            Some(address) => Arc::from([address]),
            None => node.resolver.resolve(&destination.host).await.ok()?,
        };
        for address in addresses.iter() {
            if TcpStream::connect((*address, destination.port)).await.is_ok() {
                return Some(());
            }
        }
        None
    };
    matches!(tokio::time::timeout(within, connecting).await, Ok(Some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parents(count: u16) -> Vec<Arc<Parent>> {
        (0..count).map(|port| Arc::new(Parent::new(document::Parent { host: "192.0.2.1".into(), port, login: None }))).collect()
    }

    fn ports(parents: &[Arc<Parent>]) -> Vec<u16> {
        order(parents).iter().map(|parent| parent.document.port).collect()
    }

    #[test]
    fn the_living_come_first_and_the_dead_last() {
        let parents = parents(4);
        assert_eq!(ports(&parents), [0, 1, 2, 3]);
        parents[0].failed(Failure::ConnectTimeout);
        parents[2].failed(Failure::Refused);
        assert_eq!(ports(&parents), [1, 2, 3, 0], "a refusal may be a restart");
        parents[2].failed(Failure::Terminated);
        assert_eq!(ports(&parents), [1, 3, 0, 2]);
        parents[2].answered();
        assert_eq!(ports(&parents), [1, 2, 3, 0]);
        assert_eq!((parents[2].counts(), parents[2].last_failure()), ((3, 2), Some(Unreached::Terminated)));
    }

    #[test]
    fn what_others_do_does_not_make_it_dead() {
        let parents = parents(1);
        for failure in [Failure::ResponseTimeout, Failure::Incomplete, Failure::Limit, Failure::Internal] {
            for _ in 0..10 {
                parents[0].failed(failure);
            }
            assert!(parents[0].is_alive(), "{failure:?}");
        }
        for _ in 0..10 {
            parents[0].failed(Failure::Refused);
            parents[0].answered();
        }
        assert!(parents[0].is_alive(), "only failures in a row count");
    }

    #[test]
    fn nobody_is_asked_twice_but_on_a_connection_that_was_closing() {
        let parents = parents(70);
        let mut tried = Tried::default();
        let first = tried.next(&parents).map(|(index, _)| index);
        tried.forget(0);
        assert_eq!((first, tried.next(&parents).map(|(index, _)| index)), (Some(0), Some(0)));
        tried.forget(200);
        let rest: Vec<usize> = std::iter::from_fn(|| tried.next(&parents).map(|(index, _)| index)).collect();
        assert_eq!(rest, (1..MOST).collect::<Vec<_>>());
        assert!(!tried.leaves_any(&parents));
    }

    #[test]
    fn another_one_is_asked_as_the_table_allows() {
        use exchange::{Failure, Side};
        for (method, replayable, side, fault, phase, another) in [
            (Method::Get, true, Side::Upstream, Fault::Closed, Phase::Written, true),
            (Method::Get, true, Side::Upstream, Fault::Reset, Phase::Written, true),
            (Method::Connect, true, Side::Upstream, Fault::Closed, Phase::Written, true),
            (Method::Post, true, Side::Upstream, Fault::Closed, Phase::Written, false),
            (Method::Post, true, Side::Upstream, Fault::Reset, Phase::NothingWritten, true),
            (Method::Put, false, Side::Upstream, Fault::Closed, Phase::Written, false),
            (Method::Get, true, Side::Upstream, Fault::Timeout(relay::wheel::Kind::FirstByte), Phase::Written, false),
            (Method::Get, true, Side::Upstream, Fault::Closed, Phase::ResponseRelayed, false),
            (Method::Get, true, Side::Client, Fault::Closed, Phase::Written, false),
        ] {
            assert_eq!(may_ask_another(method, replayable, &Failure { side, fault, phase }), another, "{method:?} {fault:?} {phase:?}");
        }
    }
}

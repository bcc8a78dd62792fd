//! The parent proxies as this process knows them: which of them answers, what proves this node to
//! them, which one a request goes to.
//!
//! What is known of a parent is shared by all workers and outlives a revision that keeps it. A dead
//! one is passed over while another lives, and found alive again by connections that are tried
//! beside the traffic; when all are dead they are asked all the same.
//!
//! A parent that answers 502, 503 or 504 says that it could not do what it was asked, and mostly
//! for want of an origin that could: another one is asked, and what it answers tells whose fault it
//! was. Only a parent that another one does better than, for several destinations in a row, is dead
//! for its answers.

mod list;
mod login;
mod select;

use std::{
    cell::{Cell, RefCell},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use cluster_config::document::proxy::{self as document, Login};
use dataplane::hash::hash;
use futures::future::join_all;
use relay::{
    exchange,
    fault::Fault,
    head::Response,
    method::Method,
    proxy_status,
    retry::{self, Budget, Cause, Decision, Phase},
};
use tokio::net::TcpStream;

use crate::{
    node::{Node, unix_millis},
    request::Destination,
    respond::{Failure, Unreached},
};

pub use list::{Member, Members, Parents};
pub use login::Credentials;
use select::Seed;

/// So many failures in a row make a parent dead.
const FAILURES: u32 = 2;
/// How many parents are told apart.
const MOST: usize = 64;
/// How long one that is dead for what it answered is left alone: that it takes connections says
/// nothing of what it answers then.
const LEFT_ALONE: Duration = Duration::from_secs(30);
/// Of 100 requests to parents so many may go to another one after an answer; those that were worth
/// it do not count.
const RETRIES: u32 = 20;

/// One of them.
#[derive(Debug)]
pub struct Parent {
    /// What the operator says of it.
    pub document: document::Parent,
    /// Where it is.
    pub destination: Destination,
    /// The same on every node.
    identity: u64,
    /// What proves this node to it, as it was read last.
    credentials: ArcSwap<Credentials>,
    /// Failures since the last success.
    in_a_row: AtomicU32,
    /// When it was found dead, in Unix milliseconds; 0: it is not.
    dead_since: AtomicU64,
    /// It is not looked for before that moment, in Unix milliseconds.
    left_until: AtomicU64,
    /// For which destination another one did better last; 0: for none since it answered well.
    outdone_for: AtomicU64,
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
    /// A parent of which nothing is known yet. Reads its credentials, which may take as long as a
    /// disk takes.
    #[must_use]
    pub fn new(document: document::Parent) -> Self {
        let destination = Destination {
            host: document.host.as_str().into(),
            address: document.host.parse().ok(),
            port: document.port,
            tls: false,
        };
        let credentials = ArcSwap::from_pointee(Credentials::read(document.login.as_ref()));
        let identity = hash(destination.authority().as_bytes());
        let (in_a_row, dead_since, left_until, outdone_for, requests, failures) =
            Default::default();
        let last = Mutex::default();
        Self {
            document,
            destination,
            identity,
            credentials,
            in_a_row,
            dead_since,
            left_until,
            outdone_for,
            requests,
            failures,
            last,
        }
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
        self.outdone_for.store(0, Ordering::Relaxed);
        if self.dead_since.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(parent = %self, "the parent proxy is alive again");
        }
    }

    /// It has not. What is not its doing does not count: a limit of this node's, or the silence of
    /// whom it asked itself.
    pub fn failed(&self, failure: Failure) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Failure::Parent(how) = failure.of_parent() else { return };
        let weight = weight(how);
        if weight == 0 {
            return;
        }
        self.count(how, weight);
    }

    /// It says that it could not do what it was asked. Whether that is its doing shows when another
    /// one is asked.
    pub fn answered_in_vain(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Another parent could do what this one answered with `status`, for a site.
    fn outdone(&self, status: u16, site: u64) {
        // Again for the same one: it may be a way that this parent has not, while it has all
        // others.
        let again = self.outdone_for.swap(site, Ordering::Relaxed) == site;
        if self.count(Unreached::Outdone(status), u32::from(!again)) {
            let until = unix_millis()
                .saturating_add(u64::try_from(LEFT_ALONE.as_millis()).unwrap_or(u64::MAX));
            self.left_until.store(until, Ordering::Relaxed);
        }
    }

    /// Answers whether that made it dead.
    fn count(&self, how: Unreached, weight: u32) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
        let before = self.in_a_row.fetch_add(weight, Ordering::Relaxed);
        let dies = before.saturating_add(weight) >= FAILURES
            && self
                .dead_since
                .compare_exchange(0, unix_millis(), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if dies {
            tracing::warn!(parent = %self, "the parent proxy {how}: others are asked first until \
                it serves again");
        }
        dies
    }
}

/// How much a failure says. Waiting for a connection in vain costs every request that tries it the
/// whole deadline, so once is enough.
const fn weight(how: Unreached) -> u32 {
    match how {
        Unreached::Timeout => FAILURES,
        Unreached::Silent
        | Unreached::BadResponse(_)
        | Unreached::Incomplete
        | Unreached::Nobody => 0,
        Unreached::Dns(_)
        | Unreached::Refused
        | Unreached::Unroutable
        | Unreached::Terminated
        | Unreached::Outdone(_) => 1,
    }
}

/// What a worker keeps of its requests to parents.
#[derive(Debug)]
pub struct Account {
    turn: Cell<u32>,
    retries: RefCell<Budget>,
}

impl Default for Account {
    fn default() -> Self {
        Self { turn: Cell::default(), retries: RefCell::new(Budget::new(RETRIES)) }
    }
}

impl Account {
    /// A request for a URL (for an authority, of CONNECT) begins, which may go to these; nobody has
    /// been asked.
    pub fn begin(&self, parents: &Parents, url: &str) -> Tried {
        if parents.is_empty() {
            return Tried::default();
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        self.retries.borrow_mut().deposit();
        Tried { seed: Seed { turn, url: hash(url.as_bytes()) }, ..Tried::default() }
    }
}

/// The parents that one request has been to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    seed: Seed,
    asked: u64,
    /// Those of them that answered in vain, and the status of the last one.
    in_vain: u64,
    status: u16,
}

impl Tried {
    /// The parent to ask now, of those that have not been asked.
    pub fn next<'a>(&mut self, parents: &'a Parents) -> Option<(usize, &'a Arc<Parent>)> {
        let place = parents.next(self.seed, |place| !self.has(place))?;
        self.asked |= 1 << place;
        Some((place, &parents[place]))
    }

    /// It may be asked once more: it was on a connection that was just being closed.
    pub fn forget(&mut self, index: usize) {
        self.asked &= !bit(index);
    }

    /// Whether somebody is left to ask.
    #[must_use]
    pub fn leaves_any(&self, parents: &Parents) -> bool {
        (0..parents.len()).any(|index| !self.has(index))
    }

    /// The parent at a place has answered in vain.
    pub fn note_in_vain(&mut self, parents: &Parents, index: usize, status: u16) {
        parents[index].answered_in_vain();
        self.in_vain |= bit(index);
        self.status = status;
    }

    /// A parent has answered, and not in vain: those before it that did are outdone, and to ask
    /// another one was worth it.
    pub fn settle(&mut self, parents: &Parents, destination: &Destination, account: &Account) {
        if self.in_vain == 0 {
            return;
        }
        // One site, whatever its port.
        let site = hash(destination.host.as_bytes()).max(1);
        for (_, parent) in
            parents.iter().enumerate().filter(|(place, _)| self.in_vain & bit(*place) != 0)
        {
            parent.outdone(self.status, site);
            account.retries.borrow_mut().give_back();
        }
        self.in_vain = 0;
    }

    const fn has(self, index: usize) -> bool {
        self.asked & bit(index) != 0
    }
}

/// Of a place among the parents; of one that there cannot be, none.
const fn bit(place: usize) -> u64 {
    if place < MOST { 1 << place } else { 0 }
}

/// The order in which a request for a URL that comes now would ask them, where it is not their turn
/// that decides.
#[must_use]
pub fn order<'a>(parents: &'a Parents, url: &str) -> Vec<&'a Arc<Parent>> {
    let mut tried = Tried { seed: Seed { turn: 0, url: hash(url.as_bytes()) }, ..Tried::default() };
    std::iter::from_fn(|| tried.next(parents).map(|(_, parent)| parent)).collect()
}

/// Whether the answer of a parent says that it could not do what it was asked (RFC 9110 §15.6.3 to
/// §15.6.5; Squid says 503 where it cannot connect), and not that the origin said so (RFC 9209
/// §2.1.4).
#[must_use]
pub fn is_in_vain(answer: Response<'_>) -> bool {
    matches!(answer.status(), 502..=504) && !proxy_status::was_received(answer.lines())
}

/// Whether a request that a parent answered in vain may go to another one: by the retry table, as
/// far as the worker's budget goes, so that an origin which is down is not asked by every parent
/// for every request.
#[must_use]
pub fn may_ask_another_after_answer(
    method: Method,
    replayable: bool,
    phase: Phase,
    account: &Account,
) -> bool {
    let body = if replayable { retry::Body::Replayable } else { retry::Body::Gone };
    let attempt =
        retry::Attempt { phase, method, body, cause: Cause::NodeAnswered, number: 1, of: 2 };
    retry::decide(&attempt, &mut account.retries.borrow_mut()) == Decision::Retry
}

/// Whether a request that a parent failed may go to another one: the retry table, where parents are
/// the nodes.
#[must_use]
pub fn may_ask_another(method: Method, replayable: bool, failure: &exchange::Failure) -> bool {
    let cause = match failure.fault {
        Fault::Timeout(_) => Cause::Timeout,
        Fault::Malformed(_) => Cause::NodeAnswered,
        _ => Cause::NodeLost,
    };
    let body = if replayable { retry::Body::Replayable } else { retry::Body::Gone };
    let attempt = retry::Attempt { phase: failure.phase, method, body, cause, number: 1, of: 2 };
    // Without a budget: what cannot be understood may be the origin's, and would be understood no
    // better.
    failure.side == exchange::Side::Upstream
        && retry::decide(&attempt, &mut Budget::new(0)) == Decision::Retry
}

/// As [`may_ask_another`], of a request without a body that was written as a whole.
#[must_use]
pub fn may_ask_another_for(method: Method, fault: Fault) -> bool {
    may_ask_another(
        method,
        true,
        &exchange::Failure { side: exchange::Side::Upstream, fault, phase: Phase::Written },
    )
}

/// Tries connections to dead parents and reads credentials again, for as long as the node lives.
pub async fn look_after(node: Arc<Node>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let generation = node.current.load_full();
        let within = generation.document.timeouts.connect;
        join_all(generation.parents.iter().map(|parent| look_at(&node, parent, within))).await;
        node.metrics
            .dead_parents
            .set(generation.parents.iter().filter(|parent| !parent.is_alive()).count() as u64);
    }
}

async fn look_at(node: &Node, parent: &Arc<Parent>, within: Duration) {
    if matches!(parent.document.login, Some(Login::File(_))) {
        let reading = Arc::clone(parent);
        // A panic there leaves what was read before.
        drop(tokio::task::spawn_blocking(move || reading.read_again()).await);
    }
    let is_left_alone = parent.left_until.load(Ordering::Relaxed) > unix_millis();
    if !parent.is_alive()
        && !is_left_alone
        && takes_connections(node, &parent.destination, within).await
    {
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

    fn parents(count: u16) -> Parents {
        let document = |port| {
            document::Parent {
                host: "192.0.2.1".into(),
                port,
                login: None,
                select: document::Select::First,
            }
            .into()
        };
        Parents::new(
            &(0..count).map(document).collect::<Vec<_>>(),
            &Members::default(),
            &Parents::default(),
        )
    }

    fn ports(parents: &Parents) -> Vec<u16> {
        order(parents, "").iter().map(|parent| parent.document.port).collect()
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
        assert_eq!(
            (parents[2].counts(), parents[2].last_failure()),
            ((3, 2), Some(Unreached::Terminated))
        );
    }

    #[test]
    fn what_others_do_does_not_make_it_dead() {
        let parents = parents(1);
        for failure in
            [Failure::ResponseTimeout, Failure::Incomplete, Failure::Limit, Failure::Internal]
        {
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
    fn who_is_outdone_for_several_destinations_in_a_row_is_dead() {
        let (parents, account) = (parents(3), Account::default());
        let destination =
            |host: &str| Destination { host: host.into(), address: None, port: 80, tls: false };
        // Whether another one does better, and the destination; whether the first one is alive
        // then.
        let request = |better: bool, host: &str| {
            let mut tried = account.begin(&parents, "");
            tried.note_in_vain(&parents, 0, 503);
            if better {
                parents[1].answered();
                tried.settle(&parents, &destination(host), &account);
            } else {
                tried.note_in_vain(&parents, 1, 503);
            }
            parents[0].is_alive()
        };
        for host in ["a", "b", "c", "d"] {
            assert!(request(false, host), "nobody can reach {host}");
        }
        for _ in 0..5 {
            assert!(request(true, "a"), "one destination is no evidence");
        }
        parents[0].answered();
        assert!(request(true, "b"), "it has answered between");
        assert!(!request(true, "c"));
        assert_eq!(parents[0].last_failure(), Some(Unreached::Outdone(503)));
        assert_eq!((parents[0].counts(), parents[1].counts()), ((12, 7), (11, 0)));
        assert!(
            parents[0].left_until.load(Ordering::Relaxed) > unix_millis() + 20_000,
            "and is not asked for a while"
        );
    }

    #[test]
    fn an_origin_that_is_down_is_not_asked_by_all_and_a_parent_that_is_broken_is_always_made_up_for()
     {
        let (parents, account) = (parents(2), Account::default());
        let another = || may_ask_another_after_answer(Method::Get, true, Phase::Written, &account);
        for number in 0..1000 {
            let mut tried = account.begin(&parents, "");
            assert!(another(), "request {number}");
            tried.note_in_vain(&parents, 0, 502);
            tried.settle(&parents, &parents[1].destination, &account);
        }
        let asked = (0..1000).filter(|_| {
            account.begin(&parents, "");
            another()
        });
        let asked = asked.count();
        assert!((200..=210).contains(&asked), "{asked}");
        for (method, replayable, phase) in [
            (Method::Post, true, Phase::Written),
            (Method::Put, false, Phase::Written),
            (Method::Get, true, Phase::ResponseRelayed),
        ] {
            assert!(
                !may_ask_another_after_answer(method, replayable, phase, &Account::default()),
                "{method:?} {phase:?}"
            );
        }
    }

    #[test]
    fn answers_in_vain() {
        for (head, in_vain) in [
            ("502 Bad Gateway\r\n", true),
            ("503 Service Unavailable\r\n", true),
            ("504 Gateway Timeout\r\nProxy-Status: squid; error=connection_timeout\r\n", true),
            ("503 Service Unavailable\r\nProxy-Status: squid; received-status=503\r\n", false),
            (
                "502 Bad Gateway\r\nProxy-Status: a; error=dns_error, b; received-status=502; \
                 next-hop=\"x; y\"\r\n",
                false,
            ),
            (
                "503 Service Unavailable\r\nProxy-Status: a; details=\"; received-status=503\"\r\n",
                true,
            ),
            ("500 Internal Server Error\r\n", false),
            ("403 Forbidden\r\n", false),
            ("404 Not Found\r\n", false),
        ] {
            let bytes = format!("HTTP/1.1 {head}\r\n");
            let mut response = relay::head::ResponseHead::new();
            response.parse(bytes.as_bytes(), &relay::head::Limits::default()).expect("well-formed");
            assert_eq!(is_in_vain(response.view(bytes.as_bytes())), in_vain, "{head}");
        }
    }

    #[test]
    fn nobody_is_asked_twice_but_on_a_connection_that_was_closing() {
        let parents = parents(70);
        let mut tried = Tried::default();
        let first = tried.next(&parents).map(|(index, _)| index);
        tried.forget(0);
        assert_eq!((first, tried.next(&parents).map(|(index, _)| index)), (Some(0), Some(0)));
        tried.forget(200);
        let rest: Vec<usize> =
            std::iter::from_fn(|| tried.next(&parents).map(|(index, _)| index)).collect();
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
            (
                Method::Get,
                true,
                Side::Upstream,
                Fault::Timeout(relay::wheel::Kind::FirstByte),
                Phase::Written,
                false,
            ),
            (Method::Get, true, Side::Upstream, Fault::Closed, Phase::ResponseRelayed, false),
            (Method::Get, true, Side::Client, Fault::Closed, Phase::Written, false),
        ] {
            assert_eq!(
                may_ask_another(method, replayable, &Failure { side, fault, phase }),
                another,
                "{method:?} {fault:?} {phase:?}"
            );
        }
    }
}

//! One parent proxy as this process knows it: whether it answers, and what proves this node to it.

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
use dataplane::hash::hash;

use super::login::Credentials;
use crate::{
    clock::unix_millis,
    request::Destination,
    respond::{Error, Unreached},
};

/// So many failures in a row make a parent dead.
const FAILURES: u32 = 2;
/// How many parents are told apart.
pub(super) const MOST: usize = 64;
/// How long one that is dead for what it answered is left alone: that it takes connections says
/// nothing of what it answers then.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Debug)]
pub struct Parent {
    /// What the operator says of it.
    pub document: document::Parent,
    /// Where it is.
    pub destination: Destination,
    /// The same on every node.
    pub(super) identity: u64,
    /// What proves this node to it, as it was read last.
    pub(super) credentials: ArcSwap<Credentials>,
    /// Failures since the last success.
    in_a_row: AtomicU32,
    /// When it was found dead, in Unix milliseconds; 0: it is not.
    dead_since: AtomicU64,
    /// It is not looked for before that moment, in Unix milliseconds.
    pub(super) left_until: AtomicU64,
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
            tls: document.tls,
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

    pub(super) fn revive(&self) {
        self.in_a_row.store(0, Ordering::Relaxed);
        self.outdone_for.store(0, Ordering::Relaxed);
        if self.dead_since.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(parent = %self, "the parent proxy is alive again");
        }
    }

    /// It has not. What is not its doing does not count: a limit of this node's, or the silence of
    /// whom it asked itself.
    pub fn failed(&self, failure: Error) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let Error::Parent(how) = failure.of_parent() else { return };
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
    pub(super) fn outdone(&self, status: u16, site: u64) {
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

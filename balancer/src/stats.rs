//! What the data path counts of servers and frontends: each worker has its own counters, and
//! reading adds them up ([`dataplane::count`]).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use dataplane::{
    answers::Answers,
    ledger::{Carried, Counters},
};

use crate::pick::response_time::Average;
pub use dataplane::count::{Count, PerWorker};

/// A gauge that is one higher until this is dropped, however what it counts ends.
pub struct Raised<'a>(&'a Count);

impl<'a> Raised<'a> {
    #[must_use]
    pub fn new(gauge: &'a Count) -> Self {
        gauge.up();
        Self(gauge)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.down();
    }
}

/// One worker's counters of one server. Aligned so that two workers never share a cache line (nor
/// an adjacent pair of them).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerCounts {
    /// Requests answered or attempted by it, tunnels included.
    pub requests: Count,
    /// Attempts that failed through its own fault.
    pub failures: Count,
    /// Attempts that were continued on another server.
    pub retries_away: Count,
    /// Attempts for which there was no connection.
    pub connect_errors: Count,
    /// Attempts after one at the same server, whose pooled connection was closed.
    pub asked_again: Count,
    /// Requests and tunnels that have ended with it, and their times all together, in
    /// microseconds: in the queue, until there was a connection, and from head to end.
    pub ended: Count,
    pub queue_microseconds: Count,
    pub connect_microseconds: Count,
    pub total_microseconds: Count,
    /// Connections opened to it for requests.
    pub connections_opened: Count,
    /// Requests sent on a pooled connection.
    pub connections_reused: Count,
    /// Being answered now.
    pub active_requests: Count,
    /// Tunnels through it now.
    pub active_tunnels: Count,
    /// Sent to it.
    pub bytes_out: Count,
    /// Received from it.
    pub bytes_in: Count,
    /// When it last answered a request, in milliseconds of the process's [`Uptime`]; 0: never.
    pub answered_at: Count,
    /// Answers whose head has come.
    pub answers: Count,
    /// The time to those heads less the time that the node waited for an origin, in microseconds.
    pub own_microseconds: Count,
    /// Its answers by status class, and the time to their heads.
    pub heads: Answers,
    /// The average of that own time, in microseconds ([`crate::pick::response_time`]); 0: none yet.
    pub average: Count,
    /// When the last answer came that is in the average, in milliseconds of uptime.
    pub average_at: Count,
}

impl ServerCounts {
    /// What it carries now.
    #[must_use]
    pub fn load(counts: &PerWorker<Self>) -> u64 {
        counts.sum(|it| &it.active_requests) + counts.sum(|it| &it.active_tunnels)
    }

    /// The average of its own time; none before its first answer.
    #[must_use]
    pub fn average(&self) -> Option<Average> {
        let (micros, at) = (self.average.get(), self.average_at.get());
        (at > 0).then_some(Average { micros, at })
    }

    /// One has ended that took so long. To be called from the owning worker's thread only.
    pub fn end(&self, queue: Option<Duration>, connect: Option<Duration>, took: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(0);
        self.ended.up();
        self.total_microseconds.add(micros(took));
        // Nearly always nothing.
        if let Some(queue) = queue.filter(|it| !it.is_zero()) {
            self.queue_microseconds.add(micros(queue));
        }
        if let Some(connect) = connect.filter(|it| !it.is_zero()) {
            self.connect_microseconds.add(micros(connect));
        }
    }

    /// Takes an answer into the average. To be called from the owning worker's thread only.
    pub fn took(&self, own: u64, now: u64) {
        let average = Average::with(self.average(), own, now);
        self.average.set(average.micros);
        self.average_at.set(average.at);
    }
}

/// One worker's counters of one backend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct BackendCounts {
    /// Requests and tunnels that its servers carry now.
    pub active: Count,
    /// Attempts after the first one of a request.
    pub retries: Count,
    /// Retries that were not made because too many had been.
    pub over_budget: Count,
    /// Second servers that were asked while the first was silent, and those that answered first.
    pub hedges: Count,
    pub hedges_won: Count,
}

/// One worker's counters of one frontend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FrontendCounts {
    pub connections: Count,
    pub active_connections: Count,
    pub requests: Count,
    /// Answered by the balancer itself because no server could.
    pub failed: Count,
    /// Refused as malformed.
    pub refused: Count,
    /// Not served because their client has its share, or because they are too large.
    pub limited: Count,
    pub tunnels: Count,
    /// Tunnels that a server's death cut.
    pub cut_tunnels: Count,
    /// Responses that a server's death cut after their first byte.
    pub cut_responses: Count,
    /// Received from clients, and sent to them; what is under way is counted when it ends.
    pub bytes_in: Count,
    pub bytes_out: Count,
    /// What clients got by status class, and how long whole requests took.
    pub answers: Answers,
    pub http2: Http2Counts,
}

/// What clients do in HTTP/2.
#[derive(Debug, Default)]
pub struct Http2Counts {
    pub connections: Count,
    /// Requests and tunnels, refused ones included.
    pub streams: Count,
    /// Streams that clients have reset.
    pub resets: Count,
    /// Connections ended for what their clients sent without need.
    pub floods: Count,
}

/// Counters that come from the control side; rare, so several may write.
#[derive(Debug, Default)]
pub struct CheckCounts {
    /// Own checks that passed.
    pub passed: AtomicU64,
    /// Own checks that failed.
    pub failed: AtomicU64,
    /// How often it went out of turn.
    pub ejections: AtomicU64,
    /// How often of these because it did worse than the others.
    pub outliers: AtomicU64,
    /// An operator has them rest.
    pub paused: AtomicBool,
    /// And what is asked of its agent.
    pub agent_paused: AtomicBool,
}

impl Counters for ServerCounts {
    fn each(&self, visit: &mut dyn FnMut(&str, &Count)) {
        for (name, count) in [
            ("requests", &self.requests),
            ("failures", &self.failures),
            ("retries_away", &self.retries_away),
            ("connect_errors", &self.connect_errors),
            ("asked_again", &self.asked_again),
            ("ended", &self.ended),
            ("queue_microseconds", &self.queue_microseconds),
            ("connect_microseconds", &self.connect_microseconds),
            ("total_microseconds", &self.total_microseconds),
            ("connections_opened", &self.connections_opened),
            ("connections_reused", &self.connections_reused),
            ("bytes_out", &self.bytes_out),
            ("bytes_in", &self.bytes_in),
            ("answers", &self.answers),
            ("own_microseconds", &self.own_microseconds),
        ] {
            visit(name, count);
        }
        self.heads.each(visit);
    }
}

impl Counters for BackendCounts {
    fn each(&self, visit: &mut dyn FnMut(&str, &Count)) {
        for (name, count) in [
            ("retries", &self.retries),
            ("over_budget", &self.over_budget),
            ("hedges", &self.hedges),
            ("hedges_won", &self.hedges_won),
        ] {
            visit(name, count);
        }
    }
}

impl Counters for FrontendCounts {
    fn each(&self, visit: &mut dyn FnMut(&str, &Count)) {
        for (name, count) in [
            ("connections", &self.connections),
            ("requests", &self.requests),
            ("failed", &self.failed),
            ("refused", &self.refused),
            ("limited", &self.limited),
            ("tunnels", &self.tunnels),
            ("cut_tunnels", &self.cut_tunnels),
            ("cut_responses", &self.cut_responses),
            ("bytes_in", &self.bytes_in),
            ("bytes_out", &self.bytes_out),
        ] {
            visit(name, count);
        }
        self.answers.each(visit);
        let Http2Counts { connections, streams, resets, floods } = &self.http2;
        for (name, count) in [
            ("http2.connections", connections),
            ("http2.streams", streams),
            ("http2.resets", resets),
            ("http2.floods", floods),
        ] {
            visit(name, count);
        }
    }
}

impl Carried for CheckCounts {
    fn totals(&self) -> BTreeMap<String, u64> {
        self.rising().map(|(name, count)| (name.to_owned(), count.load(Relaxed))).into()
    }

    fn add(&self, more: &BTreeMap<String, u64>) {
        for (name, count) in self.rising() {
            count.fetch_add(more.get(name).copied().unwrap_or(0), Relaxed);
        }
    }
}

/// What all workers have counted of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerTotals {
    pub requests: u64,
    pub failures: u64,
    pub retries_away: u64,
    pub connect_errors: u64,
    pub asked_again: u64,
    pub ended: u64,
    pub queue_microseconds: u64,
    pub connect_microseconds: u64,
    pub total_microseconds: u64,
    pub connections_opened: u64,
    pub connections_reused: u64,
    pub active_requests: u64,
    pub active_tunnels: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    pub answers: u64,
    pub own_microseconds: u64,
}

impl ServerTotals {
    /// The sums now.
    #[must_use]
    pub fn of(counts: &PerWorker<ServerCounts>) -> Self {
        Self {
            requests: counts.sum(|it| &it.requests),
            failures: counts.sum(|it| &it.failures),
            retries_away: counts.sum(|it| &it.retries_away),
            connect_errors: counts.sum(|it| &it.connect_errors),
            asked_again: counts.sum(|it| &it.asked_again),
            ended: counts.sum(|it| &it.ended),
            queue_microseconds: counts.sum(|it| &it.queue_microseconds),
            connect_microseconds: counts.sum(|it| &it.connect_microseconds),
            total_microseconds: counts.sum(|it| &it.total_microseconds),
            connections_opened: counts.sum(|it| &it.connections_opened),
            connections_reused: counts.sum(|it| &it.connections_reused),
            active_requests: counts.sum(|it| &it.active_requests),
            active_tunnels: counts.sum(|it| &it.active_tunnels),
            bytes_out: counts.sum(|it| &it.bytes_out),
            bytes_in: counts.sum(|it| &it.bytes_in),
            answers: counts.sum(|it| &it.answers),
            own_microseconds: counts.sum(|it| &it.own_microseconds),
        }
    }
}

/// What all workers have counted of a frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendTotals {
    pub connections: u64,
    pub active_connections: u64,
    pub requests: u64,
    pub failed: u64,
    pub refused: u64,
    pub limited: u64,
    pub tunnels: u64,
    pub cut_tunnels: u64,
    pub cut_responses: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub http2: Http2Totals,
}

/// What all workers have counted of HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http2Totals {
    pub connections: u64,
    pub streams: u64,
    pub resets: u64,
    pub floods: u64,
}

impl FrontendTotals {
    /// The sums now.
    #[must_use]
    pub fn of(counts: &PerWorker<FrontendCounts>) -> Self {
        Self {
            connections: counts.sum(|it| &it.connections),
            active_connections: counts.sum(|it| &it.active_connections),
            requests: counts.sum(|it| &it.requests),
            failed: counts.sum(|it| &it.failed),
            refused: counts.sum(|it| &it.refused),
            limited: counts.sum(|it| &it.limited),
            tunnels: counts.sum(|it| &it.tunnels),
            cut_tunnels: counts.sum(|it| &it.cut_tunnels),
            cut_responses: counts.sum(|it| &it.cut_responses),
            bytes_in: counts.sum(|it| &it.bytes_in),
            bytes_out: counts.sum(|it| &it.bytes_out),
            http2: Http2Totals {
                connections: counts.sum(|it| &it.http2.connections),
                streams: counts.sum(|it| &it.http2.streams),
                resets: counts.sum(|it| &it.http2.resets),
                floods: counts.sum(|it| &it.http2.floods),
            },
        }
    }
}

/// What the checks have counted of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckTotals {
    pub passed: u64,
    pub failed: u64,
    pub ejections: u64,
    pub outliers: u64,
}

impl CheckCounts {
    fn rising(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("checks.passed", &self.passed),
            ("checks.failed", &self.failed),
            ("checks.ejections", &self.ejections),
            ("checks.outliers", &self.outliers),
        ]
    }

    /// The numbers now.
    #[must_use]
    pub fn totals(&self) -> CheckTotals {
        CheckTotals {
            passed: self.passed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            ejections: self.ejections.load(Relaxed),
            outliers: self.outliers.load(Relaxed),
        }
    }
}

/// Milliseconds since the process began, as a number that fits into an atomic.
#[derive(Clone, Copy, Debug)]
pub struct Uptime(std::time::Instant);

impl Uptime {
    /// Begins now. One millisecond is added to every reading, so that 0 can mean never.
    #[must_use]
    pub const fn starting(now: std::time::Instant) -> Self {
        Self(now)
    }

    /// An instant as a number.
    #[must_use]
    pub fn millis(self, at: std::time::Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0).as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }

    /// And back; none for 0.
    #[must_use]
    pub fn instant(self, millis: u64) -> Option<std::time::Instant> {
        (millis > 0).then(|| self.0 + std::time::Duration::from_millis(millis - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_never() {
        let now = relay::clock::now();
        let uptime = Uptime::starting(now);
        assert_eq!(uptime.instant(0), None);
        assert_eq!(uptime.instant(uptime.millis(now)), Some(now));
    }
}

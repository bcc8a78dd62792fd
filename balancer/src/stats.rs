//! Counters of the data path: each worker has its own, and reading adds them up.
//!
//! A [`Count`] has one writer, so that counting is a plain load and store on a cache line that no other core writes. Readers (gRPC, metrics) see
//! values that are at most an instant old.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter or gauge with one writing thread.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds. To be called from the owning worker's thread only.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// One less, for gauges.
    pub fn down(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Overwrites.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now; any thread.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One worker's counters of one server. Aligned so that two workers never share a cache line (nor an adjacent pair of them).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ServerCounts {
    /// Requests answered or attempted by it, tunnels included.
    pub requests: Count,
    /// Attempts that failed through its own fault.
    pub failures: Count,
    /// Attempts that were continued on another server.
    pub retries_away: Count,
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
}

/// One worker's counters of one frontend.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct FrontendCounts {
    /// Accepted.
    pub connections: Count,
    /// Open now.
    pub active_connections: Count,
    /// Well-formed requests.
    pub requests: Count,
    /// Answered by the balancer itself because no server could.
    pub failed: Count,
    /// Refused as malformed.
    pub refused: Count,
    /// Tunnels established.
    pub tunnels: Count,
    /// Tunnels that a server's death cut.
    pub cut_tunnels: Count,
    /// Responses that a server's death cut after their first byte.
    pub cut_responses: Count,
}

/// One of something for each worker.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[T]>);

impl<T: Default> PerWorker<T> {
    /// All at zero.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| T::default()).collect())
    }

    /// That of one worker.
    #[must_use]
    pub fn of(&self, worker: usize) -> &T {
        &self.0[worker % self.0.len()]
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self, count: impl Fn(&T) -> &Count) -> u64 {
        self.0.iter().map(|it| count(it).get()).sum()
    }

    /// The greatest over all workers.
    #[must_use]
    pub fn max(&self, count: impl Fn(&T) -> &Count) -> u64 {
        self.0.iter().map(|it| count(it).get()).max().unwrap_or(0)
    }
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
        u64::try_from(at.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
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
    fn workers_add_up() {
        let counts = PerWorker::<ServerCounts>::new(2);
        counts.of(0).requests.add(3);
        counts.of(1).requests.up();
        counts.of(1).active_requests.up();
        counts.of(1).active_requests.down();
        counts.of(1).active_requests.down();
        assert_eq!(counts.sum(|it| &it.requests), 4);
        assert_eq!(counts.sum(|it| &it.active_requests), 0);
        assert_eq!(counts.max(|it| &it.requests), 3);
    }

    #[test]
    fn zero_is_never() {
        let now = std::time::Instant::now();
        let uptime = Uptime::starting(now);
        assert_eq!(uptime.instant(0), None);
        assert_eq!(uptime.instant(uptime.millis(now)), Some(now));
    }
}

//! Time as this process reckons it.

use std::time::{Duration, Instant, UNIX_EPOCH};

/// Now, in Unix milliseconds.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = relay::clock::exact_wall().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time that nobody can set: the wall clock as it was when the process started, and what has passed
/// since. Ages reckoned by the wall clock itself would be wrong by as much as it is set: after an
/// hour back, everything stored would be fresh for an hour more.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    started: Instant,
    started_at: Duration,
}

impl Steady {
    /// Begins now, at this wall clock time in Unix milliseconds.
    #[must_use]
    pub fn start(unix_millis: u64) -> Self {
        Self { started: relay::clock::now(), started_at: Duration::from_millis(unix_millis) }
    }

    /// Seconds since the epoch, had the wall clock never been set since the start.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.started_at + relay::clock::since(self.started)).as_secs()
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn millis(&self) -> u64 {
        u64::try_from((self.started_at + relay::clock::since(self.started)).as_millis())
            .unwrap_or(u64::MAX)
    }
}

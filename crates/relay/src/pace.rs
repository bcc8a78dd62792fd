//! Whether a peer makes progress that is worth a connection: so many bytes of a body in every
//! stretch of time for which it was waited. A deadline on the next byte alone is defeated by a byte
//! now and then. Pure.

use std::time::Duration;

/// The slowest that a peer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slowest {
    /// Bytes a second, on average over [`over`](Self::over); 0: as slow as it likes.
    pub bytes_per_second: u32,
    /// Time in which it was waited for.
    pub over: Duration,
}

impl Slowest {
    /// Nobody is too slow.
    pub const ANY: Self = Self { bytes_per_second: 0, over: Duration::ZERO };

    fn bytes(self) -> u128 {
        self.over.as_millis() * u128::from(self.bytes_per_second) / 1000
    }
}

/// One direction of a connection while a body is on its way. Only the time counts in which nothing
/// but the peer was waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    slowest: Slowest,
    waiting_since: Option<Duration>,
    waited: Duration,
    moved: u64,
}

impl Pace {
    /// None where nobody is too slow.
    pub(crate) fn new(slowest: Slowest) -> Option<Self> {
        let (waiting_since, waited, moved) = (None, Duration::ZERO, 0);
        (slowest.bytes() > 0).then_some(Self { slowest, waiting_since, waited, moved })
    }

    /// The peer is waited for from now on.
    pub(crate) fn waits(&mut self, now: Duration) {
        self.waiting_since.get_or_insert(now);
    }

    /// So many bytes have moved. False: that is too slow.
    #[must_use]
    pub(crate) fn moved(&mut self, n: usize, now: Duration) -> bool {
        self.moved += n as u64;
        let Some(since) = self.waiting_since.take() else { return true };
        self.waited += now.saturating_sub(since);
        if self.waited < self.slowest.over {
            return true;
        }
        // What it was waited for beyond that counts as well.
        let least = self.slowest.bytes() * self.waited.as_millis() / self.slowest.over.as_millis();
        let enough = u128::from(self.moved) >= least;
        (self.waited, self.moved) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOWEST: Slowest = Slowest { bytes_per_second: 100, over: Duration::from_secs(10) };

    /// How many seconds it goes on when so many bytes come after so many seconds, again and again.
    fn lasts(bytes: usize, every: u64) -> Option<u64> {
        let mut pace = Pace::new(SLOWEST).unwrap();
        (0..3600).step_by(every as usize).find(|at| {
            pace.waits(Duration::from_secs(*at));
            !pace.moved(bytes, Duration::from_secs(at + every))
        })
    }

    #[test]
    fn a_drip_is_no_progress() {
        assert_eq!(lasts(1, 1), Some(9));
        assert_eq!(lasts(99, 1), Some(9));
        assert_eq!(lasts(100, 1), None);
        // In pieces as well, and a wait that is longer than the stretch.
        assert_eq!(lasts(499, 5), Some(5));
        assert_eq!(lasts(500, 5), None);
        assert_eq!(lasts(2900, 29), None);
        assert_eq!(lasts(2899, 29), Some(0));
    }

    #[test]
    fn only_the_time_counts_in_which_the_peer_was_waited_for() {
        let mut pace = Pace::new(SLOWEST).unwrap();
        for second in (0..3600).step_by(10) {
            // It has come already whenever somebody asks.
            assert!(pace.moved(1, Duration::from_secs(second)));
        }
        // A stretch that is good makes up for nothing of the next one.
        pace.waits(Duration::from_secs(4000));
        assert!(pace.moved(1_000_000, Duration::from_secs(4010)));
        pace.waits(Duration::from_secs(4010));
        assert!(!pace.moved(10, Duration::from_secs(4020)));
    }

    #[test]
    fn nobody_is_too_slow_where_none_is_said() {
        assert!(Pace::new(Slowest::ANY).is_none());
        let no_time = Slowest { bytes_per_second: 100, over: Duration::ZERO };
        assert!(Pace::new(no_time).is_none());
    }
}

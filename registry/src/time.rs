//! The time, and whether the registry itself was away.
//!
//! Leases lapse because their holders are silent. When the registry stood still (stopped, starved,
//! suspended) or the machine's clock was set, the silence was its own, and nobody may be lost for
//! it.

use std::time::Duration;

use chassis::Clock;
use jiff::Timestamp;
use tokio::time::Instant;

/// Longer than this between two readings, or a clock that jumped by more, means that the registry
/// was away.
const AWAY: Duration = Duration::from_secs(3);

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it says.
    pub now: Timestamp,
    /// The silence since the reading before may have been the registry's own.
    pub was_away: bool,
}

/// Tells the time.
#[derive(Debug)]
pub enum Time {
    /// The machine's clock, watched for jumps.
    Machine {
        clock: Clock,
        /// The reading before.
        last: Option<(Timestamp, Instant)>,
    },
    /// A clock that tests move.
    Given(Clock),
}

impl Time {
    #[must_use]
    pub fn machine(clock: Clock) -> Self {
        Self::Machine { clock, last: None }
    }

    /// Reads the clock.
    pub fn read(&mut self) -> Reading {
        match self {
            Self::Given(clock) => Reading { now: clock.now(), was_away: false },
            Self::Machine { clock, last } => {
                let (now, instant) = (clock.now(), Instant::now());
                let was_away = last.is_some_and(|(before, earlier)| {
                    was_away(before, now, instant.duration_since(earlier))
                });
                *last = Some((now, instant));
                Reading { now, was_away }
            }
        }
    }
}

fn was_away(before: Timestamp, now: Timestamp, passed: Duration) -> bool {
    let by_the_wall = before.duration_until(now);
    let jump = by_the_wall.saturating_sub(passed.try_into().unwrap_or(jiff::SignedDuration::MAX));
    passed > AWAY || jump.unsigned_abs() > AWAY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_jumps_are_noticed() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        for (before, now, passed, expected) in [
            (100, 100, 0, false),
            (100, 102, 2, false),
            (100, 104, 4, true),     // stood still
            (100, 4000, 1, true),    // set forward
            (100, 90, 1, true),      // set back
            (100, 99, 1, false),     // disciplined
            (100, 4000, 3900, true), // suspended
        ] {
            assert_eq!(
                was_away(at(before), at(now), Duration::from_secs(passed)),
                expected,
                "{before} {now} {passed}"
            );
        }
    }
}

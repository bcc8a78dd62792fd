//! How long an instance is believed to live without a word from it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Granted when nobody asks for another.
pub const DEFAULT_TTL: Duration = Duration::from_secs(6);
/// The shortest lease: below it, one lost packet is a lost member.
pub const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest lease.
pub const MAX_TTL: Duration = Duration::from_secs(300);
/// How long a lost instance stays listed.
pub const LISTED_FOR: Duration = Duration::from_secs(600);
/// The longest time that an instance may stay listed as draining after it deregistered.
pub const MAX_DRAIN: Duration = Duration::from_secs(600);
/// The longest time that an opinion counts, whatever its checker says.
pub const MAX_OPINION_TTL: Duration = Duration::from_secs(600);

/// The lease granted to who desired for `asked`.
#[must_use]
pub fn grant(asked: Option<Duration>, default: Duration) -> Duration {
    asked.filter(|ttl| !ttl.is_zero()).unwrap_or(default).clamp(MIN_TTL, MAX_TTL)
}

/// `at` plus `length`, or the end of time.
#[must_use]
pub fn after(at: Timestamp, length: Duration) -> Timestamp {
    SignedDuration::try_from(length)
        .ok()
        .and_then(|length| at.checked_add(length).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_within_bounds() {
        for (asked, granted) in [
            (None, DEFAULT_TTL),
            (Some(Duration::ZERO), DEFAULT_TTL),
            (Some(Duration::from_millis(1)), MIN_TTL),
            (Some(Duration::from_secs(10)), Duration::from_secs(10)),
            (Some(Duration::MAX), MAX_TTL),
        ] {
            assert_eq!(grant(asked, DEFAULT_TTL), granted, "{asked:?}");
        }
    }

    #[test]
    fn time_ends() {
        assert_eq!(after(Timestamp::MAX, MAX_TTL), Timestamp::MAX);
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::from_secs(6)).as_second(), 6);
    }
}

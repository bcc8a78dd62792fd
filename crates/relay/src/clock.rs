//! The clocks of the data plane. Whoever needs the time there takes it as an argument or asks here;
//! `clippy.toml` forbids the standard library's.
//!
//! [`steady`] and [`wall`] cost next to nothing, as the kernel keeps their time ready: exact to one
//! of its ticks, which is 10 ms at most, and never ahead. A request that is relayed asks for the
//! time about ten times; the exact clocks made a tenth of this program's own share of it.
//!
//! [`now`] and [`exact_wall`] are exact. [`now`] is tokio's, so that it stands still in tests that
//! pause tokio's time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest that these clocks are behind the exact ones.
pub const BEHIND: Duration = Duration::from_millis(10);

/// This moment, exactly.
#[must_use]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// How long ago `moment` was, exactly; zero if it is still to come.
#[must_use]
pub fn since(moment: Instant) -> Duration {
    now().saturating_duration_since(moment)
}

/// The time of day, exactly: for what is compared with the clocks of other machines.
#[expect(clippy::disallowed_methods, reason = "this is where the data plane gets the time of day")]
#[must_use]
pub fn exact_wall() -> SystemTime {
    SystemTime::now()
}

/// Time since some moment in the past, which nobody can set.
pub fn steady() -> Duration {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// The time of day.
pub fn wall() -> SystemTime {
    UNIX_EPOCH + read(libc::CLOCK_REALTIME_COARSE)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for the write. The call cannot fail: Linux has had both clocks since
    // 2.6.32.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_the_exact_clock_by_a_tick_at_most_and_never_back() {
        let mut last = steady();
        for _ in 0..1000 {
            let now = steady();
            assert!(now >= last);
            last = now;
        }
        let before = exact_wall();
        let coarse = wall();
        // What this thread is kept waiting between the two readings only brings them closer.
        assert!(before.duration_since(coarse).unwrap_or_default() <= BEHIND);
    }
}

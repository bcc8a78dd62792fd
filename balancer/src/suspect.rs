//! Suspicion: when a server that owes answers has been silent for too long. Pure: `now` comes in.
//!
//! One [`Watch`] per server and worker, not per request: what a server sends for anybody is a sign
//! of life for everybody on that worker. A late server is only probed. That it answers the probe,
//! on a fresh connection and from its data path, is a sign of life too: then an origin is slow, and
//! nobody is ejected. What probing and ejecting do is in [`crate::check`] and [`crate::roster`].

use std::time::{Duration, Instant};

/// What one worker knows about one server's answers.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    owed: u32,
    /// When the silence that counts began: at the last sign of life, or when it began to owe.
    silent_since: Instant,
}

impl Watch {
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { owed: 0, silent_since: now }
    }

    /// A request has been sent to it. Its silence counts from the first request that it owes, not
    /// from the last.
    pub fn owes(&mut self, now: Instant) {
        if self.owed == 0 {
            self.silent_since = now;
        }
        self.owed += 1;
    }

    /// An answer has begun, or was given up.
    pub fn settled(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }

    /// Bytes came from it, or it answered a probe.
    pub fn heard(&mut self, at: Instant) {
        self.silent_since = self.silent_since.max(at);
    }

    /// How many answers it owes.
    #[must_use]
    pub const fn owed(&self) -> u32 {
        self.owed
    }

    /// Whether it is late, and how long until it will be, if it stays silent. None: it owes
    /// nothing.
    #[must_use]
    pub fn late_in(&self, now: Instant, after: Duration) -> Option<Duration> {
        (self.owed > 0)
            .then(|| after.saturating_sub(now.saturating_duration_since(self.silent_since)))
    }

    /// Whether it is late: a probe is due.
    #[must_use]
    pub fn is_late(&self, now: Instant, after: Duration) -> bool {
        self.late_in(now, after) == Some(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Owes,
        Settled,
        Heard,
    }

    #[test]
    fn lateness() {
        use Step::{Heard, Owes, Settled};
        /// What is tested, what happens at which millisecond, when it is asked, whether it is late
        /// then.
        type Case = (&'static str, &'static [(u64, Step)], u64, bool);
        let cases: &[Case] = &[
            ("idle for ever", &[], 100_000, false),
            ("just asked", &[(0, Owes)], 499, false),
            ("silent", &[(0, Owes)], 500, true),
            ("idle before is no silence", &[(10_000, Owes)], 10_400, false),
            ("a second request does not excuse the first", &[(0, Owes), (400, Owes)], 500, true),
            (
                "signs of life of one answer count for all",
                &[(0, Owes), (0, Owes), (400, Heard), (400, Settled)],
                800,
                false,
            ),
            ("… for so long", &[(0, Owes), (0, Owes), (400, Heard), (400, Settled)], 900, true),
            ("answered", &[(0, Owes), (400, Heard), (400, Settled)], 5_000, false),
            ("given up", &[(0, Owes), (600, Settled)], 5_000, false),
            ("a probe's answer buys another while", &[(0, Owes), (600, Heard)], 1_099, false),
            ("… and no more", &[(0, Owes), (600, Heard)], 1_100, true),
        ];
        for (name, steps, at, late) in cases {
            let start = relay::clock::now();
            let mut watch = Watch::new(start);
            for (when, step) in *steps {
                let now = start + Duration::from_millis(*when);
                match step {
                    Owes => watch.owes(now),
                    Settled => watch.settled(),
                    Heard => watch.heard(now),
                }
            }
            assert_eq!(
                watch.is_late(start + Duration::from_millis(*at), Duration::from_millis(500)),
                *late,
                "{name}"
            );
        }
    }

    #[test]
    fn settling_more_than_owed_is_harmless() {
        let mut watch = Watch::new(relay::clock::now());
        watch.settled();
        assert_eq!(watch.owed(), 0);
    }
}

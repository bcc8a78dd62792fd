//! As of when this node knows that nothing which it has stored was purged without its knowledge.
//!
//! It asks the registry every second whether it has heard of every purge; an answer confirms what
//! was stored when the question was asked. What is stored counts as known from that moment, or from
//! when it came from its origin, whichever is later. It is in doubt, and validated before it is
//! used,
//!
//! - while this node has not asked since it started, or since it was away (stopped, starved):
//!   purges may have gone past it;
//! - when neither the registry nor the origin has confirmed it for longer than
//!   `proxy.cache.purge.confirm_within`: somebody who cannot be reached cannot be told of purges.
//!
//! A node without a registry doubts nothing.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

/// A process that has not looked at its clock for longer was away, in milliseconds.
const AWAY: u64 = 2000;

/// What is known. Times are in steady milliseconds.
#[derive(Debug, Default)]
pub struct Confirmation {
    follows: AtomicBool,
    /// What was known before this is in doubt.
    since: AtomicU64,
    /// When the last question was asked that was answered.
    confirmed: AtomicU64,
    /// When this process was last awake.
    awake: AtomicU64,
}

impl Confirmation {
    /// From now on the purges of a registry count.
    pub fn begin(&self, now: u64) {
        self.since.store(now, Ordering::Release);
        self.awake.store(now, Ordering::Release);
        self.follows.store(true, Ordering::Release);
    }

    /// Everything that was purged before `asked` is done.
    pub fn confirm(&self, asked: u64) {
        self.confirmed.fetch_max(asked, Ordering::AcqRel);
    }

    /// This process is awake. True: it was away before.
    pub fn note_awake(&self, now: u64) -> bool {
        let before = self.awake.load(Ordering::Acquire);
        let away = now.saturating_sub(before) > AWAY;
        if away {
            // Before it counts as awake.
            self.since.fetch_max(now, Ordering::AcqRel);
        }
        self.awake.store(now, Ordering::Release);
        away
    }

    /// Whether it has been confirmed since this process started or was away.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        !self.follows.load(Ordering::Acquire)
            || self.confirmed.load(Ordering::Acquire) >= self.since.load(Ordering::Acquire)
    }

    /// Whether what came at `received` is in doubt at `now`. `within`: how long something counts
    /// without being confirmed; 0: for ever.
    #[must_use]
    pub fn doubts(&self, received: u64, now: u64, within: Duration) -> bool {
        if !self.follows.load(Ordering::Acquire) {
            return false;
        }
        let known = self.confirmed.load(Ordering::Acquire).max(received);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let away = now.saturating_sub(self.awake.load(Ordering::Acquire)) > AWAY;
        let late = within > 0 && now > known.saturating_add(within);
        away || late || known < self.since.load(Ordering::Acquire)
    }

    /// How long ago it was confirmed; `None`: never, or there is no registry.
    #[must_use]
    pub fn age(&self, now: u64) -> Option<Duration> {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        (confirmed > 0).then(|| Duration::from_millis(now.saturating_sub(confirmed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(60_000);

    /// One that has been confirmed at 100,000.
    fn confirmed() -> Confirmation {
        let confirmation = Confirmation::default();
        confirmation.begin(99_000);
        confirmation.confirm(100_000);
        confirmation.note_awake(100_500);
        confirmation
    }

    #[test]
    fn without_a_registry_nothing_is_in_doubt() {
        let alone = Confirmation::default();
        assert!(!alone.doubts(0, u64::MAX, WITHIN) && alone.is_confirmed());
    }

    #[test]
    fn what_was_there_before_the_start_waits_for_the_first_answer() {
        let confirmation = Confirmation::default();
        confirmation.begin(99_000);
        assert!(!confirmation.is_confirmed());
        assert!(confirmation.doubts(98_999, 99_100, WITHIN));
        assert!(!confirmation.doubts(99_050, 99_100, WITHIN), "it has come since");
        // A question of before the start was asked of another process.
        confirmation.confirm(98_000);
        assert!(confirmation.doubts(98_999, 99_100, WITHIN));
        confirmation.confirm(99_100);
        assert!(confirmation.is_confirmed());
        assert!(!confirmation.doubts(5, 99_200, WITHIN));
    }

    #[test]
    fn who_cannot_ask_goes_on_for_a_while_and_then_with_what_has_come_since() {
        for (received, now, within, doubted) in [
            (5, 160_000, WITHIN, false),
            (5, 160_001, WITHIN, true),
            (100_002, 160_001, WITHIN, false),
            (100_002, 160_003, WITHIN, true),
            (150_000, 200_000, WITHIN, false),
            (5, 900_000, Duration::ZERO, false),
        ] {
            let found = awake_at(now).doubts(received, now, within);
            assert_eq!(found, doubted, "{received} {now}");
        }
    }

    /// One that has been awake all the time.
    fn awake_at(now: u64) -> Confirmation {
        Confirmation {
            follows: AtomicBool::new(true),
            since: AtomicU64::new(99_000),
            confirmed: AtomicU64::new(100_000),
            awake: AtomicU64::new(now),
        }
    }

    #[test]
    fn who_was_away_asks_before_it_believes() {
        let confirmation = confirmed();
        // Nobody has noticed yet, and it is so all the same.
        assert!(!confirmation.doubts(5, 102_500, WITHIN));
        assert!(confirmation.doubts(5, 102_501, WITHIN));
        assert!(confirmation.note_awake(103_000) && !confirmation.note_awake(103_001));
        assert!(confirmation.doubts(102_999, 103_002, WITHIN) && !confirmation.is_confirmed());
        assert!(!confirmation.doubts(103_001, 103_002, WITHIN));
        // An answer to a question of before says nothing of what was purged meanwhile.
        confirmation.confirm(100_900);
        assert!(confirmation.doubts(5, 103_003, WITHIN));
        confirmation.confirm(103_003);
        assert!(!confirmation.doubts(5, 103_004, WITHIN));
    }
}

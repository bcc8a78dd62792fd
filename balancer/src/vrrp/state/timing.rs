//! When the network is told where the addresses are. Once is not enough: the frame may be lost, a
//! switch may be learning, and a killed or frozen master answers for its addresses until their
//! lifetime ends (2 to 3 s), so that some are told after that.

use std::time::Duration;

use super::Moment;

/// After the addresses were taken.
const AFTER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(1000),
    Duration::from_millis(2500),
    Duration::from_millis(5000),
];
/// And from then on.
const EVERY: Duration = Duration::from_secs(30);
/// At most this often because somebody else claims them.
const AGAIN: Duration = Duration::from_secs(1);

/// When to announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcements {
    since: Moment,
    /// Of [`AFTER`], those that have been.
    made: usize,
    last: Option<Moment>,
}

impl Announcements {
    /// The first at once.
    pub const fn from(now: Moment) -> Self {
        Self { since: now, made: 0, last: None }
    }

    /// When the next one is due.
    pub fn next(&self) -> Moment {
        match (AFTER.get(self.made), self.last) {
            (Some(after), _) => self.since + *after,
            (None, Some(last)) => last + EVERY,
            (None, None) => self.since,
        }
    }

    /// Whether one is due; then it counts as made.
    pub fn due(&mut self, now: Moment) -> bool {
        if now < self.next() {
            return false;
        }
        self.made += 1;
        self.last = Some(now);
        // What is late is not made up for.
        while AFTER.get(self.made).is_some_and(|after| self.since + *after <= now) {
            self.made += 1;
        }
        true
    }

    /// Somebody else has claimed the addresses: all over again.
    pub fn again(&mut self, now: Moment) {
        if self.last.is_none_or(|last| now >= last + AGAIN) {
            (self.since, self.made) = (now, 0);
        }
    }
}

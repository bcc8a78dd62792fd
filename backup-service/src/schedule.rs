//! When the next backup is due. Pure.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, tz::TimeZone};

/// Between a failure and the next attempt, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));

/// Five fields of cron in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    written: String,
}

/// Why something cannot be a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The five fields.
    #[error("the schedule {0:?} cannot be read: {1}")]
    Cron(String, String),
    #[error(
        "this machine does not know the time zone {0:?}; install its time zone database (Debian: \
         tzdata), or write UTC"
    )]
    Zone(String),
    #[error("the schedule {0:?} never comes round")]
    Never(String),
}

impl Schedule {
    /// Reads five fields of cron, and finds the zone by its name in the IANA database. `now` is any
    /// time: a schedule that never comes is refused.
    ///
    /// # Errors
    /// One of them cannot be read, or it never comes round.
    pub fn new(written: &str, zone: &str, now: Timestamp) -> Result<Self, Bad> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser
            .parse(written)
            .map_err(|error| Bad::Cron(written.to_owned(), error.to_string()))?;
        let schedule = Self { cron, zone: self::zone(zone)?, written: written.to_owned() };
        if schedule.next(now).is_none() {
            return Err(Bad::Never(written.to_owned()));
        }
        Ok(schedule)
    }

    /// The five fields.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Where its clock stands.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&after, false).ok().map(|next| next.timestamp())
    }

    /// When the next is due, given when the last one was made (or, without one, since when the
    /// schedule is followed). A time that was missed, because nobody was there, is one that has
    /// passed: it is due at once, and only once.
    #[must_use]
    pub fn due(&self, last: Timestamp) -> Option<Timestamp> {
        self.next(last)
    }
}

/// A zone of the IANA database.
///
/// # Errors
/// It is not known here.
pub fn zone(name: &str) -> Result<TimeZone, Bad> {
    if name == "UTC" {
        Ok(TimeZone::UTC)
    } else {
        TimeZone::get(name).map_err(|_| Bad::Zone(name.to_owned()))
    }
}

/// How long to wait after so many failures in a row.
#[must_use]
pub fn retry_after(failures: u32) -> Duration {
    RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(RETRY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_next_time_by_schedule_zone_and_moment() {
        for (written, zone, after, next) in [
            ("0 3 * * *", "UTC", "2026-11-22T02:59:59Z", "2026-11-22T03:00:00Z"),
            ("0 3 * * *", "UTC", "2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"),
            ("*/15 * * * *", "UTC", "2026-11-22T03:01:00Z", "2026-11-22T03:15:00Z"),
            ("0 3 * * MON", "UTC", "2026-11-22T12:00:00Z", "2026-11-23T03:00:00Z"),
            ("0 3 1 * *", "UTC", "2026-12-01T03:00:01Z", "2027-01-01T03:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Three in the morning is another moment elsewhere.
            ("0 3 * * *", "Asia/Shanghai", "2026-11-22T00:00:00Z", "2026-11-22T19:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
            ("0 3 * * *", "Europe/Berlin", "2026-12-01T00:00:00Z", "2026-12-01T02:00:00Z"),
            // Clocks go forward on 2026-03-29: 02:30 does not exist, and the backup of that night
            // is made all the same.
            ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-30T00:30:00Z"),
            // Clocks go back on 2026-10-25: 02:30 comes twice, and the backup is made once.
            ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            // What runs at intervals runs in both hours.
            ("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
        ] {
            let schedule = Schedule::new(written, zone, at(after)).unwrap();
            assert_eq!(
                schedule.next(at(after)),
                Some(at(next)),
                "{written} in {zone} after {after}"
            );
        }
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let schedule = Schedule::new("0 3 * * *", "UTC", at("2026-01-01T00:00:00Z")).unwrap();
        let (last, now) = (at("2026-11-01T03:00:05Z"), at("2026-11-22T12:00:00Z"));
        assert!(schedule.due(last).unwrap() <= now, "three weeks were missed");
        assert_eq!(
            schedule.due(now),
            Some(at("2026-11-23T03:00:00Z")),
            "one backup makes up for them"
        );
    }

    #[test]
    fn what_is_no_schedule() {
        let now = at("2026-11-22T00:00:00Z");
        let bad = |written, zone| Schedule::new(written, zone, now).expect_err(written);
        assert!(matches!(bad("61 3 * * *", "UTC"), Bad::Cron(..)));
        assert!(matches!(bad("0 0 3 * * *", "UTC"), Bad::Cron(..)), "no seconds");
        assert!(matches!(bad("0 3 * * *", "Europe/Atlantis"), Bad::Zone(_)));
        assert!(matches!(bad("0 3 30 2 *", "UTC"), Bad::Never(_)));
    }

    #[test]
    fn failures_are_tried_again_ever_more_rarely() {
        let waits: Vec<_> =
            [1, 2, 3, 4, 5, 6, 100].map(|failures| retry_after(failures).as_secs()).into();
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
    }
}

//! Which backups have had their time. Pure.
//!
//! Only what the schedule made is ever let go: who asked for a backup, or restored over something,
//! decides about that one alone.

use std::collections::{BTreeMap, BTreeSet};

use cluster_config::document::backup::Keep;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// Which day, week or month a date is in.
type Period = fn(Date) -> (i16, i8, i8);

/// A backup, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
    /// The schedule made it.
    pub scheduled: bool,
    /// It can be restored, as far as is known.
    pub good: bool,
}

/// The ids that go. For every day, week and month that has a good backup, beginning with the
/// latest, the newest of it is kept, for as many of each as `keep` says. A damaged one is kept in
/// nobody's place, and goes when it is older than all that are kept.
#[must_use]
pub fn expired(held: &[Held], keep: Keep, zone: &TimeZone) -> Vec<String> {
    let mut scheduled: Vec<&Held> = held.iter().filter(|backup| backup.scheduled).collect();
    scheduled.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
    let date = |backup: &Held| backup.at.to_zoned(zone.clone()).date();
    let mut kept: BTreeSet<&str> = BTreeSet::new();
    let periods: [(u16, Period); 3] = [
        (keep.daily, |date| (date.year(), date.month(), date.day())),
        (keep.weekly, |date| (date.iso_week_date().year(), date.iso_week_date().week(), 0)),
        (keep.monthly, |date| (date.year(), date.month(), 0)),
    ];
    for (count, period) in periods {
        let mut newest: BTreeMap<_, &str> = BTreeMap::new();
        for backup in scheduled.iter().filter(|backup| backup.good) {
            let period = period(date(backup));
            if newest.len() < usize::from(count) || newest.contains_key(&period) {
                newest.entry(period).or_insert(&backup.id);
            }
        }
        kept.extend(newest.into_values());
    }
    let oldest = scheduled
        .iter()
        .filter(|backup| kept.contains(backup.id.as_str()))
        .map(|backup| backup.at)
        .min();
    let goes = |backup: &&&Held| {
        let outlived = oldest.is_some_and(|oldest| backup.at < oldest);
        if backup.good { !kept.contains(backup.id.as_str()) } else { outlived }
    };
    scheduled.iter().filter(goes).map(|backup| backup.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(at: &str) -> Held {
        Held { id: at.to_owned(), at: at.parse().unwrap(), scheduled: true, good: true }
    }

    /// One a day at three, for so many days before and on 2026-11-22, a Sunday.
    fn nightly(days: i64) -> Vec<Held> {
        let last: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        (0..days)
            .map(|day| held(&(last - jiff::SignedDuration::from_hours(24 * day)).to_string()))
            .collect()
    }

    fn kept(held: &[Held], keep: Keep, zone: &str) -> Vec<String> {
        let gone = expired(held, keep, &crate::schedule::zone(zone).unwrap());
        let mut kept: Vec<_> = held
            .iter()
            .filter(|backup| !gone.contains(&backup.id))
            .map(|backup| backup.id[..10].to_owned())
            .collect();
        kept.sort();
        kept
    }

    #[test]
    fn days_weeks_and_months() {
        let all = nightly(100);
        for (keep, expected) in [
            (Keep { daily: 3, ..Keep::default() }, &["2026-11-20", "2026-11-21", "2026-11-22"][..]),
            // The newest of each week is its Sunday.
            (Keep { weekly: 3, ..Keep::default() }, &["2026-11-08", "2026-11-15", "2026-11-22"]),
            (Keep { monthly: 3, ..Keep::default() }, &["2026-09-30", "2026-10-31", "2026-11-22"]),
            (
                Keep { daily: 2, weekly: 2, monthly: 2 },
                &["2026-10-31", "2026-11-15", "2026-11-21", "2026-11-22"],
            ),
        ] {
            assert_eq!(kept(&all, keep, "UTC"), expected, "{keep:?}");
        }
        assert_eq!(
            kept(&all, Keep { daily: 7, weekly: 4, monthly: 6 }, "UTC").len(),
            7 + 3 + 3,
            "they overlap, and there are four months"
        );
        assert_eq!(
            kept(&all[..5], Keep { daily: 7, weekly: 4, monthly: 6 }, "UTC").len(),
            5,
            "nothing goes before there is enough"
        );
    }

    #[test]
    fn a_day_begins_where_the_schedule_s_clock_stands() {
        // 20:00 UTC is the next day in Shanghai.
        let all = [
            held("2026-11-21T15:00:00Z"),
            held("2026-11-21T20:00:00Z"),
            held("2026-11-22T03:00:00Z"),
        ];
        let keep = Keep { daily: 9, ..Keep::default() };
        assert_eq!(kept(&all, keep, "UTC"), ["2026-11-21", "2026-11-22"]);
        let gone = expired(&all, keep, &crate::schedule::zone("Asia/Shanghai").unwrap());
        assert_eq!(gone, ["2026-11-21T20:00:00Z"]);
    }

    #[test]
    fn days_without_a_backup_do_not_count() {
        let all = [
            held("2026-01-01T03:00:00Z"),
            held("2026-06-01T03:00:00Z"),
            held("2026-11-22T03:00:00Z"),
        ];
        assert_eq!(
            kept(&all, Keep { daily: 2, ..Keep::default() }, "UTC"),
            ["2026-06-01", "2026-11-22"]
        );
    }

    #[test]
    fn what_somebody_asked_for_stays_and_takes_nobody_s_place() {
        let mut all = nightly(5);
        all[0].scheduled = false;
        all.push(Held { scheduled: false, ..held("2020-01-01T00:00:00Z") });
        assert_eq!(
            kept(&all, Keep { daily: 1, ..Keep::default() }, "UTC"),
            ["2020-01-01", "2026-11-21", "2026-11-22"]
        );
    }

    #[test]
    fn a_damaged_one_stands_for_no_day() {
        let mut all = nightly(4);
        all[0].good = false;
        assert_eq!(
            kept(&all, Keep { daily: 2, ..Keep::default() }, "UTC"),
            ["2026-11-20", "2026-11-21", "2026-11-22"]
        );
        all[3].good = false;
        assert_eq!(
            kept(&all, Keep { daily: 2, ..Keep::default() }, "UTC"),
            ["2026-11-20", "2026-11-21", "2026-11-22"],
            "outlived"
        );
        let lost: Vec<_> =
            nightly(3).into_iter().map(|backup| Held { good: false, ..backup }).collect();
        assert_eq!(
            kept(&lost, Keep { daily: 1, ..Keep::default() }, "UTC").len(),
            3,
            "nothing goes while nothing is good"
        );
    }
}

//! Between which times records are wanted, as people say it: so long ago, or at a time of a clock
//! on the wall.

use std::time::Duration;

use jiff::{
    SignedDuration, Span, SpanRelativeTo, Timestamp,
    civil::{DateTime, Time},
    tz::TimeZone,
};

/// Between these times; none: whatever there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// A moment as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Ago(Duration),
    At(Timestamp),
    /// A date and a time of day where the command runs.
    Local(DateTime),
    /// The last time that it was so late there.
    Clock(Time),
}

/// Reads `5m`, `2026-11-29 10:30`, `10:30:05` or `2026-11-29T10:30:00Z`.
///
/// # Errors
/// What is wrong with it.
pub fn moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    let ago = || {
        let span: Span = text.parse().ok()?;
        Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?.abs())
            .ok()
            .filter(|_| !text.starts_with('-'))
            .map(Moment::Ago)
    };
    let at = || text.parse().map(Moment::At).ok();
    let local = || text.parse().map(Moment::Local).ok();
    let clock = || text.parse().map(Moment::Clock).ok();
    // The shorter form of a time of day is no other's.
    let time =
        text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(':') && !text.contains('-');
    let read = if time { clock() } else { ago().or_else(at).or_else(local) };
    read.ok_or_else(|| {
        format!(
            "{text:?} is no time; write how long ago (5m, 2h, 3d), a time of \
        day (10:30) or a date (2026-11-29 10:30)"
        )
    })
}

impl Moment {
    /// When that is.
    ///
    /// # Errors
    /// It is before or after all time.
    pub fn of(self, now: Timestamp, zone: &TimeZone) -> anyhow::Result<Timestamp> {
        let local = |at: DateTime| anyhow::Ok(at.to_zoned(zone.clone())?.timestamp());
        Ok(match self {
            Self::Ago(ago) => now.checked_sub(SignedDuration::try_from(ago)?)?,
            Self::At(at) => at,
            Self::Local(at) => local(at)?,
            Self::Clock(time) => {
                let today = now.to_zoned(zone.clone()).date();
                let at = local(today.to_datetime(time))?;
                if at <= now { at } else { local(today.yesterday()?.to_datetime(time))? }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let now: Timestamp = "2026-11-29T09:30:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (text, expected) in [
            ("5m", "2026-11-29T09:25:00Z"),
            ("1h 30m", "2026-11-29T08:00:00Z"),
            ("3d", "2026-11-26T09:30:00Z"),
            ("5m ago", "2026-11-29T09:25:00Z"),
            ("2026-11-29T09:00:00Z", "2026-11-29T09:00:00Z"),
            ("2026-11-29T09:00:00+05:00", "2026-11-29T04:00:00Z"),
            ("2026-11-28 12:00:01", "2026-11-28T11:00:01Z"),
            ("2026-11-28 12:00", "2026-11-28T11:00:00Z"),
            ("2026-11-28", "2026-11-27T23:00:00Z"),
            ("10:30", "2026-11-29T09:30:00Z"),
            ("10:29:59.5", "2026-11-29T09:29:59.5Z"),
            ("10:31", "2026-11-28T09:31:00Z"),
        ] {
            assert_eq!(
                moment(text).unwrap_or_else(|why| panic!("{why}")).of(now, &zone).unwrap(),
                expected.parse().unwrap(),
                "{text}"
            );
        }
        for text in ["", "x", "5", "25:00", "2026-13-01", "yesterday", "-5m"] {
            let why = moment(text).expect_err(text);
            assert!(why.contains("5m") && why.contains("10:30"), "{why}");
        }
    }
}

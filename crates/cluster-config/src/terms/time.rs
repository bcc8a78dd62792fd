//! Days and hours, in Squid's letters.

use crate::document::TimeWindow;
use crate::units::Invalid;

/// `MTWHF 09:00-18:00`, `D 09:00-18:00`, `SA`, `22:00-24:00`, in Squid's letters: S Sunday, M T W,
/// H Thursday, F, A Saturday, D weekdays. A window past midnight is refused: Squid does so too,
/// because its meaning for the days is not clear.
pub fn parse_time(text: &str) -> Result<TimeWindow, Invalid> {
    const REMEDY: &str = "write days and hours, as in \"MTWHF 09:00-18:00\" (S Sunday, M, T, W, H \
        Thursday, F, A Saturday, D Monday to Friday)";
    let wrong = |what: String| Invalid::new(what, REMEDY);
    let mut days = None;
    let mut hours = None;
    for word in text.split_whitespace() {
        let slot_taken = if word.contains(':') { hours.is_some() } else { days.is_some() };
        if slot_taken {
            return Err(wrong(format!("`{word}` in `{text}` is one part too many")));
        }
        if word.contains(':') {
            hours =
                Some(parse_hours(word).ok_or_else(|| {
                    wrong(format!("`{word}` in `{text}` is not a span of hours"))
                })?);
        } else {
            let what = if word.starts_with(|c: char| c.is_ascii_digit()) {
                "is not a span of hours"
            } else {
                "has a letter that is not a day"
            };
            days = Some(
                parse_days(word).ok_or_else(|| wrong(format!("`{word}` in `{text}` {what}")))?,
            );
        }
    }
    if days.is_none() && hours.is_none() {
        return Err(wrong("an empty time".into()));
    }
    let (from, until) = hours.unwrap_or((0, 24 * 60));
    if from >= until {
        let remedy =
            "let it end after it begins; for a night write two: one up to 24:00 and one from 00:00";
        return Err(Invalid::new(format!("`{text}` ends before it begins"), remedy));
    }
    Ok(TimeWindow { days: days.unwrap_or(0x7f), from, until })
}

fn parse_days(word: &str) -> Option<u8> {
    word.chars().try_fold(0u8, |days, letter| {
        Some(
            days | match letter {
                'M' => 1,
                'T' => 1 << 1,
                'W' => 1 << 2,
                'H' => 1 << 3,
                'F' => 1 << 4,
                'A' => 1 << 5,
                'S' => 1 << 6,
                'D' => 0x1f,
                _ => return None,
            },
        )
    })
}

fn parse_hours(word: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let digits =
            |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || minute.len() != 2 || !digits(minute) {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour * 60 + minute;
        (minute < 60 && total <= 24 * 60).then_some(total)
    };
    let (from, until) = word.split_once('-')?;
    Some((minute(from)?, minute(until)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(
            parse_time("MTWHF 09:00-18:00"),
            Ok(TimeWindow { days: 0x1f, from: 540, until: 1080 })
        );
        assert_eq!(parse_time("D 09:00-18:00"), parse_time("MTWHF 9:00-18:00"));
        assert_eq!(parse_time("SA"), Ok(TimeWindow { days: 0x60, from: 0, until: 1440 }));
        let office = parse_time("D 09:00-18:00").unwrap();
        assert!(office.contains(0, 540) && !office.contains(0, 1080) && !office.contains(5, 600));
        for text in [
            "",
            "X 09:00-18:00",
            "D 9-18",
            "D 18:00-09:00",
            "D 09:60-10:00",
            "D 09:00-24:01",
            "D D",
            "D 09:00-10:00 M",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}

//! Quantities as people write them: durations (`200ms`, `5s`, `30d`), sizes (`256MiB`), percentages
//! (`20%`).

use std::time::Duration;

/// Why a quantity cannot be read, and how it should have been written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Invalid {
    /// Both halves of the answer.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

const DURATION_REMEDY: &str =
    "write a whole number with its unit: ms, s, m, h or d, as in 200ms, 5s, 30m, 1h or 30d";
const SIZE_REMEDY: &str =
    "write a whole number with its unit: B, KiB, MiB, GiB or TiB, as in 64KiB or 256MiB";
const PERCENT_REMEDY: &str = "write a whole number from 0 to 100 with a percent sign, as in 20%";

/// Durations up to ten years: more is a slip of the pen, and sums of them must not overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Splits `256MiB` into its number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    number.parse().ok().map(|number| (number, unit.trim_start_matches(' ')))
}

/// `1m30s`, `1.5GiB`.
fn has_more_numbers(unit: &str) -> bool {
    unit.bytes().any(|byte| byte.is_ascii_digit())
}

/// Reads `200ms`, `5s`, `30m`, `1h`, `30d`.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let wrong = |what: String| Invalid::new(what, DURATION_REMEDY);
    let Some((number, unit)) = split(text) else {
        return Err(wrong(format!("`{text}` is not a duration")));
    };
    if has_more_numbers(unit) {
        return Err(wrong(format!("`{text}` is not one whole number with one unit")));
    }
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(wrong(format!("the duration `{text}` has no unit"))),
        _ => return Err(wrong(format!("`{unit}` in `{text}` is not a unit of time"))),
    };
    match number.checked_mul(milliseconds).map(Duration::from_millis) {
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(Invalid::new(
            format!("the duration `{text}` is longer than ten years"),
            "write a shorter one",
        )),
    }
}

/// Writes a duration in the largest unit that is exact; below a millisecond it is cut.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds != 0 && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

/// Reads `64KiB`, `256MiB`, `1GiB` into bytes. Decimal units (`MB`) are refused: the reference's
/// `256 MB` meant 256 MiB.
pub fn parse_size(text: &str) -> Result<u64, Invalid> {
    let wrong = |what: String| Invalid::new(what, SIZE_REMEDY);
    let Some((number, unit)) = split(text) else {
        return Err(wrong(format!("`{text}` is not a size")));
    };
    if has_more_numbers(unit) {
        return Err(wrong(format!("`{text}` is not one whole number with one unit")));
    }
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "" => return Err(wrong(format!("the size `{text}` has no unit"))),
        "KB" | "MB" | "GB" | "TB" | "kB" => {
            let binary = format!("{}iB", unit[..1].to_ascii_uppercase());
            return Err(Invalid::new(
                format!("`{unit}` in `{text}` is not a unit here"),
                format!("write {number}{binary}"),
            ));
        }
        _ => return Err(wrong(format!("`{unit}` in `{text}` is not a unit of size"))),
    };
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        _ => Err(Invalid::new(
            format!("the size `{text}` is larger than 1024TiB"),
            "write a smaller one",
        )),
    }
}

/// Reads `20%` into 20.
pub fn parse_percent(text: &str) -> Result<u8, Invalid> {
    let wrong = || Invalid::new(format!("`{text}` is not a percentage"), PERCENT_REMEDY);
    let digits = text.strip_suffix('%').ok_or_else(wrong)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse().ok().filter(|percent| *percent <= 100).ok_or_else(wrong)
}

/// `#[serde(with = "units::duration")]`: a duration as `5s`.
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    /// As [`super::format_duration`].
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    /// As [`super::parse_duration`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "units::optional_duration")]`: the same, or nothing.
pub mod optional_duration {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    /// As [`super::format_duration`].
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&super::format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// As [`super::parse_duration`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_duration(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, milliseconds) in [
            ("200ms", 200),
            ("5s", 5_000),
            ("30m", 1_800_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for (text, written) in
            [("1000ms", "1s"), ("90s", "90s"), ("120s", "2m"), ("24h", "1d"), ("0s", "0ms")]
        {
            assert_eq!(format_duration(parse_duration(text).unwrap()), written);
        }
        for text in
            ["", "5", "5 sec", "s", "-5s", "1.5s", "999999999999d", "18446744073709551615ms"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_percentages_are_read() {
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("50MB").unwrap_err().remedy, "write 50MiB");
        for text in ["", "256", "MiB", "99999999TiB", "1XiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(parse_percent("20%"), Ok(20));
        for text in ["20", "101%", "%", "+5%", "-1%"] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }
}

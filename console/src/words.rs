//! Numbers as people read them.

use std::time::Duration;

/// `12,345`
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 connection`, `2,000 connections`
#[must_use]
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `0`, `0.4`, `12`, `1.3k`, `2.5M`
#[must_use]
pub fn short(number: f64) -> String {
    match number {
        n if n < 0.05 => "0".to_owned(),
        n if n < 9.95 => format!("{n:.1}"),
        n if n < 999.5 => format!("{n:.0}"),
        n if n < 9_950.0 => format!("{:.1}k", n / 1e3),
        n if n < 999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.1}M", n / 1e6),
    }
}

/// `12/s`; a dash when nobody knows.
#[must_use]
pub fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), |rate| format!("{}/s", short(rate)))
}

/// `512 B`, `1.4 MB`
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn bytes(number: u64) -> String {
    bytes_of(number as f64)
}

/// The same for what has been averaged.
#[must_use]
pub fn bytes_of(number: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (number, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.5 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `87 %`; a dash when there was nothing to divide.
#[must_use]
pub fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.0} %", 100.0 * part / whole) } else { "–".to_owned() }
}

/// `3.1 ms`, `2.0 s`
#[must_use]
pub fn took(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

/// At most so many characters, with an ellipsis in place of the rest.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A part of a URL's path.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        // RFC 3986 section 2.3, unreserved.
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1, 2000].map(|number| counted(number, "tunnel")),
            ["0 tunnels", "1 tunnel", "2,000 tunnels"]
        );
        assert_eq!(
            [0.01, 0.4, 9.96, 12.4, 999.6, 1_300.0, 25_000.0, 2_500_000.0].map(short),
            ["0", "0.4", "10", "12", "1.0k", "1.3k", "25k", "2.5M"]
        );
        assert_eq!(
            [0, 999, 1000, 1_440_000, 250_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "1.4 MB", "250 MB"]
        );
        assert_eq!((percent(1.0, 3.0), percent(1.0, 0.0)), ("33 %".to_owned(), "–".to_owned()));
    }

    #[test]
    fn texts() {
        assert_eq!(
            (cut("proxy-node-1", 12), cut("proxy-node-10", 12)),
            ("proxy-node-1".to_owned(), "proxy-node-…".to_owned())
        );
        assert_eq!(segment("a b/ü?<"), "a%20b%2F%C3%BC%3F%3C");
    }
}

//! HTTP dates as they come (RFC 9110 §5.6.7), in their three spellings.
//!
//! As RFC 9111 §4.2 wants it, case means nothing, and a date in another zone than GMT is none. What
//! is no such date, or has another weekday than its own, makes an Expires one of the past (§5.3):
//! nothing is ever fresher than was meant.

use std::time::UNIX_EPOCH;

/// The longest of them: `Wednesday, 30-Sep-94 08:49:37 GMT`.
const LONGEST: usize = 33;

/// The date in Unix seconds (RFC 9110 §5.6.7, RFC 9111 §4.2); 0 for those before 1970.
#[must_use]
pub fn http_date(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let mut room = [0; LONGEST];
    let text = room.get_mut(..value.len())?;
    let mut inside = false;
    for (to, from) in text.iter_mut().zip(value) {
        *to = if inside { from.to_ascii_lowercase() } else { from.to_ascii_uppercase() };
        inside = from.is_ascii_alphabetic();
    }
    if let Some(zone) = text.last_chunk_mut::<4>()
        && zone == b" Gmt"
    {
        *zone = *b" GMT";
    }
    let time = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_three_spellings_and_every_case() {
        for spelled in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 NOV 1994 08:49:37 gmt",
            "SUN, 06 nov 1994 08:49:37 Gmt",
            "sunDAY, 06-nOV-94 08:49:37 gmT",
            "sun nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(http_date(spelled.as_bytes()), Some(784_111_777), "{spelled}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for spelled in [
            "",
            "0",
            "-1",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun,  06 Nov  1994  08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 6 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 31 Feb 1994 25:49:37 GMT",
            "1994-11-06T08:49:37Z",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 2094 08:49:37 GMT",
        ] {
            assert_eq!(http_date(spelled.as_bytes()), None, "{spelled}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        ) {
            proptest::prop_assert!(http_date(&value).is_none_or(|date| date < 1 << 40));
        }
    }
}

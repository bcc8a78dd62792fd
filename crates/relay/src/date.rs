//! HTTP dates (RFC 9110 §5.6.7), in the one form that is generated.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use httpdate::HttpDate;

/// The last second of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// `Sun, 06 Nov 1994 08:49:37 GMT`. Times before 1970 and after 9999 are moved to those ends.
#[must_use]
pub fn http_date(time: SystemTime) -> [u8; 29] {
    let mut date = [0; 29];
    let written =
        write!(&mut date[..], "{}", HttpDate::from(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)));
    debug_assert!(written.is_ok(), "every such date has 29 bytes");
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let cases = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX >> 2, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ];
        for (seconds, expected) in cases {
            let Some(time) = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else { continue };
            assert_eq!(String::from_utf8_lossy(&http_date(time)), expected);
        }
        assert_eq!(
            &http_date(UNIX_EPOCH - Duration::from_secs(9)),
            b"Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }
}

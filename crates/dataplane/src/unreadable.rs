//! What can still be told of a request that nobody may act on: its record says what it was about,
//! as far as that can be seen.

use std::borrow::Cow;

/// What is told of a target, in bytes.
const LONGEST_TARGET: usize = 2048;
/// And of a method.
const LONGEST_METHOD: usize = 32;

/// Method and target of the first line of what was received; empty where there are none. Text for
/// people and logs, never acted on.
#[must_use]
pub fn request_line(received: &[u8]) -> (Cow<'_, str>, Cow<'_, str>) {
    // Blank lines before a request line are skipped, as the parser does (RFC 9112 §2.2).
    let begin =
        received.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(received.len());
    let line = &received[begin..];
    let line = &line[..line
        .iter()
        .take(LONGEST_METHOD + LONGEST_TARGET)
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .unwrap_or(line.len())];
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let method = words
        .next()
        .filter(|word| word.len() <= LONGEST_METHOD && word.iter().all(u8::is_ascii_graphic));
    let Some(method) = method else { return (Cow::Borrowed(""), Cow::Borrowed("")) };
    let target = words.next().unwrap_or_default();
    (
        String::from_utf8_lossy(method),
        String::from_utf8_lossy(&target[..target.len().min(LONGEST_TARGET)]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_far_as_can_be_seen() {
        for (received, method, target) in [
            (&b"GET http://a/ HTTP/9.9\r\nHost"[..], "GET", "http://a/"),
            (b"\r\n\r\nPOST  /x y HTTP/1.1\r\n", "POST", "/x"),
            (b"GET\r\nhttp://a/", "GET", ""),
            (b"GET http://a/\xff HTTP/1.1", "GET", "http://a/\u{fffd}"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", "", ""),
            (b"", "", ""),
            (b"\r\n", "", ""),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA x", "", ""),
        ] {
            assert_eq!(request_line(received), (method.into(), target.into()), "{received:?}");
        }
        let long = [b"GET http://a/".as_slice(), &[b'x'; 100_000]].concat();
        assert_eq!(request_line(&long).1.len(), LONGEST_TARGET);
    }
}

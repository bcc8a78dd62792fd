//! Text that others wrote, fit to be shown or pasted: what a terminal or a browser would obey or
//! hide instead of showing it is escaped. Pure.

use std::{borrow::Cow, fmt::Write};

/// Characters that are not shown and change what is: format characters (general category Cf), line
/// and paragraph separators (Zl, Zp), and the rest of what Unicode calls default ignorable, tags
/// and the second set of variation selectors among them. Sorted.
const HIDDEN: [(u32, u32); 28] = [
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x2028, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfdd0, 0xfdef),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0xfffe, 0xffff),
    (0x110bd, 0x110bd),
    (0x110cd, 0x110cd),
    (0x13430, 0x1343f),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
    (0xf_fffe, 0xf_ffff),
    (0x10_fffe, 0x10_ffff),
];

/// Whether a character is obeyed or hidden rather than shown: controls, bidirectional and other
/// format characters, separators of lines.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_control();
    }
    let code = u32::from(character);
    let place = HIDDEN.partition_point(|(_, last)| *last < code);
    character.is_control() || HIDDEN.get(place).is_some_and(|(first, _)| *first <= code)
}

/// A hidden character as it is shown: its bytes percent-encoded, as a URL would have them.
pub fn escape(character: char, into: &mut String) {
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a string does not fail.
        write!(into, "%{byte:02X}").ok();
    }
}

/// The text with everything hidden escaped.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    shown_but(text, |_| false)
}

/// The same, without those hidden characters that may pass.
#[must_use]
pub fn shown_but(text: &str, passes: impl Fn(char) -> bool) -> Cow<'_, str> {
    let hidden = |character: char| is_hidden(character) && !passes(character);
    if !text.chars().any(hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hidden(character) { escape(character, &mut out) } else { out.push(character) }
    }
    Cow::Owned(out)
}

/// Bytes as text: what is no UTF-8 is percent-encoded, and so is what is hidden.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&shown(chunk.valid()));
        for byte in chunk.invalid() {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

/// One argument for a shell, whatever is in it: nothing of it is run, continued or expanded, and
/// nothing of it is a control of the terminal that it is pasted into.
#[must_use]
pub fn quoted(text: &str) -> String {
    let text = shown(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/@%+=,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(
            HIDDEN.iter().all(|(first, last)| first <= last)
                && HIDDEN.windows(2).all(|pair| pair[0].1 < pair[1].0)
        );
    }

    #[test]
    fn what_is_shown() {
        for (text, expected) in [
            (
                "plain, ü, 漢, 😀, e\u{301}, \u{1f468}\u{fe0f}",
                "plain, ü, 漢, 😀, e\u{301}, \u{1f468}\u{fe0f}",
            ),
            ("a\nb\tc\u{1b}[2J\u{7f}\u{9b}", "a%0Ab%09c%1B[2J%7F%C2%9B"),
            ("http://a/\u{202e}gpj.exe\u{202c}", "http://a/%E2%80%AEgpj.exe%E2%80%AC"),
            (
                "\u{200b}\u{200f}\u{2066}\u{2069}\u{061c}\u{feff}",
                "%E2%80%8B%E2%80%8F%E2%81%A6%E2%81%A9%D8%9C%EF%BB%BF",
            ),
            ("a\u{2028}b\u{2029}c", "a%E2%80%A8b%E2%80%A9c"),
            (
                "tag\u{e0001}\u{e0041}\u{e007f}\u{e0100}",
                "tag%F3%A0%80%81%F3%A0%81%81%F3%A0%81%BF%F3%A0%84%80",
            ),
            (
                "\u{ad}\u{600}\u{fff9}\u{110bd}\u{1d173}\u{3164}",
                "%C2%AD%D8%80%EF%BF%B9%F0%91%82%BD%F0%9D%85%B3%E3%85%A4",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
            assert!(!shown(text).chars().any(is_hidden));
        }
        assert_eq!(shown_but("a\nb\r", |character| character == '\n'), "a\nb%0D");
        assert_eq!(of_bytes(b"a\xffb\xc3\x28\xe2\x80\xae\xf0\x9f"), "a%FFb%C3(%E2%80%AE%F0%9F");
    }

    #[test]
    fn a_shell_takes_it_as_one_word() {
        for text in [
            "http://a/plain?x=1",
            "http://x/'$(touch /tmp/pwned)'",
            "`id`",
            "a b;c|d&e>f<g!h#i*j?k[l]m{n,o}~p\\q\"r",
            "--help",
            "",
            "it's 'quoted'''",
            "a\nb\r\nc\u{3}\u{4}\u{1b}[201~\u{16}x",
            "%0A$IFS",
            "\u{202e}ü",
        ] {
            let quoted = quoted(text);
            assert!(!quoted.chars().any(is_hidden), "{quoted:?}");
            let script = format!("printf %s {quoted}");
            let output =
                std::process::Command::new("sh").arg("-c").arg(&script).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&output.stdout), shown(text), "{script}");
            assert!(output.status.success() && output.stderr.is_empty(), "{script}");
        }
    }
}

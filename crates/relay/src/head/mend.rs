//! Writes a head in the plain spelling, before it is read by the rules for everybody. Only what
//! [`super::lines`] has found to have one meaning comes here: its lines are known, and what differs
//! is how they are written.

use super::lines::{Kind, is_text};

/// The plain spelling of a whole head whose lines were looked at.
pub(super) fn mend(head: &[u8], kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + 64);
    let mut first = true;
    for line in head.split_inclusive(|byte| *byte == b'\n').map(without_end) {
        match (line.is_empty(), first) {
            // One empty line before a request is skipped.
            (true, true) => continue,
            (true, false) => {}
            (false, true) => first_line(line, kind, &mut out),
            (false, false) if matches!(line.first(), Some(b' ' | b'\t')) => {
                continuation(line, &mut out)
            }
            (false, false) => field_line(line, &mut out),
        }
        out.extend_from_slice(b"\r\n");
        first = false;
    }
    out
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A later 1.x is 1.1: its sender follows the rules of 1.1 (RFC 9110 §2.5).
fn first_line(line: &[u8], kind: Kind, out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(line);
    let minor = match kind {
        Kind::Request => line.len().checked_sub(1),
        Kind::Response { .. } => Some(b"HTTP/1.".len()),
    };
    if let Some(minor) = minor.and_then(|minor| out.get_mut(begin + minor))
        && matches!(minor, b'2'..=b'9')
    {
        *minor = b'1';
    }
}

/// RFC 9112 §5.1: no blanks before the colon go on. What no value may hold becomes a space (RFC
/// 9110 §5.5).
pub(crate) fn field_line(line: &[u8], out: &mut Vec<u8>) {
    let (name, value) =
        line.split_at(line.iter().position(|byte| *byte == b':').unwrap_or(line.len()));
    out.extend_from_slice(name.trim_ascii_end());
    out.extend_from_slice(b": ");
    text(value.get(1..).unwrap_or_default(), out);
}

/// RFC 9112 §5.2: a fold becomes a space.
fn continuation(line: &[u8], out: &mut Vec<u8>) {
    let end = out.strip_suffix(b"\r\n").map_or(out.len(), |lines| lines.trim_ascii_end().len());
    out.truncate(end);
    out.push(b' ');
    text(line, out);
}

fn text(value: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(value.trim_ascii());
    for byte in &mut out[begin..] {
        *byte = if is_text(*byte) { *byte } else { b' ' };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plainly_written() {
        let response = Kind::Response { relaxed: true };
        for (head, kind, plain) in [
            (
                "\r\nGET / HTTP/1.2\r\nHost:a\r\n\r\n",
                Kind::Request,
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
            ("GET / HTTP/1.0\r\n\r\n", Kind::Request, "GET / HTTP/1.0\r\n\r\n"),
            ("HTTP/1.9 200 OK\r\nX \t: a\r\n\r\n", response, "HTTP/1.1 200 OK\r\nX: a\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\nX: a\0b\x7f\nY:\n\n",
                response,
                "HTTP/1.1 200 OK\r\nX: a b \r\nY: \r\n\r\n",
            ),
            (
                "HTTP/1.1 200 OK\r\nX: a\0\r\n\t b \r\n  c\r\nY:\r\n d\r\n\r\n",
                response,
                "HTTP/1.1 200 OK\r\nX: a b c\r\nY: d\r\n\r\n",
            ),
        ] {
            assert_eq!(
                String::from_utf8(mend(head.as_bytes(), kind)).expect("ASCII"),
                plain,
                "{head:?}"
            );
        }
    }
}

//! A second opinion on heads and bodies: HTTP/1.1 read as plainly as it can be, written from RFC
//! 9112 and sharing nothing with the codec under test. It reads what was accepted and what is
//! forwarded: neither may have two meanings.

/// A field: name in lower case, value without blanks around it.
pub type Field = (String, Vec<u8>);

/// Reads a whole head: its first line and its fields.
///
/// # Panics
/// When two recipients, however lenient, could read the head differently: a CR, LF or NUL that is
/// not part of a line's end, a name that is no token, several lengths, hosts or codings, a length
/// beside a coding, a coding that is not plainly `chunked`, a length that is not plainly a number.
#[must_use]
pub fn read_head(head: &[u8]) -> (Vec<u8>, Vec<Field>) {
    let shown = String::from_utf8_lossy(head);
    let lines = head
        .strip_suffix(b"\r\n\r\n")
        .unwrap_or_else(|| panic!("a head ends with one empty line: {shown:?}"));
    let mut lines = split_lines(lines).into_iter();
    let first = lines.next().unwrap_or_default();
    for line in lines.clone().chain([first]) {
        let stray = line.iter().find(|byte| matches!(byte, b'\r' | b'\n' | 0));
        assert_eq!(stray, None, "no line holds CR, LF or NUL: {shown:?}");
        assert!(!line.is_empty(), "no empty line before the end: {shown:?}");
    }
    let fields: Vec<Field> = lines
        .map(|line| {
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or_else(|| panic!("a field has a colon: {shown:?}"));
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            assert!(
                !name.is_empty() && name.iter().all(|byte| is_token_character(*byte)),
                "a field's name is a token: {shown:?}"
            );
            (String::from_utf8_lossy(name).to_ascii_lowercase(), value.trim_ascii().to_vec())
        })
        .collect();
    framing(&fields, &shown);
    (first.to_vec(), fields)
}

/// Reads the fields of a response's head as it was received, lines that go on with the one before
/// included (RFC 9112 §5.2), and its other oddities.
///
/// # Panics
/// Where a recipient that does not know folded lines could see another message: a fold before the
/// first field, one that is blank or a field of its own, one of a field that says where the message
/// or the connection ends.
#[must_use]
pub fn read_folded(head: &[u8]) -> Vec<Field> {
    let shown = String::from_utf8_lossy(head);
    let mut fields: Vec<Field> = Vec::new();
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            let (name, value) =
                fields.last_mut().unwrap_or_else(|| panic!("nothing to go on with: {shown:?}"));
            let of_the_end =
                ["content-length", "transfer-encoding", "connection", "trailer", "upgrade"];
            assert!(!of_the_end.contains(&name.as_str()), "{name} on two lines: {shown:?}");
            let text = plain_value(line);
            let before_colon =
                text.split(|byte| *byte == b':').next().filter(|before| before.len() < text.len());
            let is_field = before_colon.is_some_and(|name| {
                name.trim_ascii_end().iter().all(|byte| is_token_character(*byte))
            });
            assert!(
                !text.is_empty() && !is_field,
                "a line that goes on is nothing else: {shown:?}"
            );
            *value = plain_value(&[value, &b" "[..], &text].concat());
            continue;
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or_else(|| panic!("a field has a colon: {shown:?}"));
        fields.push((
            String::from_utf8_lossy(line[..colon].trim_ascii_end()).to_ascii_lowercase(),
            plain_value(&line[colon + 1..]),
        ));
    }
    fields
}

/// A value with a space for what no value may hold, without blanks around it.
#[must_use]
pub fn plain_value(value: &[u8]) -> Vec<u8> {
    let shown: Vec<u8> = value
        .iter()
        .map(|byte| if byte.is_ascii_control() && *byte != b'\t' { b' ' } else { *byte })
        .collect();
    shown.trim_ascii().to_vec()
}

fn framing(fields: &[Field], shown: &str) {
    let of = |wanted: &str| -> Vec<&[u8]> {
        fields
            .iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_slice())
            .collect()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    assert!(
        lengths.len() + codings.len() <= 1,
        "one statement about the length at most: {shown:?}"
    );
    assert!(of("host").len() <= 1, "one host at most: {shown:?}");
    for length in lengths {
        let plain = !length.is_empty()
            && length.iter().all(u8::is_ascii_digit)
            && (length == b"0" || !length.starts_with(b"0"));
        assert!(plain, "a length is a plain number: {shown:?}");
    }
    for coding in codings {
        assert!(coding.eq_ignore_ascii_case(b"chunked"), "the one coding is chunked: {shown:?}");
    }
}

/// Every name that Connection lists in a head as it was received, in lower case; read as leniently
/// as possible. `close` is an option and names no field (RFC 9110 §7.6.1).
#[must_use]
pub fn nominated(received: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for line in received.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if name.trim_ascii().eq_ignore_ascii_case(b"connection") {
            let entries = value[1..].split(|byte| *byte == b',');
            names.extend(
                entries
                    .map(|entry| String::from_utf8_lossy(entry.trim_ascii()).to_ascii_lowercase()),
            );
        }
    }
    names.retain(|name| name != "close");
    names
}

/// Decodes a whole chunked body: payload, and how many bytes of `bytes` it took. `None`: it does
/// not end there.
///
/// # Panics
/// When it is not chunked at all, in the plainest reading.
#[must_use]
pub fn read_chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut at, mut payload) = (0, Vec::new());
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        let digits: Vec<u8> = line.iter().copied().take_while(u8::is_ascii_hexdigit).collect();
        let text = String::from_utf8_lossy(&digits).into_owned();
        let size = u128::from_str_radix(&text, 16)
            .unwrap_or_else(|_| panic!("a chunk begins with its size: {line:?}"));
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        payload.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        assert_eq!(bytes.get(at..at + 2)?, b"\r\n", "a chunk's data ends with CRLF");
        at += 2;
    }
    // The trailer section, up to its empty line.
    loop {
        let line = line_at(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some((payload, at));
        }
    }
}

fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&rest[..end])
}

fn split_lines(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    lines.push(bytes);
    lines
}

/// `tchar` (RFC 9110 §5.6.2).
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_meanings_are_noticed() {
        for head in [
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 01\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\0\r\n\r\n",
            "GET / HTTP/1.1\r\na : b\r\n\r\n",
            "GET / HTTP/1.1\r\n a: b\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n",
        ] {
            std::panic::catch_unwind(|| drop(read_head(head.as_bytes()))).expect_err(head);
        }
    }

    #[test]
    fn folded_lines() {
        let fields = read_folded(b"HTTP/1.1 200 OK\r\nX: a\0 \r\n\t b\r\nY :c\r\n\r\n z");
        assert_eq!(fields, [("x".to_owned(), b"a b".to_vec()), ("y".to_owned(), b"c".to_vec())]);
        for head in [
            " X: a\r\n",
            "X: a\r\n \t\r\n",
            "X: a\r\n Y: b\r\n",
            "X: a\r\n :b\r\n",
            "Content-Length:\r\n 5\r\n",
        ] {
            std::panic::catch_unwind(|| {
                drop(read_folded(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes()))
            })
            .expect_err(head);
        }
    }

    #[test]
    fn the_plain_reading() {
        let (first, fields) = read_head(b"GET / HTTP/1.1\r\nHost: a\r\nX:  b \r\n\r\n");
        assert_eq!(first, b"GET / HTTP/1.1");
        assert_eq!(fields, [("host".to_owned(), b"a".to_vec()), ("x".to_owned(), b"b".to_vec())]);
        assert_eq!(nominated(b"GET / HTTP/1.1\r\nconnection : A,b\r\n\r\n"), ["a", "b"]);
        assert_eq!(
            read_chunked(b"3;x=y\r\nabc\r\n0\r\nt: u\r\n\r\nrest"),
            Some((b"abc".to_vec(), 23))
        );
        assert_eq!(read_chunked(b"3\r\nab"), None);
    }
}

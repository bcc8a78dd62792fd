//! A strict reading of HTTP/1.1, written for this test from RFC 9112 alone: what the proxies' own
//! codec thinks of a message is what is judged here.

/// A whole message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Request line or status line.
    pub line: String,
    /// Names in lower case; values byte for byte, as Latin-1.
    pub fields: Vec<(String, String)>,
    /// Decoded.
    pub body: Vec<u8>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// What a strict reader makes of bytes.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// More bytes are needed; whether the head is there already.
    Incomplete { head: Option<Message> },
    /// A message and its length.
    Complete(Box<Message>, usize),
    /// No message at all.
    Broken(String),
}

/// How a body ends.
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

impl Message {
    /// The values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The only value of a field, if there is one and no other.
    pub fn only(&self, name: &str) -> Option<&str> {
        match self.all(name).as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    /// The n-th word of the first line.
    pub fn word(&self, n: usize) -> &str {
        self.line.split(' ').nth(n).unwrap_or_default()
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        latin(&self.body)
    }
}

/// Bytes as characters, one to one.
pub fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Reads a request.
pub fn request(bytes: &[u8]) -> Parsed {
    read(bytes, |head| {
        let words: Vec<_> = head.line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words.as_slice() else {
            return Err(format!("request line {:?}", head.line));
        };
        if !is_token(method)
            || target.is_empty()
            || !target.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(format!("request line {:?}", head.line));
        }
        if head.all("host").len() != 1 {
            return Err(format!("Host {:?}", head.all("host")));
        }
        Ok(framing(head)?.unwrap_or(Framing::Length(0)))
    })
}

/// Reads the response to a request with this method; `ended`: nothing more will come.
pub fn response(bytes: &[u8], method: &str, ended: bool) -> Parsed {
    let parsed = read(bytes, |head| {
        let status = head.status();
        let code =
            head.line.as_bytes().get(9..12).is_some_and(|code| code.iter().all(u8::is_ascii_digit));
        if !head.line.starts_with("HTTP/1.1 ")
            || !code
            || head.line.as_bytes().get(12) != Some(&b' ')
        {
            return Err(format!("status line {:?}", head.line));
        }
        let framing = framing(head)?;
        let tunnel = method == "CONNECT" && (200..300).contains(&status);
        if (tunnel || matches!(status, 100..=199 | 204)) && framing.is_some() {
            return Err(format!("{} with framing fields", head.line));
        }
        if tunnel || method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Ok(Framing::Length(0));
        }
        Ok(framing.unwrap_or(Framing::Close))
    });
    match parsed {
        Parsed::Complete(mut message, length) if length == usize::MAX => {
            let start = find(bytes, b"\r\n\r\n").map_or(0, |end| end + 4);
            if !ended {
                return Parsed::Incomplete { head: Some(*message) };
            }
            message.body = bytes[start..].to_vec();
            Parsed::Complete(message, bytes.len())
        }
        other => other,
    }
}

fn read(bytes: &[u8], framing: impl Fn(&Message) -> Result<Framing, String>) -> Parsed {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Parsed::Incomplete { head: None } };
    let mut message = match head(&bytes[..end]) {
        Ok(message) => message,
        Err(why) => return Parsed::Broken(why),
    };
    let start = end + 4;
    match framing(&message) {
        Err(why) => Parsed::Broken(why),
        Ok(Framing::Close) => Parsed::Complete(Box::new(message), usize::MAX),
        Ok(Framing::Length(length)) => match bytes.get(start..start + length) {
            None => Parsed::Incomplete { head: Some(message) },
            Some(body) => {
                message.body = body.to_vec();
                Parsed::Complete(Box::new(message), start + length)
            }
        },
        Ok(Framing::Chunked) => match chunked(&bytes[start..], &mut message) {
            Ok(Some(length)) => Parsed::Complete(Box::new(message), start + length),
            Ok(None) => Parsed::Incomplete { head: Some(message) },
            Err(why) => Parsed::Broken(why),
        },
    }
}

fn head(bytes: &[u8]) -> Result<Message, String> {
    let text = latin(bytes);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    if text.contains('\0') || line.contains(['\r', '\n']) {
        return Err(format!("first line {line:?}"));
    }
    Ok(Message { line, fields, ..Message::default() })
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("field line {line:?}"))?;
    if !is_token(name) || value.chars().any(|it| it != '\t' && (it < ' ' || it == '\x7f')) {
        return Err(format!("field line {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn framing(head: &Message) -> Result<Option<Framing>, String> {
    match (head.all("transfer-encoding").as_slice(), head.all("content-length").as_slice()) {
        ([], []) => Ok(None),
        (["chunked"], []) => Ok(Some(Framing::Chunked)),
        ([], [length]) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
            .parse()
            .map(|length| Some(Framing::Length(length)))
            .map_err(|_| format!("Content-Length {length:?}")),
        (codings, lengths) => {
            Err(format!("Transfer-Encoding {codings:?}, Content-Length {lengths:?}"))
        }
    }
}

/// Length of a chunked body, none if it is not whole. Extensions are passed over up to the line's
/// end, which is CRLF and nothing else.
fn chunked(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = latin(&bytes[at..at + length]);
        let digits = line.split(';').next().unwrap_or_default();
        if line.contains(['\r', '\n', '\0'])
            || digits.is_empty()
            || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(format!("chunk line {line:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("chunk line {line:?}"))?;
        at += length + 2;
        if size == 0 {
            break;
        }
        let end = size.checked_add(at + 2).ok_or_else(|| format!("chunk line {line:?}"))?;
        let Some(data) = bytes.get(at..end) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("chunk data is not followed by CRLF".to_owned());
        }
        message.body.extend_from_slice(&data[..size]);
        at = end;
    }
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let line = latin(&bytes[at..at + length]);
        at += length + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        message.trailers.push(field(&line)?);
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

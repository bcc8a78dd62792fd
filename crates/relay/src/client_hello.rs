//! The first message of a TLS client, as far as somebody may look who only passes it on: the name
//! that it asks for (RFC 8446 §4.1.2, RFC 6066 §3). Pure.
//!
//! The message may be spread over records in any way; what is no ClientHello is seen at the first
//! byte that shows it.

/// The message itself, in bytes: with keys for after quantum computers it takes some 2 KiB.
const LONGEST: usize = 16 * 1024;
/// All records of it. One byte in each record is allowed, and nobody does it.
const MOST_RECORDS: usize = 64;
/// Bytes after which there is an answer.
pub const MOST: usize = LONGEST + 4 + MOST_RECORDS * RECORD_HEADER;
const RECORD_HEADER: usize = 5;
/// RFC 8446 §5.1.
const RECORD_MOST: usize = 1 << 14;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// RFC 1035 §2.3.4.
const NAME_MOST: usize = 253;

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name, in lower case and without a dot at its end; none: the client does not say.
    pub name: Option<Box<str>>,
}

/// Why this is no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It does not begin as TLS does.
    #[error("not TLS")]
    NotTls,
    /// It is longer than any that is sent, or in more pieces.
    #[error("ClientHello too long")]
    TooLong,
    /// Lengths that do not fit, or a name that is none.
    #[error("bad ClientHello")]
    Malformed,
}

/// Reads the ClientHello at the beginning of a connection. `None`: it is not all there; call again
/// with the same bytes and more.
pub fn parse(bytes: &[u8]) -> Result<Option<ClientHello>, Invalid> {
    let mut message = Vec::new();
    let mut rest = bytes;
    for _ in 0..MOST_RECORDS {
        let Some(fragment) = record(&mut rest)? else { return Ok(None) };
        // Nearly always the message is one record.
        if message.is_empty()
            && let Some(whole) = whole(fragment.bytes)?
        {
            return hello(whole).map(Some);
        }
        message.extend_from_slice(fragment.bytes);
        if let Some(whole) = whole(&message)? {
            return hello(whole).map(Some);
        }
        if !fragment.complete {
            return Ok(None);
        }
    }
    Err(Invalid::TooLong)
}

/// What there is of a record's content.
struct Fragment<'a> {
    bytes: &'a [u8],
    complete: bool,
}

fn record<'a>(rest: &mut &'a [u8]) -> Result<Option<Fragment<'a>>, Invalid> {
    let matches = |at: usize, expected: u8| rest.get(at).is_none_or(|byte| *byte == expected);
    if !matches(0, HANDSHAKE) || !matches(1, 3) {
        return Err(Invalid::NotTls);
    }
    let Some((&[_, _, _, high, low], content)) = rest.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // RFC 8446 §5.1: no record of a handshake is empty.
    if length == 0 || length > RECORD_MOST {
        return Err(Invalid::Malformed);
    }
    let complete = content.len() >= length;
    let (bytes, behind) = content.split_at(length.min(content.len()));
    *rest = behind;
    Ok(Some(Fragment { bytes, complete }))
}

/// The body of the message, once it is all there.
fn whole(message: &[u8]) -> Result<Option<&[u8]>, Invalid> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Invalid::NotTls);
    }
    let Some((&[_, high, middle, low], body)) = message.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > LONGEST {
        return Err(Invalid::TooLong);
    }
    Ok(body.get(..length))
}

fn hello(body: &[u8]) -> Result<ClientHello, Invalid> {
    let name = server_name(Reader(body)).ok_or(Invalid::Malformed)?;
    Ok(ClientHello { name })
}

/// `None`: it is malformed.
fn server_name(mut body: Reader<'_>) -> Option<Option<Box<str>>> {
    // legacy_version and random.
    body.take(2 + 32)?;
    let session_id = body.short()?;
    let cipher_suites = body.long()?;
    let compression = body.short()?;
    if session_id.len() > 32 || cipher_suites.is_empty() || compression.is_empty() {
        return None;
    }
    let mut name = None;
    if body.0.is_empty() {
        return Some(name);
    }
    let mut extensions = Reader(body.long()?);
    let mut named = false;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let value = extensions.long()?;
        if kind == SERVER_NAME {
            // RFC 8446 §4.2: no extension is there twice.
            if std::mem::replace(&mut named, true) {
                return None;
            }
            name = host_name(Reader(value))?;
        }
    }
    body.0.is_empty().then_some(name)
}

fn host_name(mut value: Reader<'_>) -> Option<Option<Box<str>>> {
    let mut list = Reader(value.long()?);
    let mut name = None;
    while !list.0.is_empty() {
        let [kind] = *list.take(1)? else { return None };
        let text = list.long()?;
        // RFC 6066 §3: there is one name of each type at most.
        if kind == HOST_NAME && name.replace(normal(text)?).is_some() {
            return None;
        }
    }
    value.0.is_empty().then_some(name)
}

/// A name as it is compared with others.
fn normal(text: &[u8]) -> Option<Box<str>> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let is_of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let labels = text.split(|byte| *byte == b'.');
    let good = text.len() <= NAME_MOST
        && labels.clone().all(|it| (1..=63).contains(&it.len()) && it.iter().all(is_of_a_name));
    good.then(|| std::str::from_utf8(text).ok().map(str::to_ascii_lowercase))?
        .map(String::into_boxed_str)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let (bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    /// A vector with a length of one byte.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(length.into())
    }

    /// A vector with a length of two bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;

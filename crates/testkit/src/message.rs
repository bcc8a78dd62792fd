//! Reading HTTP/1.1 messages, plainly: just enough for a test's own two ends of a connection.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A message head with its fields in order.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Request line or status line, without its line end.
    pub line: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// The first field of that (lower-case) name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response head.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.line.split(' ').nth(1)?.parse().ok()
    }

    /// Method and target of a request head.
    #[must_use]
    pub fn request(&self) -> (&str, &str) {
        let mut words = self.line.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }
}

/// Reads messages from one side of a connection and keeps what came too early.
#[derive(Debug)]
pub struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
}

fn cut() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the peer closed in the middle of a message")
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// Reads from `stream`.
    pub const fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Whether nothing was read beyond the messages taken so far.
    pub const fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The stream itself, to write on.
    pub const fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream and what was read too far.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffer)
    }

    async fn more(&mut self) -> Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece).await?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// The next head, or none when the peer closed between messages.
    ///
    /// # Errors
    /// The connection's, or `UnexpectedEof` in the middle of a head.
    pub async fn head(&mut self) -> Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Ok(Some(parse(&String::from_utf8_lossy(&head))));
            }
            if self.more().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    /// Exactly `length` bytes of body.
    ///
    /// # Errors
    /// The connection's, or `UnexpectedEof`.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.more().await? == 0 {
                return Err(cut());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// The body that belongs to `head`. A response without framing runs to the close.
    ///
    /// # Errors
    /// The connection's, `UnexpectedEof`, or `InvalidData` for a bad chunk size.
    pub async fn body(&mut self, head: &Head) -> Result<Vec<u8>> {
        if head.field("transfer-encoding").is_some() {
            return self.chunked().await;
        }
        if let Some(length) = head.field("content-length") {
            let length =
                length.parse().map_err(|_| Error::new(ErrorKind::InvalidData, "content-length"))?;
            return self.exactly(length).await;
        }
        let response = head.line.starts_with("HTTP/");
        if !response || matches!(head.status(), Some(100..=199 | 204 | 304)) {
            return Ok(Vec::new());
        }
        while self.more().await? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn chunked(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16)
                .map_err(|_| Error::new(ErrorKind::InvalidData, "chunk size"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.more().await? == 0 {
                return Err(cut());
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn parse(text: &str) -> Head {
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Head { line, fields }
}

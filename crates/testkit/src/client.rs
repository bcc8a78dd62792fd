//! One exchange through a proxy, step by step, so that a test can say at which step it broke.

use std::{
    io::{Error, Result},
    net::SocketAddr,
    time::Duration,
};

use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::message::{Head, Reader};

/// How long any one step may take. A hang is a failure of the product, and has to show as one.
pub const DEADLINE: Duration = Duration::from_secs(40);

async fn within<T>(what: &str, step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(DEADLINE, step)
        .await
        .map_err(|_| Error::other(format!("{what}: nothing for {DEADLINE:?}")))?
}

/// A connection to a proxy.
#[derive(Debug)]
pub struct Connection {
    reader: Reader<TcpStream>,
    /// Requests answered so far.
    pub answered: u64,
    /// A head has come whose body has not been read to its end.
    answering: bool,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body, decoded.
    pub body: Vec<u8>,
}

impl Answer {
    /// Its status; 0 for a line that is no status line.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status().unwrap_or_default()
    }
}

impl Connection {
    /// Connects to the proxy at `address`.
    ///
    /// # Errors
    /// The connection's.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = within("connect", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Over a connection that is open.
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { reader: Reader::new(stream), answered: 0, answering: false }
    }

    /// Whether not one byte of an answer has come for the last request: a client may then send an
    /// idempotent one again (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        !self.answering && self.reader.is_empty()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        within("send", self.reader.stream().write_all(bytes)).await
    }

    /// The next head (a 1xx is passed over), without its body.
    ///
    /// # Errors
    /// The connection's; `UnexpectedEof` when the proxy closed instead.
    pub async fn head(&mut self) -> Result<Head> {
        loop {
            let head = within("response head", self.reader.head()).await?;
            self.answering = head.is_some();
            let head = head.ok_or_else(|| {
                Error::new(std::io::ErrorKind::UnexpectedEof, "closed instead of a response")
            })?;
            if !matches!(head.status(), Some(100 | 102..=199)) {
                return Ok(head);
            }
        }
    }

    /// The next whole answer to a request of that method.
    ///
    /// # Errors
    /// The connection's.
    pub async fn answer(&mut self, method: &str) -> Result<Answer> {
        let head = self.head().await?;
        let body = if method == "HEAD" {
            Vec::new()
        } else {
            within("response body", self.reader.body(&head)).await?
        };
        self.answered += 1;
        self.answering = false;
        Ok(Answer { head, body })
    }

    /// Sends a request in absolute form and reads its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn request(
        &mut self,
        method: &str,
        url: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let host =
            url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let mut message = format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT") {
            message.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        message.push_str("\r\n");
        let mut bytes = message.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes).await?;
        self.answer(method).await
    }

    /// Asks for a tunnel; the answer's head, after which bytes flow as they are when it is a 2xx.
    ///
    /// # Errors
    /// The connection's.
    pub async fn connect(&mut self, target: &str, fields: &[(&str, &str)]) -> Result<Head> {
        let mut message = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        for (name, value) in fields {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str("\r\n");
        self.send(message.as_bytes()).await?;
        self.head().await
    }

    /// Sends an origin-form request (through an open tunnel) and reads its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn inside(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Answer> {
        let mut message = format!("{method} {path} HTTP/1.1\r\nHost: tunnel\r\n");
        for (name, value) in fields {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        message.push_str("\r\n");
        self.send(message.as_bytes()).await?;
        self.answer(method).await
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// The connection's.
pub async fn once(
    proxy: SocketAddr,
    method: &str,
    url: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    Connection::open(proxy).await?.request(method, url, fields, body).await
}

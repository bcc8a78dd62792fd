//! One HTTP/1.1 client connection that checks what it gets.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::dial::Dialer;

/// For one answer: a contender that has stopped ends the measurement instead of holding it.
pub const PATIENCE: Duration = Duration::from_secs(30);
const MOST_HEAD: usize = 32 * 1024;

/// What a connection is made of: TCP, or TLS over it.
trait Io: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Io for T {}

/// A connection through a contender.
#[derive(Debug)]
pub struct Client {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
    closing: bool,
}

impl Client {
    /// Connects in the clear.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        Dialer::plain().dial(address).await
    }

    /// Over what [`Dialer`] has connected.
    pub fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug + 'static,
    ) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new(), closing: false }
    }

    /// A request and its whole answer, which has to be a 200 with `body` bytes of the origin's.
    pub async fn request(&mut self, request: &[u8], body: usize) -> Result<()> {
        timeout(PATIENCE, async {
            self.send(request).await?;
            let (head, length) = self.head().await?;
            ensure!(length == body, "{length} bytes of body instead of {body}");
            while self.buffer.len() < head + body {
                self.more().await?;
            }
            ensure!(
                self.buffer[head..head + body].iter().all(|byte| *byte == b'x'),
                "not the origin's bytes"
            );
            self.buffer.drain(..head + body);
            Ok(())
        })
        .await?
    }

    /// Whether the last answer said that the connection ends with it.
    pub fn asked_to_close(&self) -> bool {
        self.closing
    }

    /// Opens a tunnel.
    pub async fn tunnel(&mut self, origin: SocketAddr) -> Result<()> {
        timeout(PATIENCE, async {
            let connect = format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n\r\n");
            self.send(connect.as_bytes()).await?;
            let (head, _) = self.head().await?;
            self.buffer.drain(..head);
            Ok(())
        })
        .await?
    }

    /// A request whose answer is so long that it is counted, and its bytes looked at here and
    /// there, instead of kept.
    pub async fn download(&mut self, request: &[u8], body: usize) -> Result<()> {
        self.stream.write_all(request).await?;
        let (head, length) = timeout(PATIENCE, self.head()).await??;
        ensure!(length == body, "{length} bytes instead of {body}");
        let mut left =
            body.checked_sub(self.buffer.len() - head).context("more bytes than announced")?;
        self.buffer.clear();
        let mut chunk = vec![0; 256 * 1024];
        while left > 0 {
            let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await??;
            ensure!(read > 0, "the tunnel ended {left} bytes too early");
            ensure!(chunk[0] == b'x' && chunk[read - 1] == b'x', "not the origin's bytes");
            left = left.checked_sub(read).context("more bytes than announced")?;
        }
        Ok(())
    }

    /// Sends `bytes` as the body of a request whose answer has none.
    pub async fn upload(&mut self, request: &[u8], bytes: usize) -> Result<()> {
        self.stream.write_all(request).await?;
        let chunk = vec![b'x'; 256 * 1024];
        let mut left = bytes;
        while left > 0 {
            let written =
                timeout(PATIENCE, self.stream.write(&chunk[..left.min(chunk.len())])).await??;
            ensure!(written > 0, "the tunnel ended {left} bytes too early");
            left -= written;
        }
        let (head, length) = timeout(PATIENCE, self.head()).await??;
        ensure!(length == 0, "{length} bytes that nobody asked for");
        self.buffer.drain(..head);
        Ok(())
    }

    /// Waits until the other side closes, as it has been asked to.
    pub async fn closed(mut self) -> Result<()> {
        match timeout(PATIENCE, self.stream.read(&mut [0])).await? {
            Ok(0) => Ok(()),
            // TLS without a last word: the answer was whole.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Ok(_) => bail!("bytes after the answer"),
            Err(error) => Err(error.into()),
        }
    }

    /// All of it; over TLS, records that wait for nothing go out.
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Length of the head, and of the body that it announces.
    async fn head(&mut self) -> Result<(usize, usize)> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 48];
            let mut response = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(end) = response.parse(&self.buffer)? {
                ensure!(
                    response.code == Some(200),
                    "not a 200: {}",
                    String::from_utf8_lossy(&self.buffer[..end])
                );
                self.closing = response.headers.iter().any(|field| {
                    field.name.eq_ignore_ascii_case("connection")
                        && field.value.eq_ignore_ascii_case(b"close")
                });
                let length = response
                    .headers
                    .iter()
                    .find(|field| field.name.eq_ignore_ascii_case("content-length"));
                let length = length.map(|field| std::str::from_utf8(field.value)).transpose()?;
                return Ok((end, length.map_or(Ok(0), str::parse)?));
            }
            if self.buffer.len() > MOST_HEAD {
                bail!("a head without an end");
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        self.buffer.reserve(16 * 1024);
        ensure!(
            self.stream.read_buf(&mut self.buffer).await? > 0,
            "closed in the middle of an answer"
        );
        Ok(())
    }
}

/// The head of an upload to the origin through a tunnel.
pub fn put(origin: SocketAddr, bytes: usize) -> Vec<u8> {
    format!("PUT /u/{bytes} HTTP/1.1\r\nHost: {origin}\r\nContent-Length: {bytes}\r\n\r\n")
        .into_bytes()
}

/// A GET of a path of the origin, as a proxy's client writes it.
pub fn get(origin: SocketAddr, path: &str, fields: &str) -> Vec<u8> {
    get_for(&origin.to_string(), path, fields)
}

/// The same by the name of a host.
pub fn get_for(host: &str, path: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: \
        */*\r\n{fields}\r\n"
    )
    .into_bytes()
}

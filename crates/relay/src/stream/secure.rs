//! Starts TLS on a connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::Stream;
use super::transport::Io;
use crate::fault::Fault;
use crate::tls::{ClientConfig, Error, ServerConfig, ServerName};
use crate::wheel::{Kind, Timer};

impl Stream {
    /// Starts TLS as the client of the server called `name`. `config` decides whether the server's
    /// certificate is accepted.
    ///
    /// # Errors
    /// `Tls`, `Timeout(Connect)` when the handshake has not ended after `deadline`, `Closed`,
    /// `Reset`, `Io`.
    pub async fn start_tls(
        self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let begin = |tcp| async {
            TlsConnector::from(config).connect(name, tcp).await.map(TlsStream::from)
        };
        self.shake_hands(begin, deadline).await
    }

    /// Starts TLS as the server.
    ///
    /// # Errors
    /// As [`start_tls`](Self::start_tls).
    pub async fn accept_tls(
        self,
        config: Arc<ServerConfig>,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let begin =
            |tcp| async { TlsAcceptor::from(config).accept(tcp).await.map(TlsStream::from) };
        self.shake_hands(begin, deadline).await
    }

    async fn shake_hands<F>(
        mut self,
        begin: impl FnOnce(TcpStream) -> F,
        deadline: Duration,
    ) -> Result<Self, Fault>
    where
        F: Future<Output = io::Result<TlsStream<TcpStream>>>,
    {
        self.send_preamble(deadline).await?;
        // What came before is not protected: whoever could write it would speak for the peer.
        if !self.0.input.is_empty() {
            return Err(Fault::Tls(Error::Protocol));
        }
        let Io::Tcp(tcp) = std::mem::replace(&mut self.0.io, Io::Gone) else {
            return Err(Fault::Tls(Error::Protocol));
        };
        let timer = Timer::new(self.0.worker.wheel());
        // On the heap: a handshake takes room that a connection without TLS has no use for.
        let session = timer.within(Kind::Connect, deadline, Box::pin(begin(tcp))).await??;
        self.0.io = Io::Tls(Box::new(session));
        Ok(self)
    }

    /// Whether the transport announces its end, so that an end without the announcement means that
    /// the connection was cut. True of TLS, not of bare TCP (RFC 9112 §9.8).
    pub fn announces_its_end(&self) -> bool {
        matches!(self.0.io, Io::Tls(_))
    }
}

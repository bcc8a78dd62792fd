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
use crate::tls::{ClientConfig, Error, ServerConfig, ServerName, Session};
use crate::wheel::Kind;

/// Bytes that a session has of a client whose handshake has not ended, about.
const HANDSHAKE: usize = 16 * 1024;

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
        self.shake_hands(begin, Kind::Connect, deadline).await
    }

    /// Starts TLS as the server. What has been received already is the client's first of it. While
    /// it lasts it counts as a half request.
    ///
    /// # Errors
    /// As [`start_tls`](Self::start_tls); `Timeout(Head)` when it has not ended after `deadline`.
    pub async fn accept_tls(
        mut self,
        config: Arc<ServerConfig>,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let first = std::mem::take(&mut self.0.input);
        let begin = |tcp| async move {
            let accept = TlsAcceptor::from(config).accept_with(tcp, |session| {
                let mut rest = &first[..];
                // What it does not take is no TLS, which the handshake finds out.
                while !rest.is_empty()
                    && session.read_tls(&mut rest).is_ok_and(|taken| taken > 0)
                    && session.process_new_packets().is_ok()
                {}
            });
            accept.await.map(TlsStream::from)
        };
        if self.is_of_client() {
            self.hold(HANDSHAKE);
        }
        let stream = self.shake_hands(begin, Kind::Head, deadline).await?;
        stream.release();
        Ok(stream)
    }

    /// What the TLS handshake with a client told; none where the connection is no such one.
    pub fn session(&self) -> Option<Session<'_>> {
        let Io::Tls(tls) = &self.0.io else { return None };
        let TlsStream::Server(tls) = &**tls else { return None };
        let session = tls.get_ref().1;
        Some(Session {
            name: session.server_name(),
            version: session.protocol_version(),
            certificate: session.peer_certificates().and_then(|chain| chain.first()),
        })
    }

    async fn shake_hands<F>(
        mut self,
        begin: impl FnOnce(TcpStream) -> F,
        kind: Kind,
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
        // On the heap: a handshake takes room that a connection without TLS has no use for.
        let shaking = Box::pin(begin(tcp));
        let session = self.0.reading.timer.within(kind, deadline, shaking).await??;
        self.0.io = Io::Tls(Box::new(session));
        Ok(self)
    }

    /// The protocol that client and server have agreed on in the TLS handshake (ALPN, RFC 7301).
    pub fn agreed_protocol(&self) -> Option<&[u8]> {
        let Io::Tls(session) = &self.0.io else { return None };
        session.get_ref().1.alpn_protocol()
    }

    /// Whether the transport announces its end, so that an end without the announcement means that
    /// the connection was cut. True of TLS, not of bare TCP (RFC 9112 §9.8).
    pub fn announces_its_end(&self) -> bool {
        matches!(self.0.io, Io::Tls(_))
    }
}

//! How clients reach a contender: in the clear or over TLS 1.3, and from which address.
//!
//! Everybody is measured with the same cipher suite and key exchange, and a handshake that is not
//! of the kind that was asked for ends the measurement.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::ServerName,
    version::TLS13,
};
use tokio::{net::TcpSocket, time::timeout};
use tokio_rustls::TlsConnector;

use super::client::{Client, PATIENCE};
use crate::contender::certificate::Certificate;

/// How a TLS connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With the server's certificate and its signature.
    Full,
    /// With what is left of a session before.
    Resumed,
}

/// One client's way.
#[derive(Clone)]
pub struct Dialer {
    from: Option<IpAddr>,
    tls: Option<(TlsConnector, Handshake)>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let handshake = self.tls.as_ref().map(|(_, handshake)| handshake);
        formatter.debug_struct("Dialer").field("from", &self.from).field("tls", &handshake).finish()
    }
}

impl Dialer {
    /// In the clear.
    pub const fn plain() -> Self {
        Self { from: None, tls: None }
    }

    /// Over TLS, which begins so; no two of them share a session.
    pub fn secure(certificate: &Certificate, handshake: Handshake) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.authority.clone())?;
        let suite = ring::cipher_suite::TLS13_AES_256_GCM_SHA384;
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if handshake == Handshake::Full {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { from: None, tls: Some((TlsConnector::from(Arc::new(config)), handshake)) })
    }

    /// Connects as told.
    pub async fn dial(&self, address: SocketAddr) -> Result<Client> {
        let handshake = self.tls.as_ref().map(|(_, handshake)| *handshake);
        self.connect(address, handshake).await
    }

    /// Connects for the first time: there is nothing to resume yet.
    pub async fn dial_first(&self, address: SocketAddr) -> Result<Client> {
        self.connect(address, self.tls.as_ref().map(|_| Handshake::Full)).await
    }

    async fn connect(&self, address: SocketAddr, expected: Option<Handshake>) -> Result<Client> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = within(socket.connect(address))
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let Some((connector, _)) = &self.tls else { return Ok(Client::over(stream)) };
        let name = ServerName::try_from(Certificate::NAME)?;
        let stream = within(connector.connect(name, stream)).await.context("a TLS handshake")?;
        let state = stream.get_ref().1;
        let kind = match expected {
            Some(Handshake::Resumed) => HandshakeKind::Resumed,
            _ => HandshakeKind::Full,
        };
        ensure!(
            state.handshake_kind() == Some(kind)
                && state.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            "a handshake of the kind {:?} of {:?} instead of {kind:?}",
            state.handshake_kind(),
            state.protocol_version()
        );
        Ok(Client::over(stream))
    }
}

async fn within<T>(work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    Ok(timeout(PATIENCE, work).await??)
}

/// The ways of all clients.
#[derive(Clone, Debug)]
pub struct Dialers(Rc<[Dialer]>);

impl Dialers {
    /// All in the clear, from the same address.
    pub fn plain() -> Self {
        Self([Dialer::plain()].into())
    }

    /// In the clear, each from a loopback address of its own.
    pub fn apart(clients: usize) -> Self {
        let from = |client: usize| {
            let [high, low] = u16::try_from(client).unwrap_or(u16::MAX).to_be_bytes();
            Dialer { from: Some(Ipv4Addr::new(127, 1, high, low).into()), tls: None }
        };
        Self((1..=clients).map(from).collect())
    }

    /// Over TLS, each with a session of its own.
    pub fn secure(certificate: &Certificate, handshake: Handshake, clients: usize) -> Result<Self> {
        let dialers = (0..clients.max(1)).map(|_| Dialer::secure(certificate, handshake));
        Ok(Self(dialers.collect::<Result<_>>()?))
    }

    /// That of the client with this number.
    pub fn of(&self, client: usize) -> &Dialer {
        &self.0[client % self.0.len()]
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Dialer> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ServerConfig, pki_types::pem::PemObject, server::NoServerSessionStorage};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{
        load::requests::{Connection, Paths, Plan, acquaint, run},
        origin::Origin,
    };

    /// TLS in front of an origin, with tickets or without.
    async fn secured(certificate: &Certificate, origin: SocketAddr, tickets: usize) -> SocketAddr {
        let chain = rustls::pki_types::CertificateDer::from_pem_file(certificate.certificate());
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(certificate.key());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain.expect("a certificate")], key.expect("a key"))
            .expect("a pair");
        config.send_tls13_tickets = tickets;
        if tickets == 0 {
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut client = acceptor.accept(stream).await.expect("TLS");
                    let mut origin = TcpStream::connect(origin).await.expect("the origin");
                    // The client, who closes first, leaves no last word.
                    drop(tokio::io::copy_bidirectional(&mut client, &mut origin).await);
                });
            }
        });
        address
    }

    async fn asked(tickets: usize, handshake: Handshake, acquainted: bool) -> Result<usize> {
        let certificate = Certificate::new()?;
        let origin = Origin::start()?;
        let address = secured(&certificate, origin.address, tickets).await;
        let plan = Plan {
            address,
            dialers: Dialers::secure(&certificate, handshake, 2)?,
            origin: origin.address,
            paths: Paths::one("/b/3000", 3000),
            connection: Connection::Kept,
            connections: 2,
            requests: 6,
        };
        if acquainted {
            acquaint(&plan).await?;
        }
        Ok(run(plan).await?.latencies.len())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_handshake_is_what_was_asked_for_or_nothing_is_measured() {
        assert_eq!(asked(2, Handshake::Full, false).await.expect("answers"), 6);
        assert_eq!(asked(2, Handshake::Resumed, true).await.expect("answers"), 6);
        for (tickets, acquainted) in [(0, true), (2, false)] {
            let error = asked(tickets, Handshake::Resumed, acquainted).await;
            let error = error.expect_err("nothing to resume").to_string();
            assert!(
                error.contains("Some(Full)") && error.contains("instead of Resumed"),
                "{error}"
            );
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn clients_apart_come_from_addresses_of_their_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let dialers = Dialers::apart(2);
        for (client, from) in [(0, [127, 1, 0, 1]), (1, [127, 1, 0, 2])] {
            let connected = dialers.of(client).dial(address).await.expect("connected");
            let (_, peer) = listener.accept().await.expect("a client");
            assert_eq!(peer.ip(), IpAddr::from(from));
            drop(connected);
        }
    }
}

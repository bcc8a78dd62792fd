//! For tests: the same scene over everything that can carry a connection.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::{Duplex, Io, Stream};
use crate::tls::{ClientConfig, ServerConfig, ServerName};
use crate::worker::Worker;

const LONG: Duration = Duration::from_secs(20);
/// As much as sockets on the loopback device hold at first.
const IN_MEMORY: usize = 128 * 1024;
/// Whose certificate the server has.
pub(crate) const NAME: &str = "server.test";

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    Tcp,
    Tls,
    Duplex,
}

/// Makes a test of each function for each medium.
macro_rules! over_every_medium {
    ($($name:ident)*) => {$(
        mod $name {
            use crate::media::Medium;

            #[test]
            fn tcp() {
                super::$name(Medium::Tcp);
            }

            #[test]
            fn tls() {
                super::$name(Medium::Tls);
            }

            #[test]
            fn duplex() {
                super::$name(Medium::Duplex);
            }
        }
    )*};
}
pub(crate) use over_every_medium;

/// Both sides of TLS with each other: made once, as keys take time.
pub(crate) struct Trust {
    pub(crate) server: Arc<ServerConfig>,
    /// As `server`, without tickets for later sessions: a client that closes with one unread resets
    /// the connection.
    ticketless: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

pub(crate) static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = server
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let mut ticketless = server.clone();
    ticketless.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    Trust {
        server: Arc::new(server),
        ticketless: Arc::new(ticketless),
        client: Arc::new(client.with_root_certificates(roots).with_no_client_auth()),
    }
});

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// Two ends of a TCP connection.
pub(crate) async fn sockets(worker: &Worker) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(
        Stream::connect(worker, listener.local_addr().unwrap(), LONG),
        listener.accept()
    );
    (ours.unwrap(), theirs.unwrap().0)
}

/// A connection that we have made, and its other end.
pub(crate) async fn to_server(worker: &Worker, medium: Medium) -> (Stream, Io) {
    if medium == Medium::Duplex {
        return in_memory(worker);
    }
    let (ours, theirs) = sockets(worker).await;
    if medium == Medium::Tcp {
        return (ours, Io::Tcp(theirs));
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&TRUST.server));
    let (ours, theirs) = tokio::join!(
        ours.start_tls(Arc::clone(&TRUST.client), name(), LONG),
        acceptor.accept(theirs)
    );
    (ours.unwrap(), Io::Tls(Box::new(theirs.unwrap().into())))
}

/// A connection that somebody has made to us, and its other end.
pub(crate) async fn from_client(worker: &Worker, medium: Medium) -> (Stream, Io) {
    if medium == Medium::Duplex {
        return in_memory(worker);
    }
    let (ours, theirs) = sockets(worker).await;
    if medium == Medium::Tcp {
        return (ours, Io::Tcp(theirs));
    }
    let connector = TlsConnector::from(Arc::clone(&TRUST.client));
    let (ours, theirs) = tokio::join!(
        ours.accept_tls(Arc::clone(&TRUST.ticketless), LONG),
        connector.connect(name(), theirs)
    );
    (ours.unwrap(), Io::Tls(Box::new(theirs.unwrap().into())))
}

fn in_memory(worker: &Worker) -> (Stream, Io) {
    let (ours, theirs) = Duplex::pair(IN_MEMORY);
    (Stream::in_memory(worker, ours), Io::Duplex(Box::new(theirs)))
}

impl Io {
    /// Goes with a reset.
    pub(crate) fn reset(mut self) {
        self.cut();
    }

    /// Makes it take little that is not read.
    pub(crate) fn take_little(&self) {
        if let Some(tcp) = self.socket() {
            socket2::SockRef::from(tcp).set_recv_buffer_size(4096).unwrap();
        }
    }
}

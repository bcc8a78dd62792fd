//! Origins that speak TLS, with certificates of an authority that the node trusts or of another.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cluster_config::document::{FileReference, ProxyDocument, proxy::OriginTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned, crypto::ring::default_provider,
    pki_types::PrivateKeyDer,
};

use crate::support::{Then, add_file};

pub type Session = StreamOwned<ServerConnection, TcpStream>;

/// Where the bundle has the authority that the node trusts.
pub const TRUSTED: &str = "authorities/trusted.pem";

static AUTHORITIES: LazyLock<[CertifiedIssuer<'static, KeyPair>; 2]> = LazyLock::new(|| {
    ["trusted", "foreign"].map(|name| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    })
});

/// Has the node trust the authority, and no other.
pub fn trusting(document: &mut ProxyDocument) {
    add_file(TRUSTED, AUTHORITIES[0].pem().into_bytes());
    let file = FileReference { path: TRUSTED.into(), sha256: String::new(), size: 0 };
    document.origin_tls = OriginTls { ca_file: Some(file), system_ca: false };
}

/// What an origin shows.
#[derive(Clone, Copy)]
pub struct Shown {
    pub names: &'static [&'static str],
    /// By an authority that nobody trusts.
    pub foreign: bool,
    /// From this year to that.
    pub valid: (i32, i32),
    pub protocols: &'static [&'static [u8]],
}

pub const GOOD: Shown = Shown {
    names: &["a.test", "b.test", "127.0.0.1"],
    foreign: false,
    valid: (2020, 2100),
    protocols: &[],
};

fn config(shown: Shown) -> Arc<ServerConfig> {
    let mut params = CertificateParams::new(
        shown.names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(),
    )
    .unwrap();
    (params.not_before, params.not_after) =
        (date_time_ymd(shown.valid.0, 1, 1), date_time_ymd(shown.valid.1, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &AUTHORITIES[usize::from(shown.foreign)]).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = shown.protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

/// An origin that runs a script for every request.
pub struct TlsOrigin {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl TlsOrigin {
    pub fn start(
        shown: Shown,
        script: impl Fn(&mut Session, &str) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections) =
            (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (seen, counted, script, config) =
            (Arc::clone(&requests), Arc::clone(&connections), Arc::new(script), config(shown));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                let session =
                    StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                std::thread::spawn(move || converse(session, &seen, &*script));
            }
        });
        Self { address, requests, connections }
    }

    pub fn answering(shown: Shown, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(shown, move |session, _| {
            drop(session.write_all(&bytes));
            Then::Keep
        })
    }

    /// A URL of it, under one of its names.
    pub fn url(&self, name: &str, path: &str) -> String {
        format!("https://{name}:{}{path}", self.address.port())
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// `Then::Close` says that it ends; `Then::Reset` cuts the session, while its socket ends in order.
fn converse(
    mut session: Session,
    seen: &Mutex<Vec<String>>,
    script: &dyn Fn(&mut Session, &str) -> Then,
) {
    while let Some(head) = read_head(&mut session) {
        seen.lock().unwrap().push(head.clone());
        match script(&mut session, &head) {
            Then::Keep => {}
            Then::Close => {
                session.conn.send_close_notify();
                return drop(session.flush());
            }
            Then::Reset => return drop(session.flush()),
        }
    }
}

fn read_head(session: &mut Session) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match session.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

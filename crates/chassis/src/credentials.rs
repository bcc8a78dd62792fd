//! This process's certificate: read and checked at the start, and read again whenever its files
//! change.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::danger::ServerCertVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::danger::ClientCertVerifier,
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    clock::Clock,
    error::Error,
    metrics,
    options::Options,
    role::{Identity, NoIdentity},
    tls,
};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The authority, one or several certificates.
    pub ca: PathBuf,
    /// The chain, own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Unusable {
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("{} holds no {} in PEM form", .0.display(), .1)]
    Pem(PathBuf, &'static str),
    #[error("the certificate {} cannot be used: {}", .0.display(), .1)]
    Identity(PathBuf, NoIdentity),
    #[error("the certificate {} expired at {}", .0.display(), .1)]
    Expired(PathBuf, Timestamp),
    #[error("the certificate {} is not valid before {}", .0.display(), .1)]
    NotYet(PathBuf, Timestamp),
    #[error("the key {} does not belong to the certificate {}", .0.display(), .1.display())]
    Mismatch(PathBuf, PathBuf),
    #[error("the certificate {} was not issued by the authority in {} \
        ({})", .0.display(), .1.display(), .2)]
    Untrusted(PathBuf, PathBuf, rustls::Error),
    #[error("the authority in {} cannot be used: {}", .0.display(), .1)]
    Authority(PathBuf, String),
    #[error("the certificate {} is now for {}, not for {}", .0.display(), .1, .2)]
    Changed(PathBuf, Identity, Identity),
}

impl From<Unusable> for Error {
    fn from(unusable: Unusable) -> Self {
        let remedy = match &unusable {
            Unusable::Read(_, error) if error.kind() == io::ErrorKind::NotFound => {
                "check --ca, --cert and --key; what is missing is made by `shoal pki issue` or \
                 `shoal pki provision` (which `docker-compose up -d` runs)"
            }
            Unusable::Read(..) => "check --ca, --cert and --key, and who may read these files",
            Unusable::NotYet(..) => "check the machine's clock",
            Unusable::Untrusted(..) | Unusable::Authority(..) => {
                "give --ca, --cert and --key of the same cluster"
            }
            Unusable::Mismatch(..) => "give the --cert and --key that were issued together",
            _ => {
                "renew it with `shoal pki renew NAME`, or issue another with `shoal pki issue` or \
                 `shoal pki provision` (which `docker-compose up -d` runs)"
            }
        };
        Self::new(unusable.to_string()).remedy(remedy)
    }
}

/// A certificate that was read and checked, ready for both ends of a connection.
#[derive(Debug)]
pub struct Loaded {
    /// Who we are.
    pub identity: Identity,
    /// When it ends.
    pub expires: Timestamp,
    /// Fingerprints of the authorities: SHA-256 (hex) of their public keys.
    pub authorities: Vec<String>,
    /// For the acceptor.
    pub server: Arc<ServerConfig>,
    /// For the connector.
    pub client: Arc<ClientConfig>,
}

/// The certificate in use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Credentials {
    files: Files,
    clock: Clock,
    current: Arc<ArcSwap<Loaded>>,
    seen: Arc<Mutex<Vec<Fingerprint>>>,
}

/// Tells one state of a file from another without reading it: inode, length, modification time (s,
/// ns).
type Fingerprint = Option<(u64, u64, i64, i64)>;

impl Credentials {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn load(files: Files, clock: Clock) -> Result<Self, Unusable> {
        let seen = files.fingerprints();
        let loaded = load(&files, clock.now())?;
        loaded.publish_expiry();
        Ok(Self {
            files,
            clock,
            current: Arc::new(ArcSwap::from_pointee(loaded)),
            seen: Arc::new(Mutex::new(seen)),
        })
    }

    /// What is in use now.
    #[must_use]
    pub fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }

    /// Reads the files again if they changed; answers whether new ones came into use.
    ///
    /// # Errors
    /// What is wrong with the new files; the old certificate stays in use.
    pub fn reload(&self) -> Result<bool, Unusable> {
        let now_there = self.files.fingerprints();
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now_there {
                return Ok(false);
            }
            *seen = now_there;
        }
        let loaded = load(&self.files, self.clock.now())?;
        let before = self.current();
        if loaded.identity != before.identity {
            return Err(Unusable::Changed(
                self.files.cert.clone(),
                loaded.identity,
                before.identity.clone(),
            ));
        }
        loaded.publish_expiry();
        self.current.store(Arc::new(loaded));
        Ok(true)
    }

    /// Looks at the files for ever.
    pub(crate) async fn follow(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(true)) => {
                    tracing::info!(expires = %self.current().expires, "certificate renewed")
                }
                Ok(Err(error)) => {
                    tracing::error!("the new certificate is not used, the old one stays: {error}")
                }
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

impl Loaded {
    #[allow(clippy::cast_precision_loss)]
    fn publish_expiry(&self) {
        ::metrics::gauge!(metrics::CERTIFICATE_EXPIRES).set(self.expires.as_second() as f64);
    }
}

impl Files {
    /// From the options; none when plaintext was asked for.
    ///
    /// # Errors
    /// Some file is not given.
    pub fn from_options(options: &Options) -> Result<Option<Self>, Error> {
        match (&options.ca, &options.cert, &options.key) {
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(Self { ca: ca.clone(), cert: cert.clone(), key: key.clone() }))
            }
            (None, None, None) if options.insecure_plaintext => Ok(None),
            (ca, cert, key) => {
                let missing: Vec<_> = [("--ca", ca), ("--cert", cert), ("--key", key)]
                    .into_iter()
                    .filter_map(|(flag, path)| path.is_none().then_some(flag))
                    .collect();
                Err(Error::new(format!("no certificate: {} not given", missing.join(", ")))
                    .remedy(
                        "make one with `shoal pki init` and `shoal pki issue` and pass --ca, \
                        --cert and --key",
                    )
                    .exit_code(2))
            }
        }
    }

    fn fingerprints(&self) -> Vec<Fingerprint> {
        [&self.ca, &self.cert, &self.key]
            .map(|path| {
                std::fs::metadata(path).ok().map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
            })
            .to_vec()
    }
}

fn load(files: &Files, now: Timestamp) -> Result<Loaded, Unusable> {
    let authorities = certificates(&files.ca)?;
    let chain = certificates(&files.cert)?;
    let own = chain.first().ok_or_else(|| Unusable::Pem(files.cert.clone(), "certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|_| Unusable::Pem(files.key.clone(), "private key"))?;
    let identity = Identity::of_certificate(own)
        .map_err(|error| Unusable::Identity(files.cert.clone(), error))?;
    let expires = validity(&files.cert, own, now)?;
    let roots = Arc::new(roots(files, &authorities)?);
    let clients = tls::Clients::new(Arc::clone(&roots))
        .map_err(|error| Unusable::Authority(files.ca.clone(), error.to_string()))?;
    let servers = Arc::new(tls::Servers::new(Arc::clone(&roots)));
    verify_own(files, &clients, &servers, &chain, now)?;
    let (server, client) = configs(files, clients, servers, &chain, &key)?;
    let authorities = authorities.iter().filter_map(|der| fingerprint(der)).collect();
    Ok(Loaded { identity, expires, authorities, server, client })
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|error| Unusable::Read(path.to_owned(), error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let malformed = || Unusable::Pem(path.to_owned(), "certificate");
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| malformed())?;
    if found.is_empty() { Err(malformed()) } else { Ok(found) }
}

fn validity(path: &Path, der: &CertificateDer<'_>, now: Timestamp) -> Result<Timestamp, Unusable> {
    let malformed = |_| Unusable::Identity(path.to_owned(), NoIdentity::Malformed);
    let (_, certificate) = X509Certificate::from_der(der).map_err(malformed)?;
    let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let validity = certificate.validity();
    let (from, until) =
        (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
    if now > until {
        return Err(Unusable::Expired(path.to_owned(), until));
    }
    if now < from {
        return Err(Unusable::NotYet(path.to_owned(), from));
    }
    Ok(until)
}

fn roots(
    files: &Files,
    authorities: &[CertificateDer<'static>],
) -> Result<RootCertStore, Unusable> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority.clone())
            .map_err(|error| Unusable::Authority(files.ca.clone(), error.to_string()))?;
    }
    Ok(roots)
}

/// Asks of our own certificate what others will ask of it.
fn verify_own(
    files: &Files,
    clients: &tls::Clients,
    servers: &tls::Servers,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Result<(), Unusable> {
    let Some((own, intermediates)) = chain.split_first() else { return Ok(()) };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(now.as_second()).unwrap_or(0),
    ));
    let untrusted = |error| Unusable::Untrusted(files.cert.clone(), files.ca.clone(), error);
    clients.verify_client_cert(own, intermediates, now).map_err(untrusted)?;
    let anybody = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    servers.verify_server_cert(own, intermediates, &anybody, &[], now).map_err(untrusted)?;
    Ok(())
}

fn configs(
    files: &Files,
    clients: tls::Clients,
    servers: Arc<tls::Servers>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Unusable> {
    let mismatch = |_| Unusable::Mismatch(files.key.clone(), files.cert.clone());
    let mut server = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .with_client_cert_verifier(Arc::new(clients))
        .with_single_cert(chain.to_vec(), key.clone_key())
        .map_err(mismatch)?;
    let mut client = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(mismatch)?
        .dangerous()
        .with_custom_certificate_verifier(servers)
        .with_client_auth_cert(chain.to_vec(), key.clone_key())
        .map_err(mismatch)?;
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    Ok((Arc::new(server), Arc::new(client)))
}

/// The public key's fingerprint, so that a renewed authority with the same key is the same
/// authority.
fn fingerprint(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let digest = Sha256::digest(certificate.public_key().raw);
    Some(hex::encode(&digest[..16]))
}

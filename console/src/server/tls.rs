//! The page's own certificate, for browsers: read at the start, and again when its files change. A
//! broken new one is not used.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use chassis::Error;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::Options;

/// Between two looks at the files.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A certificate in use. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// What was read.
struct Loaded {
    config: ServerConfig,
    fingerprint: String,
}

impl Certificate {
    /// Reads the files that the options name; none when they name none.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(options: &Options) -> Result<Option<Self>, Error> {
        let (Some(cert), Some(key)) = (options.tls_cert.clone(), options.tls_key.clone()) else {
            return Ok(None);
        };
        Self::of_files(cert, key).map(Some)
    }

    pub(super) fn of_files(cert: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let current = load(&cert, &key).map_err(|error| {
            Error::new(format!("cannot use the web page's certificate {}: {error}", cert.display()))
                .remedy(
                    "give --tls-cert a PEM chain, the page's own certificate first, and \
                    --tls-key its key",
                )
        })?;
        tracing::info!(
            sha256 = current.fingerprint,
            "the web page has a certificate, to be compared with what a browser shows"
        );
        Ok(Self(Arc::new(Inner { cert, key, current: RwLock::new(Arc::new(current.config)) })))
    }

    /// For the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(
            &self.0.current.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    /// Looks at the files every now and then, for ever.
    pub async fn follow(self, every: Duration) {
        let mut known = self.stamp();
        loop {
            tokio::time::sleep(every).await;
            self.look(&mut known).await;
        }
    }

    /// Reads the files again if they have changed.
    pub(super) async fn look(&self, known: &mut Stamp) {
        let stamp = self.stamp();
        if stamp == *known {
            return;
        }
        *known = stamp;
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || load(&inner.cert, &inner.key)).await {
            Ok(Ok(Loaded { config, fingerprint })) => {
                *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(sha256 = fingerprint, "the web page has a new certificate");
            }
            Ok(Err(error)) => tracing::error!(
                "the web page keeps its old certificate, because the new one cannot be used: \
                 {error}"
            ),
            Err(error) => tracing::error!("the web page keeps its old certificate: {error}"),
        }
    }

    pub(super) fn stamp(&self) -> Stamp {
        let stamp = |metadata: std::fs::Metadata| Some((metadata.modified().ok()?, metadata.ino()));
        Stamp([&self.0.cert, &self.0.key].map(|path| std::fs::metadata(path).ok().and_then(stamp)))
    }
}

/// When both files were written; files that are replaced are other ones, however soon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([Option<(SystemTime, u64)>; 2]);

fn load(cert: &Path, key: &Path) -> Result<Loaded, String> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    let Some(own) = chain.first() else { return Err("it holds no certificate".to_owned()) };
    let fingerprint =
        Sha256::digest(own).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| format!("{}: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(chassis::tls::provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded { config, fingerprint })
}

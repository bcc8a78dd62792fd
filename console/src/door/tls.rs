//! The page's own certificate, for browsers: read at the start, and again when its files change. A broken new one is not used.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use chassis::Failure;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::Options;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A certificate in use. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Inner>);

struct Inner {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files that the options name; none when they name none.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(options: &Options) -> Result<Option<Self>, Failure> {
        let (Some(cert), Some(key)) = (options.tls_cert.clone(), options.tls_key.clone()) else { return Ok(None) };
        let current = load(&cert, &key).map_err(|error| {
            Failure::new(format!("cannot use the web page's certificate {}: {error}", cert.display()))
                .remedy("give --tls-cert a PEM chain, the page's own certificate first, and --tls-key its key")
        })?;
        Ok(Some(Self(Arc::new(Inner { cert, key, current: RwLock::new(Arc::new(current)) }))))
    }

    /// For the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Reads the files again whenever they change. Never ends.
    pub async fn follow(self) {
        let mut known = self.stamp();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stamp = self.stamp();
            if stamp == known {
                continue;
            }
            known = stamp;
            let inner = Arc::clone(&self.0);
            let loaded = tokio::task::spawn_blocking(move || load(&inner.cert, &inner.key)).await;
            match loaded {
                Ok(Ok(config)) => {
                    *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    tracing::info!("the web page has a new certificate");
                }
                Ok(Err(error)) => tracing::error!("the web page keeps its old certificate, because the new one cannot be used: {error}"),
                Err(error) => tracing::error!("the web page keeps its old certificate: {error}"),
            }
        }
    }

    fn stamp(&self) -> [Option<SystemTime>; 2] {
        [&self.0.cert, &self.0.key].map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
    }
}

fn load(cert: &Path, key: &Path) -> Result<ServerConfig, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let chain = CertificateDer::pem_slice_iter(&read(cert)?).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if chain.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| format!("{}: {error}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(chassis::tls::provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

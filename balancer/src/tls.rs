//! TLS with clients: which certificate a client gets, and what becomes of files that change.
//!
//! An [`Acceptor`] belongs to a frontend's settings and outlives generations that leave them as
//! they are. It reads its files when it is made, where what cannot be used is an error of the
//! configuration, and looks at them again every few seconds ([`EVERY`]): what has changed and can
//! be used is shown to the next client, what cannot leaves the old ones in force and is complained
//! about.

pub mod names;
pub mod told;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use cluster_config::{
    authorities,
    document::balancer::{Tls as Settings, TlsVersion},
};
use dataplane::hash::Hasher;
use jiff::Timestamp;
use relay::tls::ServerConfig;
use rustls::{
    RootCertStore,
    crypto::ring::Ticketer,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ServerSessionMemoryCache, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use names::ByName;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_secs(5);
/// HTTP/2 by its name in handshakes (ALPN).
pub const HTTP2: &[u8] = b"h2";
/// Sessions of TLS 1.2 that are remembered; those of 1.3 clients remember themselves.
const SESSIONS: usize = 4096;
/// Files of certificates are no larger.
const MOST: u64 = 1 << 20;

/// What accepts the TLS of a frontend.
pub struct Acceptor {
    settings: Settings,
    within: Within,
    current: ArcSwap<ServerConfig>,
    state: Mutex<State>,
}

/// What is spoken within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// Nobody here knows.
    Any,
    Http1,
    /// HTTP/2, or HTTP/1.1.
    Http,
}

impl Within {
    /// Whoever offers both gets the first.
    fn protocols(self) -> Vec<Vec<u8>> {
        let (http1, http2) = (b"http/1.1".to_vec(), HTTP2.to_vec());
        match self {
            Self::Any => Vec::new(),
            Self::Http1 => vec![http1],
            Self::Http => vec![http2, http1],
        }
    }
}

/// What is known of its files.
#[derive(Clone, Debug)]
struct State {
    /// Of what was read last.
    seen: u64,
    /// When the first of the certificates in force ends.
    expires: Timestamp,
    /// Why those that are there now cannot be used.
    problem: Option<String>,
}

/// What there is to say of an acceptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// When the first of the certificates in force ends.
    pub expires: Timestamp,
    /// Why the files that are there now cannot be used.
    pub problem: Option<String>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Acceptor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Reads the files. Slow as a disk is: not for a worker.
    ///
    /// # Errors
    /// What cannot be used, by its file, with the remedy.
    pub fn new(settings: &Settings, within: Within, now: Timestamp) -> Result<Self, String> {
        let files = Files::read(settings)?;
        let (config, expires) = build(settings, &files, within, now)?;
        let state = State { seen: files.hash(), expires, problem: None };
        let current = ArcSwap::from_pointee(config);
        Ok(Self { settings: settings.clone(), within, current, state: Mutex::new(state) })
    }

    /// Whether it was made of these words.
    #[must_use]
    pub fn is_for(&self, settings: &Settings, within: Within) -> bool {
        self.settings == *settings && self.within == within
    }

    /// For the next client.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks at the files. `Some`: something has changed, for better or worse.
    pub fn refresh(&self, now: Timestamp) -> Option<Report> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&self.settings);
        let seen = files.as_ref().map_or_else(|problem| hash([problem.as_bytes()]), Files::hash);
        if seen == state.seen {
            return None;
        }
        state.seen = seen;
        match files.and_then(|files| build(&self.settings, &files, self.within, now)) {
            Ok((config, expires)) => {
                self.current.store(Arc::new(config));
                (state.expires, state.problem) = (expires, None);
            }
            Err(problem) => state.problem = Some(problem),
        }
        Some(Report { expires: state.expires, problem: state.problem.clone() })
    }

    /// What there is to say of it.
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Report { expires: state.expires, problem: state.problem.clone() }
    }
}

/// What the files hold.
struct Files {
    /// Certificate and key, as often as there are.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, String> {
        let pairs = settings.certificates.iter();
        let pairs = pairs.map(|it| Ok((read(&it.certificate)?, read(&it.key)?)));
        Ok(Self {
            pairs: pairs.collect::<Result<_, String>>()?,
            client_ca: settings.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn hash(&self) -> u64 {
        let pairs = self.pairs.iter().flat_map(|(certificate, key)| [&certificate[..], key]);
        hash(pairs.chain(self.client_ca.as_deref()))
    }
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = Hasher::default();
    for part in parts {
        hasher.write(&(part.len() as u64).to_be_bytes());
        hasher.write(part);
    }
    hasher.finish()
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let read = || {
        if fs::metadata(Path::new(path))?.len() > MOST {
            return Err(io::Error::other("it is larger than any certificate"));
        }
        fs::read(path)
    };
    read().map_err(|error| {
        format!("{path} cannot be read: {error}; give this process a file that it may read")
    })
}

/// The configuration for new connections, and when the first of its certificates ends.
fn build(
    settings: &Settings,
    files: &Files,
    within: Within,
    now: Timestamp,
) -> Result<(ServerConfig, Timestamp), String> {
    let provider = chassis::tls::provider();
    let (mut by_name, mut expires) = (ByName::default(), Timestamp::MAX);
    for (paths, (certificate, key)) in settings.certificates.iter().zip(&files.pairs) {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{}: {error}", paths.certificate))?;
        let Some(own) = chain.first() else {
            return Err(format!("{} holds no certificate in PEM form", paths.certificate));
        };
        let said = names::read(own).ok_or_else(|| {
            format!("{} holds something that is no certificate", paths.certificate)
        })?;
        if said.not_after <= now {
            return Err(format!(
                "the certificate in {} has ended on {}; renew it",
                paths.certificate, said.not_after
            ));
        }
        expires = expires.min(said.not_after);
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| format!("{} holds no key: {error}", paths.key))?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            format!("{} is not the key of {}: {error}", paths.key, paths.certificate)
        })?;
        by_name.add(said.names, Arc::new(certified));
    }
    let versions = match settings.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12][..],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match (&settings.client_ca, &files.client_ca) {
        (Some(path), Some(pem)) => {
            let mut roots = RootCertStore::empty();
            let read = authorities::read(pem).map_err(|error| format!("{path}: {error}"))?;
            roots.add_parsable_certificates(read);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if settings.client_certificates_optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier.build().map_err(|error| format!("{path}: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = within.protocols();
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok((config, expires))
}

#[cfg(test)]
mod tests;

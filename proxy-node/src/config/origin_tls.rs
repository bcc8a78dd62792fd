//! Whom this node believes when it speaks TLS with an origin. There is no way to believe everybody.

use std::sync::Arc;

use cluster_config::document::proxy::OriginTls as Document;
use relay::tls::ClientConfig;
use rustls::{RootCertStore, client::Resumption, pki_types::CertificateDer};

/// Sessions that are remembered to be resumed. What a server may have us keep for one is some 100
/// KiB at most.
const SESSIONS: usize = 128;

/// Whom this node believes, and the sessions that it has had with them.
#[derive(Debug)]
pub struct OriginTls {
    client: Arc<ClientConfig>,
    /// The authorities, by their certificates.
    trusted: Vec<CertificateDer<'static>>,
    /// Tells connections apart that were made when others were trusted.
    mark: u64,
}

impl OriginTls {
    /// With these authorities, those of the bundle. Reads those of the system where they are
    /// trusted, too, which may take as long as a disk takes.
    #[must_use]
    pub fn new(document: &Document, mut trusted: Vec<CertificateDer<'static>>) -> Self {
        if document.system_ca {
            trusted.extend(of_the_system());
        }
        Self::of(trusted)
    }

    /// Nobody is believed.
    #[must_use]
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    fn of(trusted: Vec<CertificateDer<'static>>) -> Self {
        let mut roots = RootCertStore::empty();
        // A system may keep some that rustls does not read; the others do.
        roots.add_parsable_certificates(trusted.iter().cloned());
        let builder = ClientConfig::builder_with_provider(chassis::tls::provider());
        #[expect(clippy::expect_used, reason = "ring knows both versions")]
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3");
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        Self { client: Arc::new(client), trusted, mark: 0 }
    }

    /// Keeps the sessions of the generation before, if the same are trusted; otherwise nothing that
    /// was believed then is believed now.
    #[must_use]
    pub fn after(now: Arc<Self>, before: &Arc<Self>) -> Arc<Self> {
        if now.trusted == before.trusted {
            return Arc::clone(before);
        }
        Arc::new(Self {
            client: Arc::clone(&now.client),
            trusted: now.trusted.clone(),
            mark: before.mark + 1,
        })
    }

    /// Tells connections apart that were made when others were trusted.
    #[must_use]
    pub const fn mark(&self) -> u64 {
        self.mark
    }

    /// What a session is begun with.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// How many authorities are trusted.
    #[must_use]
    pub fn authorities(&self) -> usize {
        self.trusted.len()
    }
}

/// Those whom the system trusts.
fn of_the_system() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        tracing::warn!(
            causes = causes.join("; "),
            "this system has no certificates of authorities: https:// in absolute form needs \
             proxy.origin_tls.ca_file"
        );
    }
    found.certs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_outlive_a_revision_that_trusts_the_same_and_no_other() {
        let authority = include_bytes!("../../../crates/cluster-config/tests/authority.pem");
        let read = cluster_config::authorities::read(authority).unwrap();
        let document = Document { ca_file: None, system_ca: false };
        let new = |trusted| Arc::new(OriginTls::new(&document, trusted));
        let first = new(Vec::new());
        assert!(Arc::ptr_eq(&first, &OriginTls::after(new(Vec::new()), &first)));
        let other = OriginTls::after(new(read), &first);
        assert!(!Arc::ptr_eq(&first.client, &other.client) && other.mark() != first.mark());
        assert_eq!((first.authorities(), other.authorities()), (0, 1));
    }
}

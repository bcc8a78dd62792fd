//! TLS to origins, for requests whose client leaves that to this node: whom it believes, and
//! connections with those whom it does.
//!
//! There is no way to believe everybody. The name in the certificate is the host of the request in
//! its normal form, an address where that is one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_config::document::proxy::OriginTls as Document;
use relay::{
    fault::Fault,
    stream::Stream,
    tls::{self, ClientConfig, ServerName},
};
use rustls::{RootCertStore, client::Resumption, pki_types::CertificateDer};

use crate::{request::Destination, respond::Failure, steps::Step};

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

    /// How many authorities are trusted.
    #[must_use]
    pub fn authorities(&self) -> usize {
        self.trusted.len()
    }

    /// Speaks TLS on a connection with a destination, which has to show who it is before `until`.
    ///
    /// # Errors
    /// It is not believed, or no session came to be.
    pub async fn start(
        &self,
        stream: Stream,
        destination: &Destination,
        until: Instant,
    ) -> Result<Stream, Failure> {
        let name = server_name(destination).ok_or(Failure::Tls(tls::Error::WrongName))?;
        let left =
            until.saturating_duration_since(relay::clock::now()).max(Duration::from_millis(1));
        let step = Step::begin();
        let begun =
            stream.start_tls(Arc::clone(&self.client), name, left).await.map_err(
                |fault| match fault {
                    Fault::Timeout(_) => Failure::HandshakeTimeout,
                    Fault::Tls(error) => Failure::Tls(error),
                    Fault::Exhausted => Failure::Limit,
                    _ => Failure::HandshakeCut,
                },
            );
        if let Some(step) = step {
            step.secured(&destination.host, &begun);
        }
        begun
    }
}

/// The name that the certificate has to be for. Not every name that can be asked for can stand in
/// one.
fn server_name(destination: &Destination) -> Option<ServerName<'static>> {
    match destination.address {
        Some(address) => Some(ServerName::from(address)),
        None => ServerName::try_from(destination.host.to_string()).ok(),
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

    #[test]
    fn a_certificate_is_for_the_host_of_the_request() {
        let name = |host: &str| {
            let destination =
                Destination { host: host.into(), address: host.parse().ok(), port: 443, tls: true };
            server_name(&destination).map(|name| name.to_str().into_owned())
        };
        assert_eq!(name("a.example").as_deref(), Some("a.example"));
        assert_eq!(name("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(name("2001:db8::1").as_deref(), Some("2001:db8::1"));
        assert_eq!(name("under_score.example").as_deref(), Some("under_score.example"));
        assert_eq!(name("-.example"), None);
    }
}

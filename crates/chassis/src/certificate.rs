//! What certificates say of themselves, those included that nobody would believe: for whoever looks
//! after them. Nothing here is trust.

use std::{io, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{connect::Transport, role::Identity, tls};

const WITHIN: Duration = Duration::from_secs(2);

/// A certificate's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is; none when it is not one of ours, as an authority's is not.
    pub identity: Option<Identity>,
    /// It begins.
    pub not_before: Timestamp,
    /// It ends.
    pub not_after: Timestamp,
}

impl Certificate {
    /// Reads one (DER).
    #[must_use]
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let validity = certificate.validity();
        Some(Self {
            identity: Identity::of_certificate(der).ok(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// All in a PEM file.
    ///
    /// # Errors
    /// It cannot be read, or holds something else.
    pub fn of_file(path: &Path) -> io::Result<Vec<Self>> {
        let unreadable = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no certificate in PEM form", path.display()),
            )
        };
        let bytes = std::fs::read(path)?;
        let ders: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|_| unreadable())?;
        ders.iter().map(|der| Self::of_der(der).ok_or_else(unreadable)).collect()
    }
}

/// The certificate that whoever listens at `address` shows, whatever it is worth. Nothing is sent
/// there.
///
/// # Errors
/// Nobody answers there in time, or not with TLS.
pub(crate) async fn shown_at(
    address: &str,
    transport: &Transport,
) -> io::Result<Option<Certificate>> {
    let Transport::Mutual(credentials) = transport else { return Ok(None) };
    let mut config = (*credentials.current().client).clone();
    config.dangerous().set_certificate_verifier(Arc::new(Anybody(tls::provider())));
    let look = async {
        let tcp = TcpStream::connect(address).await?;
        let nobody = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
        let tls = TlsConnector::from(Arc::new(config)).connect(nobody, tcp).await?;
        Ok(tls
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|der| Certificate::of_der(der)))
    };
    timeout(WITHIN, look)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
}

/// Looks at servers without believing them: for connections over which nothing is said.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

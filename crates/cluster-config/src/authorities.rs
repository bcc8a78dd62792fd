//! Certificates of authorities: the one reader of such files, for validation and for nodes.

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// What is wrong with a file of certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// There is no certificate in it.
    #[error("there is no certificate in this file")]
    Empty,
    /// It is not PEM, or not whole.
    #[error("certificate {0} cannot be read: {1}")]
    Pem(usize, String),
    /// It is no certificate that others can be verified with.
    #[error("certificate {0} cannot be an authority: {1}")]
    Certificate(usize, String),
}

/// Reads the certificates of a PEM file, each of which can be trusted as an authority. What else is
/// in the file is passed over.
///
/// # Errors
/// The first thing that is wrong, by the place of the certificate in the file, from 1.
pub fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unreadable> {
    let mut certificates = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate =
            certificate.map_err(|error| Unreadable::Pem(index + 1, error.to_string()))?;
        let usable = RootCertStore::empty().add(certificate.clone());
        usable.map_err(|error| Unreadable::Certificate(index + 1, error.to_string()))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() { Err(Unreadable::Empty) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../tests/authority.pem");

    #[test]
    fn only_whole_certificates_pass() {
        assert_eq!(read(GOOD.as_bytes()).map(|all| all.len()), Ok(1));
        assert_eq!(read(format!("a comment\n{GOOD}{GOOD}").as_bytes()).map(|all| all.len()), Ok(2));
        for nothing in
            ["", "words", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            assert_eq!(read(nothing.as_bytes()), Err(Unreadable::Empty), "{nothing:?}");
        }
        let cut = &GOOD[..GOOD.len() / 2];
        assert!(
            matches!(read(cut.as_bytes()), Err(Unreadable::Pem(1, _))),
            "{:?}",
            read(cut.as_bytes())
        );
        let spoilt =
            format!("{GOOD}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(
            matches!(read(spoilt.as_bytes()), Err(Unreadable::Certificate(2, _))),
            "{:?}",
            read(spoilt.as_bytes())
        );
    }
}

//! The certificate with which everybody speaks TLS: ECDSA P-256, signed by an authority of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// Certificate and key as files, and whom to believe.
#[derive(Debug)]
pub struct Certificate {
    /// What clients trust.
    pub authority: CertificateDer<'static>,
    directory: TempDir,
}

impl Certificate {
    /// Whose it is.
    pub const NAME: &str = "proxy.bench.test";

    /// A new one.
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let own = CertificateParams::new([Self::NAME.to_owned()])?.signed_by(&key, &authority)?;
        let directory = tempfile::tempdir()?;
        let (certificate, key) = (own.pem(), key.serialize_pem());
        let made = Self { authority: authority.der().clone(), directory };
        fs::write(made.certificate(), &certificate)?;
        fs::write(made.key(), &key)?;
        fs::write(made.both(), certificate + &key)?;
        Ok(made)
    }

    /// The file of the certificate.
    pub fn certificate(&self) -> PathBuf {
        self.file("own.crt")
    }

    /// The file of its key.
    pub fn key(&self) -> PathBuf {
        self.file("own.key")
    }

    /// The file of both, as HAProxy reads them.
    pub fn both(&self) -> PathBuf {
        self.file("own.pem")
    }

    fn file(&self, name: &str) -> PathBuf {
        Path::join(self.directory.path(), name)
    }
}

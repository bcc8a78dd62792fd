//! TLS at a frontend: clients speak HTTPS to the proxy.

use serde::{Deserialize, Serialize};

/// With which certificates, and with whom. The files are the balancer's own, not the bundle's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The first is shown to clients that name nobody, or nobody who is known.
    pub certificates: Vec<Certificate>,
    /// Clients show a certificate of one of the authorities in this file.
    #[serde(default)]
    pub client_ca: Option<String>,
    /// Who shows none is served as well.
    #[serde(default)]
    pub client_certificates_optional: bool,
    /// Older versions are refused.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Absolute path of the PEM file with its chain, its own first.
    pub certificate: String,
    /// Absolute path of the PEM file with its key.
    pub key: String,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

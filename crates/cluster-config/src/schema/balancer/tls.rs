//! TLS at a frontend.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::notation::HostFile;
use crate::document::balancer as document;

/// Clients speak TLS with the balancer: curl's `--proxy https://…`, and "HTTPS" proxies of
/// browsers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Which one a client gets, the name says that it asks for; the first, where it asks for none
    /// that is known. Changed files are read within seconds; what cannot be used leaves the old
    /// ones in force, and is complained about.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// The authorities of clients' certificates.
    #[serde(default)]
    pub client_ca: Option<HostFile>,
    /// Whether clients have to show a certificate; `required` where `client_ca` is named. One that
    /// is shown has to be good in any case.
    #[serde(default)]
    pub client_certificates: Option<ClientCertificates>,
    /// Older versions are refused.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// A certificate with its key, in files of the balancer's host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// PEM, its chain behind it.
    pub certificate: HostFile,
    /// PEM.
    pub key: HostFile,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// Who shows none is served as well.
    Optional,
    /// Who shows none is not served.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

impl From<Tls> for document::Tls {
    fn from(written: Tls) -> Self {
        let certificate = |it: Certificate| document::Certificate {
            certificate: it.certificate.value,
            key: it.key.value,
        };
        Self {
            certificates: written.certificates.into_iter().map(certificate).collect(),
            client_ca: written.client_ca.map(|file| file.value),
            client_certificates_optional: matches!(
                written.client_certificates,
                Some(ClientCertificates::Optional)
            ),
            min_version: match written.min_version {
                TlsVersion::V1_2 => document::TlsVersion::V1_2,
                TlsVersion::V1_3 => document::TlsVersion::V1_3,
            },
        }
    }
}

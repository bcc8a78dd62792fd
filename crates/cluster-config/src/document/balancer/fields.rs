//! Header fields that a frontend sets, adds and removes, and what their values are made of.

use serde::{Deserialize, Serialize};

/// What becomes of the fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// In the place of whatever the message says there.
    pub set: Vec<Field>,
    /// Beside it.
    pub add: Vec<Field>,
    /// Names, in lower case.
    pub remove: Vec<String>,
}

impl Fields {
    /// Whether the message stays as it is.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// As it is written in the bundle.
    pub name: String,
    /// Its parts, in order.
    pub value: Vec<Part>,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// As it is.
    Text(String),
    /// The client's address.
    Client,
    /// The client's port.
    ClientPort,
    /// Name of the frontend.
    Frontend,
    /// The address where the client came in.
    Listener,
    /// The request's id.
    RequestId,
    /// `https` where clients speak TLS, or else `http`.
    Scheme,
    /// The name that a TLS client asked for.
    Sni,
    /// `TLSv1.3`.
    TlsVersion,
    /// `SUCCESS` where the client has shown a certificate, which was verified; `NONE` where not.
    ClientVerified,
    /// The subject of that certificate.
    ClientSubject,
    /// The common name in it.
    ClientName,
}

impl Part {
    /// Placeholders by what a bundle calls them.
    pub const PLACEHOLDERS: [(&'static str, Self); 11] = [
        ("client", Self::Client),
        ("client_port", Self::ClientPort),
        ("frontend", Self::Frontend),
        ("listener", Self::Listener),
        ("request_id", Self::RequestId),
        ("scheme", Self::Scheme),
        ("sni", Self::Sni),
        ("tls_version", Self::TlsVersion),
        ("client_verified", Self::ClientVerified),
        ("client_subject", Self::ClientSubject),
        ("client_name", Self::ClientName),
    ];
}

//! What TLS told of a client: servers, nodes and header fields hear of it.

use std::rc::Rc;

use relay::{
    proxy_protocol,
    stream::Stream,
    tls::{CertificateDer, ProtocolVersion},
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The name that it asked for.
    pub sni: Option<Box<str>>,
    /// As OpenSSL writes it.
    pub version: &'static str,
    /// Whose certificate it has shown; none: it has shown none.
    pub certificate: Option<Subject>,
}

/// Whom a verified certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The whole, as in `O=Example, CN=alice`.
    pub text: Box<str>,
    /// The common name in it.
    pub common_name: Option<Box<str>>,
}

impl Told {
    /// What the handshake of a client told; none: it does not speak TLS.
    #[must_use]
    pub fn of(client: &Stream) -> Option<Rc<Self>> {
        let session = client.session()?;
        Some(Rc::new(Self {
            sni: session.name.map(Into::into),
            version: match session.version {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            certificate: session.certificate.map(Subject::of),
        }))
    }

    /// For a PROXY header.
    #[must_use]
    pub fn header(&self) -> proxy_protocol::Tls<'_> {
        proxy_protocol::Tls {
            authority: self.sni.as_deref(),
            version: self.version,
            verified: self.certificate.is_some(),
            common_name: self.certificate.as_ref().and_then(|it| it.common_name.as_deref()),
        }
    }
}

impl Subject {
    /// Of a certificate, which was verified, and so is one.
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return Self { text: "".into(), common_name: None };
        };
        let subject = parsed.subject();
        let common_name = subject.iter_common_name().next().and_then(|it| it.as_str().ok());
        Self { text: subject.to_string().into(), common_name: common_name.map(Into::into) }
    }

    /// The name by which logs know it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.common_name.as_deref().unwrap_or(&self.text)
    }
}

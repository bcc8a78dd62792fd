//! What can go wrong with TLS, as far as it makes a difference to whoever is told. The sessions
//! themselves are rustls'.

use std::io;

pub use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
pub use rustls::{ClientConfig, ProtocolVersion, ServerConfig};

/// What a client's handshake told.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// The name that it asked for.
    pub name: Option<&'a str>,
    /// Which version is spoken.
    pub version: Option<ProtocolVersion>,
    /// The certificate that it has shown, which was verified.
    pub certificate: Option<&'a CertificateDer<'a>>,
}

/// Why no TLS session came to be, or why one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The certificate's time is over.
    #[error("its certificate has expired")]
    Expired,
    /// The certificate's time has not come.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// The certificate is for others.
    #[error("its certificate is for another name")]
    WrongName,
    /// Nobody who is trusted has issued the certificate.
    #[error("its certificate comes from an authority that is not trusted here")]
    Untrusted,
    /// The certificate has been withdrawn.
    #[error("its certificate is revoked")]
    Revoked,
    /// The certificate cannot be used for another reason.
    #[error("its certificate cannot be used")]
    Certificate,
    /// The peer sent this alert (RFC 8446 §6).
    #[error("it answered with the TLS alert {:?}", AlertDescription::from(*.0))]
    Alert(u8),
    /// What came is no TLS.
    #[error("it does not speak TLS there")]
    NotTls,
    /// There is no version, cipher suite or protocol that both sides know.
    #[error("it has no TLS version, cipher suite or protocol in common with this side")]
    Incompatible,
    /// Anything else that TLS does not allow.
    #[error("it broke the TLS protocol")]
    Protocol,
}

impl Error {
    /// The peer did not show that it is who it should be.
    pub const fn is_certificate(self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::NotYetValid
                | Self::WrongName
                | Self::Untrusted
                | Self::Revoked
                | Self::Certificate
        )
    }

    /// The TLS error inside an error of a stream, where it is one.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<rustls::Error>().map(Self::from)
    }
}

impl From<&rustls::Error> for Error {
    fn from(error: &rustls::Error) -> Self {
        use rustls::Error as Rustls;
        match error {
            Rustls::InvalidCertificate(error) => Self::from(error),
            Rustls::NoCertificatesPresented => Self::Certificate,
            Rustls::AlertReceived(alert) => Self::Alert((*alert).into()),
            // The first byte says what a record holds; that of a text is none of TLS.
            Rustls::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Rustls::PeerIncompatible(_) | Rustls::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Protocol,
        }
    }
}

impl From<&CertificateError> for Error {
    fn from(error: &CertificateError) -> Self {
        use CertificateError as C;
        match error {
            C::Expired | C::ExpiredContext { .. } => Self::Expired,
            C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYetValid,
            C::NotValidForName | C::NotValidForNameContext { .. } => Self::WrongName,
            C::UnknownIssuer => Self::Untrusted,
            C::Revoked => Self::Revoked,
            _ => Self::Certificate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_streams_say_what_is_wrong() {
        let wrapped =
            |error: rustls::Error| Error::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, want) in [
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), Error::Untrusted),
            (rustls::Error::InvalidCertificate(CertificateError::BadSignature), Error::Certificate),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), Error::Alert(40)),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType), Error::NotTls),
            (rustls::Error::InvalidMessage(InvalidMessage::InvalidCcs), Error::Protocol),
            (rustls::Error::NoApplicationProtocol, Error::Incompatible),
        ] {
            assert_eq!(wrapped(error), Some(want));
        }
        assert_eq!(Error::of(&io::ErrorKind::InvalidData.into()), None);
        assert_eq!(
            Error::Alert(120).to_string(),
            "it answered with the TLS alert NoApplicationProtocol"
        );
    }
}

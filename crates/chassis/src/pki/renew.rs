//! Another certificate for who has one: the same role and name, the same hosts, a new key. Where
//! the two go is the caller's to say: they belong on the host that holds the ones before.

use std::{fs, io, net::IpAddr, path::Path, time::Duration};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::{Error, file, sign};
use crate::role::{Identity, NoIdentity};

/// What takes the place of a certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Renewed {
    /// Whom it names, as the one before did.
    pub identity: Identity,
    /// PEM.
    pub certificate: String,
    /// PEM; secret.
    pub key: String,
}

impl std::fmt::Debug for Renewed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Renewed").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Makes another certificate like `<name>.crt` in `directory`, expired or not, and writes nothing.
///
/// # Errors
/// There is none of that name, it is not one of ours, or the authority cannot be read.
pub fn renew(
    directory: &Path,
    name: &str,
    now: Timestamp,
    validity: Duration,
) -> Result<Renewed, Error> {
    let before = file(directory, name, "crt");
    let bytes = fs::read(&before).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Nothing(before.clone()),
        _ => Error::Read(before.clone(), error),
    })?;
    let foreign = |why| Error::Foreign(before.clone(), why);
    let der = CertificateDer::from_pem_slice(&bytes).map_err(|_| foreign(NoIdentity::Malformed))?;
    let identity = Identity::of_certificate(&der).map_err(foreign)?;
    let hosts = hosts(&der, &identity).ok_or_else(|| foreign(NoIdentity::Malformed))?;
    let signed = sign(directory, &identity, &hosts, now, validity)?;
    Ok(Renewed { identity, certificate: signed.certificate, key: signed.key })
}

/// The names and addresses that the certificate was issued with beside the usual ones.
pub(crate) fn hosts(der: &[u8], identity: &Identity) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let usual = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        format!("{}.shoal.internal", identity.role),
    ];
    let named = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    Some(named.filter(|host| !usual.contains(host)).collect())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use cluster::Service;

    use super::*;
    use crate::clock::Clock;
    use crate::{
        certificate::Certificate,
        pki::{VALIDITY, init, issue},
        role::Role,
    };

    #[test]
    fn the_same_identity_and_hosts_for_another_year_even_after_the_end() {
        let base = tempfile::tempdir().unwrap();
        let now = Clock::system().now();
        init(base.path(), &[], now, VALIDITY).unwrap();
        let hosts = ["node-7.example.com", "10.0.0.17", "fd00::17"].map(str::to_owned);
        let issued =
            issue(base.path(), Role::Service(Service::ProxyNode), "node-7", &hosts, now, VALIDITY)
                .unwrap();
        let before = fs::read(&issued.cert).unwrap();
        let later = now.checked_add(VALIDITY * 2).unwrap();
        let renewed = renew(base.path(), "node-7", later, VALIDITY).unwrap();
        assert_eq!(renewed.identity, issued.identity);
        assert_eq!(fs::read(&issued.cert).unwrap(), before, "nothing is written");
        let der = CertificateDer::from_pem_slice(renewed.certificate.as_bytes()).unwrap();
        assert_eq!(super::hosts(&der, &renewed.identity).unwrap(), hosts);
        let dates = Certificate::of_der(&der).unwrap();
        assert_eq!(
            dates.not_after.as_second(),
            later.as_second() + i64::try_from(VALIDITY.as_secs()).unwrap()
        );
        assert_ne!(renewed.key, fs::read_to_string(&issued.key).unwrap(), "a new key");
    }

    #[test]
    fn what_is_not_there_or_not_ours_is_refused() {
        let base = tempfile::tempdir().unwrap();
        init(base.path(), &[], Clock::system().now(), VALIDITY).unwrap();
        let renew = |name: &str| renew(base.path(), name, Clock::system().now(), VALIDITY);
        assert!(matches!(renew("node-1"), Err(Error::Nothing(_))));
        assert!(matches!(renew("ca"), Err(Error::Foreign(..))), "an authority names no role");
        fs::write(base.path().join("torn.crt"), "x").unwrap();
        assert!(matches!(renew("torn"), Err(Error::Foreign(..))));
    }
}

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
    use std::time::Duration;

    use cluster::Service;
    use rustls::pki_types::ServerName;
    use tokio::time::{Instant, sleep};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::clock::Clock;
    use crate::{
        certificate::Certificate,
        credentials::{Credentials, Files, LOOK_EVERY},
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

    const VALID: Duration = Duration::from_secs(7200);

    /// The certificate that `server` shows to `client` now.
    async fn shown(server: &Credentials, client: &Credentials) -> Vec<u8> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let acceptor = TlsAcceptor::from(server.current().server.clone());
        let connector = TlsConnector::from(client.current().client.clone());
        let name = ServerName::try_from("ignored.example").unwrap();
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far), connector.connect(name, near));
        accepted.unwrap();
        connected.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path();
        let files = |directory: &std::path::Path, name: &str| Files {
            ca: directory.join("ca.crt"),
            cert: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
        };
        let now = Clock::system().now();
        init(there, &[], now, VALID).unwrap();
        let role = Role::Service(cluster::Service::Registry);
        for name in ["registry-1", "registry-2"] {
            issue(there, role, name, &[], now, VALID).unwrap();
        }
        let ours = files(there, "registry-1");
        let server = Credentials::load(ours.clone(), Clock::system()).unwrap();
        let client = Credentials::load(files(there, "registry-2"), Clock::system()).unwrap();
        tokio::spawn(server.clone().follow());
        let before = shown(&server, &client).await;

        let again = there.join("again");
        std::fs::create_dir(&again).unwrap();
        for file in ["ca.crt", "ca.key"] {
            std::fs::copy(there.join(file), again.join(file)).unwrap();
        }
        issue(&again, role, "registry-1", &[], now, VALID).unwrap();
        let renewed = files(&again, "registry-1");
        // First only the certificate: it does not go with the old key, and the old pair stays in
        // use.
        std::fs::rename(renewed.cert, &ours.cert).unwrap();
        assert!(Credentials::load(ours.clone(), Clock::system()).is_err());
        sleep(2 * LOOK_EVERY).await;
        assert_eq!(shown(&server, &client).await, before);
        std::fs::rename(renewed.key, &ours.key).unwrap();
        let changed = Instant::now();
        while shown(&server, &client).await == before {
            sleep(LOOK_EVERY / 10).await;
            assert!(changed.elapsed() <= 2 * LOOK_EVERY, "the new certificate is not used");
        }
    }
}

//! The cluster's own certificates: `init` makes the authority, the cluster key and the first
//! certificates; `issue` makes one more.
//!
//! Everything is one directory: `ca.crt`, `ca.key`, `cluster.key`, and `<name>.crt`, `<name>.key`
//! for each process or operator. Files are readable by their owner only and never overwritten, but
//! by `renew`. Issuing needs `ca.key`; running needs it not.

mod renew;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::{
    cluster_key::ClusterKey,
    role::{Identity, NoIdentity, Role},
    tls,
};

pub(crate) use renew::hosts;
pub use renew::{Renewed, renew};

/// What certificates last unless said otherwise: one year.
pub const VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// What the authority lasts: ten years.
pub const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Clocks may differ by so much.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Why there is no certificate. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    #[error("{} is not there: nothing to renew", .0.display())]
    Nothing(PathBuf),
    #[error("{} cannot be renewed: {}", .0.display(), .1)]
    Foreign(PathBuf, NoIdentity),
    #[error("{0:?} cannot be a name in a certificate (1 to 63 letters, digits, `-`, `_`, `.`)")]
    Name(String),
    #[error("{0:?} is neither a host name nor an address")]
    Host(String),
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    #[error("cannot make a key: the system has no randomness")]
    Randomness,
}

impl From<Error> for crate::error::Error {
    fn from(error: Error) -> Self {
        let remedy = match &error {
            Error::Exists(_) => {
                "choose another name or directory; `shoal pki renew NAME` makes another \
                 certificate for who has one, nothing else overwrites any"
            }
            Error::Nothing(_) => {
                "give the directory that it was issued in with --dir; `shoal pki issue` makes a \
                 first one"
            }
            Error::Foreign(..) => {
                "only what `shoal pki issue` or `shoal node enrol` made can be renewed"
            }
            Error::Write(..) => "check that the directory can be written to",
            Error::Read(..) => "issue where `shoal pki init` was run: it takes ca.crt and ca.key",
            Error::Name(_) | Error::Host(_) => "choose another one",
            Error::Generate(_) | Error::Randomness => "check ca.crt and ca.key",
        };
        Self::new(error.to_string()).remedy(remedy)
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Whom it names.
    pub identity: Identity,
    /// The authority, for `--ca`.
    pub ca: PathBuf,
    /// For `--cert`.
    pub cert: PathBuf,
    /// For `--key`.
    pub key: PathBuf,
}

/// What `init` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// For `--cluster-key`.
    pub cluster_key: PathBuf,
    /// The operator's certificate, `operator.crt`.
    pub operator: Issued,
    /// The others, in the order asked for.
    pub issued: Vec<Issued>,
}

/// Makes an authority, the cluster key, a certificate for the operator, and one for each of
/// `others`.
///
/// # Errors
/// Some file exists already (then nothing was written), or cannot be written.
pub fn init(
    directory: &Path,
    others: &[(Role, String)],
    now: Timestamp,
    validity: Duration,
) -> Result<Made, Error> {
    let operator = (Role::Operator, "operator".to_owned());
    let names: Vec<_> = std::iter::once(&operator).chain(others).cloned().collect();
    let mut wanted: Vec<PathBuf> =
        ["ca.crt", "ca.key", "cluster.key"].map(|file| directory.join(file)).into();
    for (role, name) in &names {
        check_name(*role, name)?;
        wanted.extend([file(directory, name, "crt"), file(directory, name, "key")]);
    }
    if let Some(there) = wanted.into_iter().find(|path| path.exists()) {
        return Err(Error::Exists(there));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Error::Write(directory.to_owned(), error))?;
    authority(directory, now)?;
    let cluster_key = directory.join("cluster.key");
    write_new(&cluster_key, new_cluster_key()?.to_text().as_bytes())?;
    let mut issued = names
        .iter()
        .map(|(role, name)| issue(directory, *role, name, &[], now, validity))
        .collect::<Result<Vec<_>, _>>()?;
    let operator = issued.remove(0);
    Ok(Made { ca: directory.join("ca.crt"), cluster_key, operator, issued })
}

/// Makes one certificate, with `hosts` (names or addresses) beside the usual ones. The directory
/// has to hold `ca.crt` and `ca.key`.
///
/// # Errors
/// The authority cannot be read, or the certificate exists already.
pub fn issue(
    directory: &Path,
    role: Role,
    name: &str,
    hosts: &[String],
    now: Timestamp,
    validity: Duration,
) -> Result<Issued, Error> {
    issue_to(directory, &check_name(role, name)?, hosts, now, validity)
}

/// As [`issue`], for so many processes as the identity says.
///
/// # Errors
/// As [`issue`].
pub fn issue_to(
    directory: &Path,
    identity: &Identity,
    hosts: &[String],
    now: Timestamp,
    validity: Duration,
) -> Result<Issued, Error> {
    let Identity { role, name, .. } = identity;
    check_name(*role, name)?;
    let (ca, cert, key) =
        (directory.join("ca.crt"), file(directory, name, "crt"), file(directory, name, "key"));
    if let Some(there) = [&cert, &key].into_iter().find(|path| path.exists()) {
        return Err(Error::Exists(there.clone()));
    }
    let signed = sign(directory, identity, hosts, now, validity)?;
    write_new(&key, signed.key.as_bytes())?;
    write_new(&cert, signed.certificate.as_bytes())?;
    Ok(Issued { identity: identity.clone(), ca, cert, key })
}

/// Both in PEM.
struct Signed {
    certificate: String,
    key: String,
}

fn sign(
    directory: &Path,
    identity: &Identity,
    hosts: &[String],
    now: Timestamp,
    validity: Duration,
) -> Result<Signed, Error> {
    let read =
        |path: &Path| fs::read_to_string(path).map_err(|error| Error::Read(path.to_owned(), error));
    let (ca, key) = (read(&directory.join("ca.crt"))?, read(&directory.join("ca.key"))?);
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&key)?)?;
    let own = KeyPair::generate()?;
    let certificate = leaf(identity, hosts, now, validity)?.signed_by(&own, &issuer)?;
    Ok(Signed { certificate: certificate.pem(), key: own.serialize_pem() })
}

fn file(directory: &Path, name: &str, extension: &str) -> PathBuf {
    directory.join(format!("{name}.{extension}"))
}

fn check_name(role: Role, name: &str) -> Result<Identity, Error> {
    let identity = Identity::new(role, name);
    let reserved = matches!(name, "ca" | "cluster") || name.starts_with(['.', '-']);
    if reserved || Identity::from_uri(&identity.uri()).as_ref() != Some(&identity) {
        Err(Error::Name(name.to_owned()))
    } else {
        Ok(identity)
    }
}

fn authority(directory: &Path, now: Timestamp) -> Result<(), Error> {
    let mut params = dated(now, AUTHORITY_VALIDITY);
    params.distinguished_name.push(DnType::CommonName, "Shoal cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    write_new(&directory.join("ca.key"), key.serialize_pem().as_bytes())?;
    write_new(&directory.join("ca.crt"), certificate.pem().as_bytes())
}

fn leaf(
    identity: &Identity,
    hosts: &[String],
    now: Timestamp,
    validity: Duration,
) -> Result<CertificateParams, Error> {
    let mut params = dated(now, validity);
    params.distinguished_name.push(DnType::CommonName, identity.name.clone());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = vec![
        SanType::URI(identity.uri().try_into()?),
        SanType::DnsName(format!("{}.shoal.internal", identity.role).try_into()?),
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
    ];
    if let Some(uri) = identity.replicas_uri() {
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    }
    for host in hosts {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '*');
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if !host.is_empty() && host.chars().all(known) => {
                SanType::DnsName(host.as_str().try_into()?)
            }
            Err(_) => return Err(Error::Host(host.clone())),
        });
    }
    Ok(params)
}

fn dated(now: Timestamp, validity: Duration) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = epoch + seconds.saturating_sub(BACKDATED);
    params.not_after = epoch + seconds + validity;
    params
}

fn new_cluster_key() -> Result<ClusterKey, Error> {
    let mut bytes = [0; 32];
    tls::provider().secure_random.fill(&mut bytes).map_err(|_| Error::Randomness)?;
    Ok(ClusterKey::new(bytes))
}

/// Writes a file that does not exist yet, for its owner only.
fn write_new(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::Write(path.to_owned(), error),
    };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use cluster::Service;

    use super::*;
    use crate::clock::Clock;

    fn listing(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    #[test]
    fn makes_once_and_overwrites_nothing() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("pki");
        let node = (Role::Service(Service::ProxyNode), "node-1".to_owned());
        let made =
            init(&directory, std::slice::from_ref(&node), Clock::system().now(), VALIDITY).unwrap();
        assert_eq!(made.issued[0].identity.uri(), "spiffe://shoal/proxy-node/node-1");
        assert!(ClusterKey::read(&made.cluster_key).is_ok());
        let before = listing(&directory);
        assert_eq!(before.len(), 7);
        for (path, _) in &before {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
        assert!(matches!(
            init(&directory, &[], Clock::system().now(), VALIDITY),
            Err(Error::Exists(_))
        ));
        assert!(matches!(
            issue(&directory, node.0, &node.1, &[], Clock::system().now(), VALIDITY),
            Err(Error::Exists(_))
        ));
        assert_eq!(listing(&directory), before);
    }

    #[test]
    fn refuses_bad_names_and_needs_the_authority() {
        let base = tempfile::tempdir().unwrap();
        let issue = |name: &str, hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
            super::issue(base.path(), Role::Operator, name, &hosts, Clock::system().now(), VALIDITY)
        };
        assert!(matches!(issue("ann", &[]), Err(Error::Read(..))));
        init(base.path(), &[], Clock::system().now(), VALIDITY).unwrap();
        for name in ["", "../x", "a b", "ca", "cluster", ".x", "é"] {
            assert!(matches!(issue(name, &[]), Err(Error::Name(_))), "{name:?}");
        }
        assert!(matches!(issue("bob", &["a b"]), Err(Error::Host(_))));
        issue("ann", &["host.example", "10.0.0.1", "fd00::1"]).unwrap();
    }
}

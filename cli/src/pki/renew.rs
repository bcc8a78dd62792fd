//! `shoal pki renew`: another certificate for who has one. A key that is in the authority's
//! directory is replaced there, and the process that reads it takes both up by itself. The key of
//! an enrolled host is on that host alone: what replaces it travels in an archive, as it did.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chassis::{
    Error, Role,
    data_dir::write_atomically,
    pki::{self, Renewed},
};
use cluster::Service;
use jiff::Timestamp;

use super::archive;

/// Where one pair goes.
enum Place {
    /// Beside the authority, where the one before is.
    Here,
    /// To the host that runs the service.
    Host(Service, PathBuf),
}

/// Renews everybody in `names`; answers what was done, and what to do.
///
/// # Errors
/// Somebody has no certificate here, or an archive is in the way: then nothing was changed. Or
/// something cannot be written.
pub fn run(
    dir: &Path,
    names: &[String],
    archives: &Path,
    now: Timestamp,
    validity: Duration,
) -> Result<Vec<String>> {
    let mut renewed = Vec::new();
    for name in names {
        let made = pki::renew(dir, name, now, validity).map_err(Error::from)?;
        let place = match made.identity.role {
            Role::Service(service) if !key(dir, name).exists() => {
                Place::Host(service, beneath(archives, &format!("{name}.tar")))
            }
            _ => Place::Here,
        };
        if let Place::Host(_, archive) = &place
            && archive.exists()
        {
            bail!(
                "{} exists already: unpack it on its host and remove it, or choose another \
                 --archives",
                archive.display()
            );
        }
        renewed.push((name, made, place));
    }
    renewed.into_iter().map(|(name, made, place)| put(dir, name, &made, &place)).collect()
}

/// Shown as short as it was meant.
fn beneath(directory: &Path, name: &str) -> PathBuf {
    if directory == Path::new(".") { name.into() } else { directory.join(name) }
}

fn key(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

/// The key comes first: until the certificate is there, too, the pair does not fit, and processes
/// keep what they have.
fn put(dir: &Path, name: &str, made: &Renewed, place: &Place) -> Result<String> {
    let certificate = dir.join(format!("{name}.crt"));
    let write = |path: &Path, content: &str| {
        write_atomically(path, content.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))
    };
    match place {
        Place::Here => {
            let key = key(dir, name);
            write(&key, &made.key)?;
            write(&certificate, &made.certificate)?;
            let whose = if made.identity.role == Role::Operator {
                ""
            } else {
                "; its process takes them up without a restart"
            };
            Ok(format!("{name}: {} and {} are new{whose}", certificate.display(), key.display()))
        }
        Place::Host(service, archive) => {
            let files = [
                ("tls.key", made.key.clone().into_bytes()),
                ("tls.crt", made.certificate.clone().into_bytes()),
            ];
            archive::write(archive, *service, &files)?;
            write(&certificate, &made.certificate)?;
            Ok(format!(
                "{name}: made {} for {service}. On its host, as root: tar -xpf {} -C / (taken up \
                 without a restart); then remove it here and there",
                archive.display(),
                archive.file_name().unwrap_or_default().to_string_lossy()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chassis::{
        Clock,
        credentials::{Credentials, Files},
    };

    use super::*;

    fn renew(dir: &Path, name: &str) -> Result<String> {
        run(dir, &[name.to_owned()], dir, chassis::Clock::system().now(), pki::VALIDITY)
            .map(|lines| lines.join("\n"))
    }

    #[test]
    fn in_place_where_the_key_is_and_as_an_archive_where_it_is_not() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        let now = chassis::Clock::system().now();
        let node = (Role::Service(Service::ProxyNode), "node-1".to_owned());
        let made =
            pki::init(dir, std::slice::from_ref(&node), now, Duration::from_secs(3600)).unwrap();
        let issued = &made.issued[0];
        let files =
            Files { ca: issued.ca.clone(), cert: issued.cert.clone(), key: issued.key.clone() };
        let credentials = Credentials::load(files, Clock::system()).unwrap();
        let before = credentials.current().expires;
        let said = renew(dir, "node-1").unwrap();
        assert!(said.contains("without a restart"), "{said}");
        assert!(credentials.reload().unwrap(), "a process takes them up");
        assert!(credentials.current().expires > before);

        // Enrolled on a host: the key is there alone.
        fs::remove_file(&issued.key).unwrap();
        let said = renew(dir, "node-1").unwrap();
        assert!(said.contains("tar -xpf node-1.tar -C /"), "{said}");
        assert!(!issued.key.exists(), "the key is in the archive alone");
        let mut archive = tar::Archive::new(fs::File::open(dir.join("node-1.tar")).unwrap());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "etc/shoal/proxy-node/",
                "etc/shoal/proxy-node/tls.key",
                "etc/shoal/proxy-node/tls.crt"
            ]
        );
        let record = fs::read(&issued.cert).unwrap();
        assert!(renew(dir, "node-1").unwrap_err().to_string().contains("exists already"));
        assert_eq!(fs::read(&issued.cert).unwrap(), record, "nothing was changed");
    }

    #[test]
    fn one_unknown_name_changes_nobody() {
        let scratch = tempfile::tempdir().unwrap();
        pki::init(scratch.path(), &[], chassis::Clock::system().now(), pki::VALIDITY).unwrap();
        let before = fs::read(scratch.path().join("operator.crt")).unwrap();
        let names = ["operator", "node-9"].map(str::to_owned);
        let refused = run(
            scratch.path(),
            &names,
            scratch.path(),
            chassis::Clock::system().now(),
            pki::VALIDITY,
        )
        .unwrap_err()
        .to_string();
        assert!(
            refused.contains("node-9.crt is not there") && refused.contains("shoal pki issue"),
            "{refused}"
        );
        assert_eq!(fs::read(scratch.path().join("operator.crt")).unwrap(), before);
    }
}

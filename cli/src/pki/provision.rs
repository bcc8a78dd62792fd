//! `shoal pki provision`: what a deployment does before every start. The authority is made once,
//! and each process finds its certificate in a directory of its own: `ca.crt`, `tls.crt`,
//! `tls.key`, and `cluster.key` for those who need it.
//!
//! Everything is looked at before anything is written, so that directories of two clusters are
//! never mixed. What is good is left alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use chassis::{
    Clock, Error, Identity, Role,
    credentials::{Credentials, Files},
    data_dir::write_atomically,
    pki,
};
use cluster::{Service, instance::may_be_named};
use jiff::Timestamp;

const CA: &str = "ca.crt";
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const CLUSTER_KEY: &str = "cluster.key";

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    directory: PathBuf,
    /// Whose directory it is, by its name.
    identity: Identity,
    /// The authority that it was filled by.
    ca: Option<Vec<u8>>,
    certificate: Certificate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Certificate {
    Absent,
    Good {
        until: Timestamp,
    },
    /// Why it cannot be used.
    Bad(String),
}

/// What has to be done for one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Keep { until: Timestamp },
    Issue { because: String },
}

/// Fills `directories` from the authority in `authority`, which is made when there is none; answers
/// what was done, a line for each.
///
/// # Errors
/// The directories are not of one cluster, or one has no name to go by (then nothing was changed),
/// or cannot be written.
pub fn run(
    authority: &Path,
    directories: &[PathBuf],
    now: Timestamp,
    validity: Duration,
) -> Result<Vec<String>, Error> {
    let ca = read(&authority.join(CA))?;
    let found = directories
        .iter()
        .map(|directory| look(authority, directory))
        .collect::<Result<Vec<_>, _>>()?;
    let steps = found
        .iter()
        .map(|found| decide(authority, ca.as_deref(), found, now, validity))
        .collect::<Result<Vec<_>, _>>()?;
    let mut lines = Vec::new();
    if ca.is_none() {
        make(authority, now, validity)?;
        lines.push(format!("{}: a new authority, with a cluster key", authority.display()));
    }
    for (found, step) in found.iter().zip(steps) {
        let shown = found.directory.display();
        lines.push(match step {
            Step::Keep { until } => format!("{shown}: kept, valid until {until:.0}"),
            Step::Issue { because } => {
                fill(authority, found, now, validity)?;
                format!("{shown}: issued to {}, because {because}", found.identity)
            }
        });
    }
    Ok(lines)
}

/// Whose directory this is: named as the process, which is named after its service.
fn identity(directory: &Path) -> Result<Identity, Error> {
    let name =
        directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let roles = std::iter::once(Role::Operator).chain(Service::ALL.map(Role::Service));
    roles
        .into_iter()
        .find(|role| may_be_named(role.as_str(), &name))
        .map(|role| Identity::new(role, name.as_str()))
        .ok_or_else(|| {
            let message = format!(
                "the directory {} is not named after a service or an operator",
                directory.display()
            );
            Error::new(message)
                .remedy("call it as the process that it is for, such as registry or balancer-1")
        })
}

fn look(authority: &Path, directory: &Path) -> Result<Found, Error> {
    let identity = identity(directory)?;
    if !directory.is_dir() {
        return Err(cannot_write(directory, &io::ErrorKind::NotFound.into()));
    }
    let files =
        Files { ca: authority.join(CA), cert: directory.join(CERT), key: directory.join(KEY) };
    let certificate = match files.cert.exists() {
        false => Certificate::Absent,
        true => match Credentials::load(files, Clock::system()) {
            Ok(credentials) if credentials.current().identity != identity => Certificate::Bad(
                format!("what was there is for {}", credentials.current().identity),
            ),
            Ok(_) if needs_cluster_key(&identity) && !directory.join(CLUSTER_KEY).exists() => {
                Certificate::Bad("the cluster key was missing".into())
            }
            Ok(credentials) => Certificate::Good { until: credentials.current().expires },
            Err(unusable) => Certificate::Bad(unusable.to_string()),
        },
    };
    Ok(Found {
        ca: read(&directory.join(CA))?,
        directory: directory.to_owned(),
        identity,
        certificate,
    })
}

/// What one directory needs. Pure.
fn decide(
    authority: &Path,
    ca: Option<&[u8]>,
    found: &Found,
    now: Timestamp,
    validity: Duration,
) -> Result<Step, Error> {
    let (shown, authority) = (found.directory.display(), authority.display());
    let begin_anew = "restore the authority that made it, or begin a new cluster with empty \
        directories (`docker-compose down -v` empties its volumes)";
    match (ca, &found.ca) {
        (None, Some(_)) => {
            return Err(Error::new(format!(
                "{shown} belongs to a cluster whose authority is not in {authority}"
            ))
            .remedy(begin_anew));
        }
        (Some(ours), Some(theirs)) if ours != theirs => {
            return Err(Error::new(format!(
                "{shown} belongs to another cluster than the authority in {authority}"
            ))
            .remedy(begin_anew));
        }
        _ => {}
    }
    let half = now.checked_add(validity / 2).unwrap_or(Timestamp::MAX);
    Ok(match &found.certificate {
        Certificate::Absent => Step::Issue { because: "there was none".to_owned() },
        Certificate::Bad(why) => Step::Issue { because: why.clone() },
        Certificate::Good { until } if *until < half => {
            Step::Issue { because: format!("the one before ends at {until:.0}") }
        }
        Certificate::Good { until } => Step::Keep { until: *until },
    })
}

/// Makes the authority, whole or not at all: an interrupted start leaves nothing that the next one
/// would trip over.
fn make(authority: &Path, now: Timestamp, validity: Duration) -> Result<(), Error> {
    let scratch = authority.with_extension("new");
    let written = |result: io::Result<()>| result.map_err(|error| cannot_write(authority, &error));
    if scratch.exists() {
        written(fs::remove_dir_all(&scratch))?;
    }
    pki::init(&scratch, &[], now, validity)?;
    written(fs::rename(&scratch, authority))
}

/// Gives a directory a certificate of its own. The certificate itself comes last: as long as it is
/// missing, the next run does it all again.
fn fill(authority: &Path, found: &Found, now: Timestamp, validity: Duration) -> Result<(), Error> {
    let Found { directory, identity, .. } = found;
    let leftover = |extension| authority.join(format!("{}.{extension}", identity.name));
    let tidy = || [leftover("crt"), leftover("key")].iter().try_for_each(|file| remove(file));
    tidy()?;
    let issued = pki::issue(authority, identity.role, &identity.name, &[], now, validity)?;
    remove(&directory.join(CERT))?;
    let mut copies = vec![(authority.join(CA), CA), (issued.key, KEY), (issued.cert, CERT)];
    if needs_cluster_key(identity) {
        copies.insert(0, (authority.join(CLUSTER_KEY), CLUSTER_KEY));
    }
    for (from, to) in copies {
        let content = fs::read(&from).map_err(|error| cannot_read(&from, &error))?;
        write_atomically(&directory.join(to), &content)
            .map_err(|error| cannot_write(directory, &error))?;
    }
    tidy()
}

/// Balancers and nodes prove themselves to each other with it.
fn needs_cluster_key(identity: &Identity) -> bool {
    matches!(identity.role, Role::Service(Service::Balancer | Service::ProxyNode))
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_read(file, &error)),
    }
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_write(file, &error)),
        _ => Ok(()),
    }
}

fn cannot_read(file: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot read {}: {error}", file.display())).remedy("check who may read it")
}

fn cannot_write(place: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot write {}: {error}", place.display()))
        .remedy("make the directory, for the user that this runs as")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Duration = Duration::from_secs(1000);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_a_directory_needs() {
        let good = |until| Certificate::Good { until: at(until) };
        for (authority, ca, certificate, expected) in [
            (None, None, Certificate::Absent, "issue: there was none"),
            (Some("a"), None, Certificate::Absent, "issue: there was none"),
            (Some("a"), Some("a"), good(10_999), "keep"),
            (Some("a"), Some("a"), good(10_500), "keep"),
            (Some("a"), Some("a"), good(10_499), "issue: the one before ends at"),
            (Some("a"), Some("a"), Certificate::Bad("it is torn".into()), "issue: it is torn"),
            (
                Some("a"),
                Some("b"),
                good(10_999),
                "belongs to another cluster than the authority in /authority; restore",
            ),
            (
                None,
                Some("b"),
                good(10_999),
                "belongs to a cluster whose authority is not in /authority; restore",
            ),
        ] {
            let identity = Identity::new(Role::Service(Service::Registry), "registry");
            let ca = ca.map(|ca: &str| ca.as_bytes().to_vec());
            let found = Found { directory: "/registry".into(), identity, ca, certificate };
            let said = match decide(
                Path::new("/authority"),
                authority.map(str::as_bytes),
                &found,
                at(10_000),
                VALIDITY,
            ) {
                Ok(Step::Keep { .. }) => "keep".to_owned(),
                Ok(Step::Issue { because }) => format!("issue: {because}"),
                Err(failure) => failure.to_string(),
            };
            assert!(said.contains(expected), "{found:?}: {said}");
        }
    }

    #[test]
    fn directories_are_named_after_their_processes() {
        for (name, role) in [
            ("registry", Some("registry")),
            ("proxy-node", Some("proxy-node")),
            ("balancer-2", Some("balancer")),
            ("operator", Some("operator")),
            ("operator-ann", Some("operator")),
            ("balancers", None),
            ("pki", None),
        ] {
            assert_eq!(
                identity(&Path::new("/pki").join(name)).ok().map(|identity| identity.role.as_str()),
                role,
                "{name}"
            );
        }
    }

    #[test]
    fn a_second_run_changes_nothing_and_a_third_mends_what_is_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let place = |path: &str| scratch.path().join(path);
        let directories: Vec<_> = ["registry", "balancer-1", "operator"].map(place).into();
        directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
        let provision = |now| run(&place("authority"), &directories, now, pki::VALIDITY).unwrap();
        let content = || {
            let places = ["registry", "balancer-1", "operator", "authority"].map(place);
            let files = places.iter().flat_map(|directory| {
                fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path())
            });
            let mut files: Vec<_> = files.map(|file| (fs::read(&file).unwrap(), file)).collect();
            files.sort();
            files
        };
        let now = Clock::system().now();
        assert_eq!(provision(now).len(), 4);
        assert!(
            !place("registry/cluster.key").exists() && place("balancer-1/cluster.key").exists(),
            "a key is where it is needed"
        );
        let files = Files {
            ca: place("balancer-1/ca.crt"),
            cert: place("balancer-1/tls.crt"),
            key: place("balancer-1/tls.key"),
        };
        assert_eq!(
            Credentials::load(files, Clock::system()).unwrap().current().identity.uri(),
            "spiffe://shoal/balancer/balancer-1"
        );

        let before = content();
        assert!(provision(now).iter().all(|line| line.contains(": kept, valid until")));
        assert!(content() == before);

        let registry = fs::read(place("registry/tls.crt")).unwrap();
        fs::remove_file(place("balancer-1/cluster.key")).unwrap();
        fs::write(place("operator/tls.crt"), "torn").unwrap();
        let lines = provision(now).join("\n");
        assert!(
            lines.contains("because the cluster key was missing")
                && lines.contains("holds no certificate"),
            "{lines}"
        );
        assert_eq!(
            fs::read(place("registry/tls.crt")).unwrap(),
            registry,
            "what is good is left alone"
        );
        assert!(provision(now).iter().all(|line| line.contains(": kept")));

        // In its second half of life.
        let later = now.checked_add(pki::VALIDITY * 6 / 10).unwrap();
        assert!(
            provision(later).iter().all(|line| line.contains("because the one before ends at"))
        );
    }

    #[test]
    fn another_cluster_s_directory_stops_it_before_anything_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        let place = |path: &str| scratch.path().join(path);
        fs::create_dir_all(place("theirs/registry")).unwrap();
        fs::create_dir_all(place("ours/balancer-1")).unwrap();
        let now = Clock::system().now();
        run(&place("theirs/authority"), &[place("theirs/registry")], now, pki::VALIDITY).unwrap();
        let mixed = [place("ours/balancer-1"), place("theirs/registry")];
        let refused =
            run(&place("ours/authority"), &mixed, now, pki::VALIDITY).unwrap_err().to_string();
        assert!(refused.contains("whose authority is not in"), "{refused}");
        assert!(!place("ours/authority").exists() && !place("ours/balancer-1/tls.crt").exists());
    }
}

//! What a lab is made with: certificates and the bundle, both made once and kept.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use chassis::{Error, Role, pki};
use proto::config::StartRolloutRequest;

use super::plan::{self, Member};
use crate::{
    cluster::{Cluster, call},
    config::{
        Words,
        apply::{commit, find},
        bundle::{self, Files},
    },
    labs::description::Operator,
};

const MAIN: &str = "cluster.yaml";

/// The lab's bundle inside its data directory.
#[must_use]
pub fn bundle_of(directory: &Path) -> PathBuf {
    directory.join("bundle")
}

/// What becomes of the lab's bundle.
pub enum Bundle {
    /// There is one, and it stays.
    Keep,
    /// This is written.
    Write(Files),
}

impl Bundle {
    /// Decides, changing nothing. `given` is the user's own bundle, `parent` a proxy that
    /// everything has to go through.
    ///
    /// # Errors
    /// The lab has another bundle already, or the parent is no address.
    pub fn choose(directory: &Path, given: Option<Files>, parent: Option<&str>) -> Result<Self> {
        let place = bundle_of(directory);
        let parent = parent.map(parent_address).transpose()?;
        let Ok(present) = std::fs::read_to_string(place.join(MAIN)) else {
            return Ok(Self::Write(
                given.unwrap_or_else(|| cluster_config::lab_bundle(parent.as_deref())),
            ));
        };
        let differs = match (given, parent) {
            (Some(given), _) => bundle::read(&place)? != given,
            // The rest of the bundle may have been edited since.
            (None, Some(parent)) => !present.contains(&parent),
            (None, None) => false,
        };
        if differs {
            bail!(
                "the lab in {} has another bundle already: edit {} and run `shoal config apply`, \
                 or run `shoal lab reset` first",
                directory.display(),
                place.display()
            );
        }
        Ok(Self::Keep)
    }

    /// Writes it where it has to be.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(self, directory: &Path) -> Result<()> {
        let Self::Write(files) = self else { return Ok(()) };
        let place = bundle_of(directory);
        for (path, bytes) in files {
            let path = place.join(path);
            let context = || format!("cannot write {}", path.display());
            std::fs::create_dir_all(path.parent().unwrap_or(&place)).with_context(context)?;
            std::fs::write(&path, bytes).with_context(context)?;
        }
        Ok(())
    }
}

/// `host:port` of a parent proxy given as a URL.
fn parent_address(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let remedy = "write for example http://proxy.corp.example:3128";
    if rest.contains("://") || rest.contains('/') || rest.contains('@') {
        bail!(
            "{url:?} cannot be a parent: it is reached over plain http, without a path and without \
             a password; {remedy}"
        );
    }
    match rest.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0) =>
        {
            Ok(rest.to_owned())
        }
        _ => bail!("the parent {url:?} has no port: {remedy}"),
    }
}

/// The lab's PKI.
#[derive(Debug)]
pub struct Papers {
    directory: PathBuf,
}

/// Makes the PKI when there is none, and certificates for members who have none or whose own grow
/// old.
///
/// # Errors
/// The directory cannot be written.
pub fn papers(directory: &Path, members: &[Member]) -> Result<Papers> {
    let papers = Papers { directory: directory.join("pki") };
    if !papers.directory.exists() {
        // Whole or not at all: an interrupted start leaves nothing that the next one would trip
        // over.
        let scratch = directory.join("pki.new");
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)
                .with_context(|| format!("cannot remove {}", scratch.display()))?;
        }
        let others: Vec<_> = members
            .iter()
            .map(|member| (Role::Service(member.service), member.name.clone()))
            .collect();
        pki::init(&scratch, &others, chassis::Clock::system().now(), pki::VALIDITY)
            .map_err(Error::from)?;
        std::fs::rename(&scratch, &papers.directory)
            .with_context(|| format!("cannot write {}", papers.directory.display()))?;
    }
    papers.renew(Role::Operator, OPERATOR)?;
    for member in members {
        papers.renew(Role::Service(member.service), &member.name)?;
    }
    Ok(papers)
}

/// Name of the operator whose certificate `init` makes.
const OPERATOR: &str = "operator";

impl Papers {
    /// Issues a certificate unless there is one that is in its first half of life.
    fn renew(&self, role: Role, name: &str) -> Result<()> {
        let (cert, key) = self.pair(name);
        let now = chassis::Clock::system().now();
        let issued = std::fs::metadata(&cert).and_then(|metadata| metadata.modified());
        if issued.is_ok_and(|issued| {
            let now = std::time::SystemTime::from(now);
            now.duration_since(issued).is_ok_and(|age| age < pki::VALIDITY / 2)
        }) && key.exists()
        {
            return Ok(());
        }
        for file in [&cert, &key] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        pki::issue(&self.directory, role, name, &[], now, pki::VALIDITY).map_err(Error::from)?;
        Ok(())
    }

    fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.directory.join(format!("{name}.crt")), self.directory.join(format!("{name}.key")))
    }

    /// What one member is given.
    #[must_use]
    pub fn of(&self, member: &Member) -> plan::Papers {
        let (cert, key) = self.pair(&member.name);
        plan::Papers {
            ca: self.directory.join("ca.crt"),
            cert,
            key,
            cluster_key: self.directory.join("cluster.key"),
        }
    }

    /// What the operator is given.
    #[must_use]
    pub fn operator(&self) -> Operator {
        let (cert, key) = self.pair(OPERATOR);
        Operator { ca: self.directory.join("ca.crt"), cert, key }
    }
}

/// Name of the user of the lab's console.
pub const CONSOLE_USER: &str = "operator";

/// The password of the lab's console, for its owner's eyes only, inside its data directory.
const PASSWORD: &str = "console.password";

/// The console's user and password, made once and kept. Whoever deletes the file gets another
/// password.
///
/// # Errors
/// The directory cannot be written.
pub fn console_password(directory: &Path) -> Result<String> {
    let path = directory.join(PASSWORD);
    let users = directory.join(plan::USERS);
    if let (Ok(password), true) = (std::fs::read_to_string(&path), users.exists()) {
        return Ok(password.trim().to_owned());
    }
    let password = console::auth::random::<10>()?;
    console::auth::users::set(&users, CONSOLE_USER, &password)?;
    let text = format!("{password}\n");
    chassis::data_dir::write_atomically(&path, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(password)
}

/// Gives the cluster its first revision, when it has none yet.
///
/// # Errors
/// The bundle has errors.
pub async fn release(cluster: &Cluster, directory: &Path) -> Result<()> {
    // The config-service is found through the registry, a moment after it is ready.
    let mut found = find(cluster, "newest").await;
    while found.is_err() {
        tokio::time::sleep(PAUSE).await;
        found = find(cluster, "newest").await;
    }
    let revision = match found? {
        Some(revision) => revision,
        None => {
            commit(
                cluster,
                &bundle::read(&bundle_of(directory))?,
                Words::new("shoal lab", "the lab's first configuration"),
            )
            .await?
        }
    };
    if find(cluster, "released").await?.is_some() {
        return Ok(());
    }
    // Nobody is there yet who could refuse.
    call(
        "the config-service",
        cluster.config().await?.start_rollout(StartRolloutRequest { revision: revision.id }),
    )
    .await?;
    while find(cluster, "released").await?.is_none() {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        for (url, address) in [
            ("http://proxy.test:3128", Some("proxy.test:3128")),
            ("http://proxy.test:3128/", Some("proxy.test:3128")),
            ("proxy.test:3128", Some("proxy.test:3128")),
            ("http://[::1]:3128", Some("[::1]:3128")),
            ("http://proxy.test", None),
            ("https://proxy.test:3128", None),
            ("http://me:secret@proxy.test:3128", None),
            ("http://:3128", None),
            ("proxy.test:0", None),
        ] {
            assert_eq!(parent_address(url).ok().as_deref(), address, "{url}");
        }
    }

    #[test]
    fn a_bundle_is_written_once_and_never_over_edits() {
        let scratch = tempfile::tempdir().unwrap();
        let Ok(Bundle::Write(files)) = Bundle::choose(scratch.path(), None, None) else {
            panic!("nothing to write")
        };
        assert!(
            cluster_config::Bundle::from_files(&files).0.is_some(),
            "the lab's own bundle is valid"
        );
        Bundle::Write(files.clone()).write(scratch.path()).unwrap();
        assert!(matches!(Bundle::choose(scratch.path(), None, None), Ok(Bundle::Keep)));
        assert!(
            matches!(Bundle::choose(scratch.path(), Some(files), None), Ok(Bundle::Keep)),
            "the same again"
        );
        assert!(
            Bundle::choose(scratch.path(), None, Some("http://proxy.test:3128")).is_err(),
            "another"
        );
    }

    #[test]
    fn the_console_has_one_user_whose_password_stays() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = tempfile::tempdir().unwrap();
        let password = console_password(scratch.path()).unwrap();
        assert_eq!(console_password(scratch.path()).unwrap(), password);
        let users =
            console::auth::users::Users::open(Some(scratch.path().join(plan::USERS))).unwrap();
        assert!(console::auth::users::verify(&users.hash_of(CONSOLE_USER).unwrap(), &password));
        for file in [PASSWORD, plan::USERS] {
            assert_eq!(
                std::fs::metadata(scratch.path().join(file)).unwrap().permissions().mode() & 0o777,
                0o600,
                "{file}"
            );
        }
    }

    #[test]
    fn a_parent_is_in_the_bundle() {
        let scratch = tempfile::tempdir().unwrap();
        let Ok(Bundle::Write(files)) =
            Bundle::choose(scratch.path(), None, Some("http://proxy.test:3128"))
        else {
            panic!("nothing to write")
        };
        assert!(
            cluster_config::Bundle::from_files(&files).0.is_some(),
            "the bundle with a parent is valid"
        );
        assert!(String::from_utf8_lossy(&files[MAIN]).contains("proxy.test:3128"));
    }
}

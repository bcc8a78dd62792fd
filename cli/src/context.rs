//! Which cluster a command means, and with whose credentials it speaks: flags, `SHOAL_CONTEXT`, or
//! else a running lab.
//!
//! Where several labs run and none is named, what looks takes the newest and says so; what changes
//! something refuses.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use chassis::operator::Context;
use clap::Args;
use cluster::text::quoted;
use serde::Serialize;

use crate::labs::{self, description::Description};

/// Which cluster is meant
#[derive(Args, Clone, Default)]
#[command(
    next_help_heading = "Which cluster (default: the running lab; of several, the newest, and only \
        to look)"
)]
pub struct Target {
    /// Data directory of a lab [env: SHOAL_CONTEXT]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// gRPC addresses of the cluster's registry, with --ca, --cert and --key
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "SHOAL_REGISTRY",
        hide_env_values = true,
        requires_all = ["ca", "cert", "key"],
    )]
    registry: Vec<String>,
    /// The cluster's CA certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "SHOAL_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
    /// The operator's certificate (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "SHOAL_CERT", hide_env_values = true)]
    cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "SHOAL_KEY", hide_env_values = true)]
    key: Option<PathBuf>,
}

/// Which cluster an answer is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The cluster's id; null until its registry was heard.
    pub id: Option<String>,
    /// Where it is: a lab's directory, or its registry's addresses.
    pub name: String,
    /// How it was chosen.
    pub context: &'static str,
}

impl About {
    /// In one line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("Cluster: {} ({})", self.name, self.context)
    }
}

/// What a command is about to do with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Look at it.
    Look,
    /// Change something, so that the wrong one must not be taken.
    Change,
}

/// How a cluster was chosen.
const NAMED: &str = "named by --data-dir";
const ENVIRONMENT: &str = "named by SHOAL_CONTEXT";
const ADDRESS: &str = "named by --registry";
const ONLY: &str = "the only running lab";
const NEWEST: &str = "the newest of several running labs";

/// The lab that a command means, and how it came to that.
struct Lab {
    directory: PathBuf,
    context: &'static str,
}

impl Target {
    /// What these words say of it, among others that are left aside: a command that is being typed.
    #[must_use]
    pub fn among(words: &[String]) -> Self {
        let after = |flag: &str| {
            let place = words.iter().position(|word| word == flag)?;
            words.get(place + 1).cloned()
        };
        let from = |flag: &str, variable: &str| {
            after(flag).or_else(|| std::env::var(variable).ok().filter(|value| !value.is_empty()))
        };
        let registry = from("--registry", "SHOAL_REGISTRY")
            .map(|list| list.split(',').map(str::to_owned).collect())
            .unwrap_or_default();
        let [ca, cert, key] =
            [("--ca", "SHOAL_CA"), ("--cert", "SHOAL_CERT"), ("--key", "SHOAL_KEY")]
                .map(|(flag, name)| from(flag, name).map(PathBuf::from));
        Self { data_dir: after("--data-dir").map(PathBuf::from), registry, ca, cert, key }
    }

    /// The lab that is meant, when it is one: its data directory and what should run in it.
    #[must_use]
    pub fn lab(&self) -> Option<(PathBuf, Description)> {
        let named = self.named_lab().or_else(|| self.running_lab(&labs::directory::running()))?;
        let directory =
            if named.directory.file_name().is_some_and(|name| name == labs::directory::DESCRIPTION)
            {
                named.directory.parent()?.to_owned()
            } else {
                named.directory
            };
        let description = Description::read(&directory).ok()?;
        Some((directory, description))
    }

    /// By flag or environment.
    fn named_lab(&self) -> Option<Lab> {
        if let Some(directory) = &self.data_dir {
            return Some(Lab { directory: directory.clone(), context: NAMED });
        }
        let context = std::env::var_os("SHOAL_CONTEXT")
            .filter(|context| !context.is_empty() && self.registry.is_empty())?;
        Some(Lab { directory: PathBuf::from(context), context: ENVIRONMENT })
    }

    fn running_lab(&self, running: &[PathBuf]) -> Option<Lab> {
        let directory = running.first().filter(|_| self.registry.is_empty())?.clone();
        Some(Lab { directory, context: if running.len() > 1 { NEWEST } else { ONLY } })
    }

    /// Finds the cluster.
    ///
    /// # Errors
    /// There is none, or several and none is named where that matters; the text says what to do.
    pub fn find(&self, intent: Intent) -> Result<(Context, About)> {
        if let (None, false, Some(ca), Some(cert), Some(key)) =
            (&self.data_dir, self.registry.is_empty(), &self.ca, &self.cert, &self.key)
        {
            let context = Context {
                registry: self.registry.clone(),
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            };
            return Ok((
                context,
                About {
                    id: None,
                    name: format!("registry {}", self.registry.join(", ")),
                    context: ADDRESS,
                },
            ));
        }
        let named = match self.named_lab() {
            Some(named) => named,
            None => {
                let running = labs::directory::running();
                certain(&running, intent)?;
                self.running_lab(&running).ok_or_else(|| {
                    anyhow!(
                        "no lab is running: start one with `shoal lab`, or name a cluster with \
                        --registry, --ca, --cert and --key"
                    )
                })?
            }
        };
        let context = of_lab(&named.directory)?;
        Ok((
            context,
            About {
                id: None,
                name: format!("lab in {}", named.directory.display()),
                context: named.context,
            },
        ))
    }
}

/// Refuses to change something in whichever lab is the newest.
///
/// # Errors
/// Several run and none is named; the text lists them.
pub fn certain(running: &[PathBuf], intent: Intent) -> Result<()> {
    if intent == Intent::Look || running.len() < 2 {
        return Ok(());
    }
    let commands: Vec<_> = running
        .iter()
        .map(|directory| format!("  --data-dir {}", quoted(&directory.to_string_lossy())))
        .collect();
    bail!(
        "{} labs are running and none is named: nothing was changed. Say which one is meant, or \
         set SHOAL_CONTEXT to its directory:\n{}",
        running.len(),
        commands.join("\n")
    )
}

/// `path` is a lab's data directory or its `lab.json`.
fn of_lab(path: &Path) -> Result<Context> {
    let directory = if path.file_name().is_some_and(|name| name == labs::directory::DESCRIPTION) {
        path.parent().unwrap_or(path)
    } else {
        path
    };
    if !labs::directory::is_lab(directory) {
        bail!(
            "{} is not a lab's data directory: give the one that `shoal lab --data-dir` got, or \
             start a lab there",
            directory.display()
        );
    }
    if !labs::directory::is_running(directory) {
        bail!(
            "the lab in {0} is not running: start it with `shoal lab --data-dir {0}`",
            directory.display()
        );
    }
    let description = Description::read(directory).map_err(|error| {
        anyhow!(
            "the lab in {} is not ready yet ({error:#}): wait until `shoal lab` says so",
            directory.display()
        )
    })?;
    of_description(&description).ok_or_else(|| {
        anyhow!(
            "{}/lab.json names no registry: run `shoal lab stop` and `shoal lab`",
            directory.display()
        )
    })
}

fn of_description(description: &Description) -> Option<Context> {
    let registries = description.processes.iter().filter(|process| process.service == "registry");
    let registry: Vec<_> =
        registries.filter_map(|process| process.endpoints.get("grpc").cloned()).collect();
    let operator = description.operator.clone();
    (!registry.is_empty()).then_some(Context {
        registry,
        ca: operator.ca,
        cert: operator.cert,
        key: operator.key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_takes_no_lab_by_chance() {
        let labs = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        for (running, intent, refused) in [
            (labs(&[]), Intent::Change, false),
            (labs(&["/tmp/a"]), Intent::Change, false),
            (labs(&["/tmp/a", "/tmp/b"]), Intent::Look, false),
            (labs(&["/tmp/a", "/tmp/b c"]), Intent::Change, true),
        ] {
            let said = certain(&running, intent).err().map(|error| error.to_string());
            assert_eq!(said.is_some(), refused, "{running:?} {intent:?}");
            if let Some(said) = said {
                assert!(
                    said.contains("2 labs are running") && said.contains("SHOAL_CONTEXT"),
                    "{said}"
                );
                assert!(
                    said.contains("--data-dir /tmp/a\n") && said.contains("--data-dir '/tmp/b c'"),
                    "{said}"
                );
            }
        }
        let target = Target::default();
        assert_eq!(target.running_lab(&labs(&["/tmp/a"])).map(|lab| lab.context), Some(ONLY));
        assert_eq!(
            target
                .running_lab(&labs(&["/tmp/a", "/tmp/b"]))
                .map(|lab| (lab.directory, lab.context)),
            Some(("/tmp/a".into(), NEWEST))
        );
        let elsewhere = Target { registry: vec!["10.0.0.5:7001".into()], ..Target::default() };
        assert!(elsewhere.running_lab(&labs(&["/tmp/a"])).is_none());
    }
}

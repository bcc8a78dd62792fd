//! Which cluster a command means, and with whose credentials it speaks: flags, `SHOAL_CONTEXT`, or else the newest running lab.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use chassis::operator::Context;
use clap::Args;

use crate::lab::{self, description::Description};

/// Which cluster is meant
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Which cluster (default: the newest running lab)")]
pub struct Target {
    /// Data directory of a lab [env: SHOAL_CONTEXT]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// gRPC addresses of the cluster's registry, with --ca, --cert and --key
    #[arg(long, global = true, value_name = "HOST:PORT", value_delimiter = ',', env = "SHOAL_REGISTRY", hide_env_values = true, requires_all = ["ca", "cert", "key"])]
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

impl Target {
    /// The lab that is meant, when it is one: its data directory and what should run in it.
    #[must_use]
    pub fn lab(&self) -> Option<(PathBuf, Description)> {
        let named = self.data_dir.clone().or_else(|| {
            let elsewhere = !self.registry.is_empty();
            let variable = std::env::var_os("SHOAL_CONTEXT").filter(|context| !context.is_empty() && !elsewhere).map(PathBuf::from);
            variable.or_else(|| lab::directory::newest_running().filter(|_| !elsewhere))
        })?;
        let directory =
            if named.file_name().is_some_and(|name| name == lab::directory::DESCRIPTION) { named.parent()?.to_owned() } else { named };
        let description = Description::read(&directory).ok()?;
        Some((directory, description))
    }

    /// Finds the cluster.
    ///
    /// # Errors
    /// There is none; the text says what to do.
    pub fn find(&self) -> Result<Context> {
        if let Some(directory) = &self.data_dir {
            return of_lab(directory);
        }
        if let (false, Some(ca), Some(cert), Some(key)) = (self.registry.is_empty(), &self.ca, &self.cert, &self.key) {
            return Ok(Context { registry: self.registry.clone(), ca: ca.clone(), cert: cert.clone(), key: key.clone() });
        }
        if let Some(context) = std::env::var_os("SHOAL_CONTEXT").filter(|context| !context.is_empty()) {
            return of_lab(Path::new(&context));
        }
        match lab::directory::newest_running() {
            Some(directory) => of_lab(&directory),
            None => bail!("no lab is running: start one with `shoal lab`, or name a cluster with --registry, --ca, --cert and --key"),
        }
    }
}

/// `path` is a lab's data directory or its `lab.json`.
fn of_lab(path: &Path) -> Result<Context> {
    let directory =
        if path.file_name().is_some_and(|name| name == lab::directory::DESCRIPTION) { path.parent().unwrap_or(path) } else { path };
    if !lab::directory::is_lab(directory) {
        bail!("{} is not a lab's data directory: give the one that `shoal lab --data-dir` got, or start a lab there", directory.display());
    }
    if !lab::directory::is_running(directory) {
        bail!("the lab in {0} is not running: start it with `shoal lab --data-dir {0}`", directory.display());
    }
    let description = Description::read(directory)
        .map_err(|error| anyhow!("the lab in {} is not ready yet ({error:#}): wait until `shoal lab` says so", directory.display()))?;
    of_description(&description)
        .ok_or_else(|| anyhow!("{}/lab.json names no registry: run `shoal lab stop` and `shoal lab`", directory.display()))
}

fn of_description(description: &Description) -> Option<Context> {
    let registries = description.processes.iter().filter(|process| process.service == "registry");
    let registry: Vec<_> = registries.filter_map(|process| process.endpoints.get("grpc").cloned()).collect();
    let operator = description.operator.clone();
    (!registry.is_empty()).then_some(Context { registry, ca: operator.ca, cert: operator.cert, key: operator.key })
}

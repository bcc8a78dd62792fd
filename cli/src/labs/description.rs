//! `lab.json`: what runs in a lab, for the CLI and for tests.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::directory::{self, DESCRIPTION};

/// What runs. The fields are a contract: tests and scripts read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Where clients connect, `host:port`.
    pub frontends: Vec<String>,
    /// Every child.
    pub processes: Vec<Process>,
    /// The operator's files.
    pub operator: Operator,
}

/// One child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Name of its instance.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Process id; after a death without restart, the last one.
    pub pid: u32,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What was added to the environment.
    pub env: BTreeMap<String, String>,
    /// Where it was started.
    pub cwd: PathBuf,
    /// Addresses by purpose.
    pub endpoints: BTreeMap<String, String>,
}

/// Files that make a caller an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// The cluster's CA certificate.
    pub ca: PathBuf,
    /// The operator's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Description {
    /// Reads the description of the lab in `directory`.
    ///
    /// # Errors
    /// It is missing or no description.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(DESCRIPTION);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        directory::write_atomically(&directory.join(DESCRIPTION), &serde_json::to_vec_pretty(self)?)
    }
}

/// Removes the description: the lab is not ready any more.
///
/// # Errors
/// It exists and cannot be removed.
pub fn remove(directory: &Path) -> Result<()> {
    let path = directory.join(DESCRIPTION);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

//! `shoal lab stop` and `shoal lab reset`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;
use tokio::time::Instant;

use super::owner;
use crate::{
    cluster::block_on,
    context::{Intent, certain},
    labs::directory,
    output::{self, Format, View},
};

/// What became of a lab.
#[derive(Serialize)]
struct Ended {
    lab: PathBuf,
    /// All that it had stored, too.
    removed: bool,
    #[serde(skip)]
    said: String,
}

impl View for Ended {
    fn text(&self) -> String {
        self.said.clone()
    }
}

/// Ends the lab and waits for its end.
///
/// # Errors
/// No lab runs there, or it does not end.
pub fn stop(data_dir: Option<PathBuf>, format: Format) -> Result<()> {
    let Some(directory) = meant(data_dir)? else {
        bail!("no lab is running: start one with `shoal lab`")
    };
    known(&directory)?;
    if !end(&directory)? {
        bail!("the lab in {} is not running: nothing is to be stopped", directory.display());
    }
    let said = format!(
        "the lab in {} has ended; `shoal lab` goes on with what it has stored",
        directory.display()
    );
    output::show(&Ended { lab: directory, removed: false, said }, format)
}

/// Ends the lab and removes its data directory.
///
/// # Errors
/// The directory is not a lab's, or cannot be removed.
pub fn reset(data_dir: Option<PathBuf>, format: Format) -> Result<()> {
    let directory = match meant(data_dir)? {
        Some(directory) => directory,
        None => directory::default()?,
    };
    known(&directory)?;
    end(&directory)?;
    let held = directory::take(&directory, directory::inspect(&directory)?)?;
    std::fs::remove_dir_all(&directory)
        .with_context(|| format!("cannot remove {}", directory.display()))?;
    drop(held);
    let said = format!("removed {}", directory.display());
    output::show(&Ended { lab: directory, removed: true, said }, format)
}

/// The lab that was named, by the flag or by the environment: never another one.
fn named(data_dir: Option<PathBuf>) -> Option<PathBuf> {
    data_dir.or_else(|| {
        std::env::var_os("SHOAL_CONTEXT").filter(|context| !context.is_empty()).map(PathBuf::from)
    })
}

/// The lab that is meant: the one that was named, or the only one that runs.
///
/// # Errors
/// Several run and none is named.
fn meant(data_dir: Option<PathBuf>) -> Result<Option<PathBuf>> {
    if let Some(named) = named(data_dir) {
        return Ok(Some(named));
    }
    let running = directory::running();
    certain(&running, Intent::Change)?;
    Ok(running.into_iter().next())
}

fn known(directory: &Path) -> Result<()> {
    if !directory::is_lab(directory) {
        bail!(
            "{} is not a lab's data directory: give the one that `shoal lab --data-dir` got",
            directory.display()
        );
    }
    Ok(())
}

/// Whether there was a lab to end.
fn end(directory: &Path) -> Result<bool> {
    let Some(pid) = directory::holder(directory) else { return Ok(false) };
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .with_context(|| format!("cannot end the lab (pid {pid})"))?;
    // Balancers, nodes and the rest drain one after another.
    let deadline = Instant::now() + owner::DRAIN * 5;
    block_on(async {
        while directory::is_running(directory) {
            if Instant::now() > deadline {
                bail!(
                    "the lab (pid {pid}) does not end: see its logs in {}, or `kill -9 {pid}`",
                    directory.join("logs").display()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(true)
    })
}

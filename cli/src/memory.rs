//! What the registry listed last, on disk: whoever only looks goes on while the registry is away,
//! from what was known then, and says so.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

use anyhow::{Result, anyhow};
use chassis::{
    data_dir::write_atomically,
    operator::{Context, Listing},
};
use cluster::{InstanceStatus, PoolGuard};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{context::Target, labs};

/// In a lab's data directory.
const IN_A_LAB: &str = "listing.json";
/// Below the state directory, a file for each cluster.
const ELSEWHERE: &str = "listings";

/// Who lists again and again (`shoal top`) writes no oftener.
const SECONDS: i64 = 10;

/// The last listing of one cluster.
#[derive(Debug, Default)]
pub struct Memory {
    /// Where it is kept; nowhere, when there is no place for it.
    path: Option<PathBuf>,
    /// When this process kept one last, in seconds of Unix time; 0: never.
    kept: AtomicI64,
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    at: Timestamp,
    cluster_id: String,
    instances: Vec<InstanceStatus>,
    guards: Vec<PoolGuard>,
}

impl Memory {
    /// Of the cluster that is meant.
    pub fn of(target: &Target, context: &Context) -> Self {
        let elsewhere = || {
            Some(
                labs::directory::state_home()?
                    .join(ELSEWHERE)
                    .join(format!("{}.json", called(context))),
            )
        };
        Self {
            path: target.lab().map(|(directory, _)| directory.join(IN_A_LAB)).or_else(elsewhere),
            kept: AtomicI64::new(0),
        }
    }

    /// Keeps a listing. Best effort: who cannot write there looks at what is there now.
    pub fn keep(&self, listing: &Listing, at: Timestamp) {
        let Some(path) = &self.path else { return };
        if at.as_second() < self.kept.load(Relaxed) + SECONDS {
            return;
        }
        self.kept.store(at.as_second(), Relaxed);
        let Listing { instances, guards, cluster_id } = listing.clone();
        let kept = Remembered { at, cluster_id, instances, guards };
        let written = path.parent().map(std::fs::create_dir_all).transpose().and_then(|_| {
            let text = serde_json::to_vec(&kept)?;
            write_atomically(path, &text)
        });
        written.unwrap_or_default();
    }

    /// What was kept, and when.
    ///
    /// # Errors
    /// Nothing was, or it cannot be read.
    pub fn recall(&self) -> Result<(Listing, Timestamp)> {
        let path: &Path =
            self.path.as_deref().ok_or_else(|| anyhow!("there is no place to remember"))?;
        let Remembered { at, cluster_id, instances, guards } =
            serde_json::from_slice(&std::fs::read(path)?)?;
        Ok((Listing { instances, guards, cluster_id }, at))
    }
}

/// A name for a cluster: by the authority, and by where it is asked.
fn called(context: &Context) -> String {
    // Another name after an update of the program costs one remembered listing.
    let mut hasher = DefaultHasher::new();
    (std::fs::read(&context.ca).unwrap_or_default(), &context.registry).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_recalled_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let memory =
            Memory { path: Some(scratch.path().join("listings/x.json")), ..Memory::default() };
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(memory.recall().is_err() && Memory::default().recall().is_err());
        let listing = Listing { cluster_id: "c-1".into(), ..Listing::default() };
        memory.keep(&listing, at(1000));
        assert_eq!(memory.recall().unwrap(), (listing.clone(), at(1000)));
        memory.keep(&listing, at(1009));
        assert_eq!(memory.recall().unwrap().1, at(1000), "not so soon");
        memory.keep(&listing, at(1010));
        assert_eq!(memory.recall().unwrap().1, at(1010));
        std::fs::write(scratch.path().join("listings/x.json"), "{").unwrap();
        assert!(memory.recall().is_err());
    }

    #[test]
    fn clusters_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let context = |ca: &str, registry: &str| {
            let path = scratch.path().join(ca);
            std::fs::write(&path, ca).unwrap();
            Context {
                ca: path,
                cert: "c".into(),
                key: "k".into(),
                registry: vec![registry.to_owned()],
            }
        };
        let names = [("a", "10.0.0.5:7001"), ("b", "10.0.0.5:7001"), ("a", "10.0.0.6:7001")]
            .map(|(ca, at)| called(&context(ca, at)));
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        assert_eq!(called(&context("a", "10.0.0.5:7001")), names[0]);
    }
}

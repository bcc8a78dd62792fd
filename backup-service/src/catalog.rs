//! Which backups there are. The archives in the stores are the truth; what is written down beside them is only what cannot be seen in them:
//! whether somebody looked at every byte, and what came of it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use chassis::data_dir::write_atomically;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    archive::{Manifest, Reason, read::peek},
    store::Store,
};

/// What is known of a backup beside what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Of the archive, when it was looked at.
    pub sha256: String,
    /// Of the archive, when it was looked at.
    pub size: u64,
    /// When that was.
    pub verified_at: Timestamp,
    /// What was wrong with it.
    pub problem: Option<String>,
}

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Since when there is a schedule.
    #[serde(default)]
    pub followed_since: Option<Timestamp>,
    /// By id.
    #[serde(default)]
    pub notes: BTreeMap<String, Note>,
}

/// A backup that is there.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What it says of itself; `Err`: why that cannot be read.
    pub manifest: Result<Manifest, String>,
    /// In bytes.
    pub size: u64,
    /// What is known beside; none while nobody has looked at every byte of it.
    pub note: Option<Note>,
    /// Where it is: store and file.
    pub places: Vec<(Store, PathBuf)>,
}

impl Listed {
    /// Why it cannot be restored, as far as is known.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        let unreadable = self.manifest.as_ref().err().map(String::as_str);
        self.note.as_ref().and_then(|note| note.problem.as_deref()).or(unreadable)
    }

    /// Whether the schedule made it.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        self.reason() == Some(Reason::Scheduled)
    }

    /// Why it was made.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.manifest.as_ref().ok().map(|manifest| manifest.reason)
    }
}

impl Catalog {
    /// Reads what was written down. What cannot be read is no loss: archives are looked at again.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .inspect_err(|error| tracing::warn!("{} is unreadable and begun anew: {error}", path.display()))
                .unwrap_or_default(),
            Err(_) => Self::default(),
        }
    }

    /// Writes it down.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        write_atomically(path, &serde_json::to_vec_pretty(self)?)
    }

    /// Every backup in every store, newest first, and the stores that cannot be read.
    #[must_use]
    pub fn list(&self, stores: &[Store]) -> (Vec<Listed>, Vec<String>) {
        let (mut found, mut problems) = (BTreeMap::<String, Listed>::new(), Vec::new());
        for store in stores {
            let stored = store.list().unwrap_or_else(|error| {
                problems.push(format!("the store {} cannot be read: {error}", store.url));
                Vec::new()
            });
            for archive in stored {
                let place = (store.clone(), archive.path.clone());
                if let Some(known) = found.get_mut(&archive.id) {
                    known.places.push(place);
                    continue;
                }
                let manifest = match peek(&archive.path) {
                    Ok(manifest) if manifest.id != archive.id => Err(format!("it is the backup {} under another name", manifest.id)),
                    Ok(manifest) => Ok(manifest),
                    Err(refused) => Err(refused.to_string()),
                };
                // One that is not as long as it was is not the one that was looked at.
                let note = self.notes.get(&archive.id).filter(|note| note.size == archive.size).cloned();
                let listed = Listed { id: archive.id.clone(), manifest, size: archive.size, note, places: vec![place] };
                found.insert(archive.id, listed);
            }
        }
        (found.into_values().rev().collect(), problems)
    }
}

/// Why no backup is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// There is none at all.
    #[error("there is no backup that could be restored: make one with `shoal backup create`")]
    Empty,
    /// None is called so.
    #[error("there is no backup {0}: `shoal backup list` shows those that there are")]
    Unknown(String),
    /// Several begin so.
    #[error("several backups begin with {0}: give more of its id")]
    Ambiguous(String),
}

/// The backup that somebody means by `latest`, an id, or a unique beginning of one. `listed` is newest first.
///
/// # Errors
/// None is meant.
pub fn find<'l>(listed: &'l [Listed], meant: &str) -> Result<&'l Listed, NotFound> {
    if meant == "latest" {
        let worth = |backup: &&Listed| backup.problem().is_none() && backup.reason() != Some(Reason::BeforeRestore);
        return listed.iter().find(worth).ok_or(NotFound::Empty);
    }
    if let Some(exact) = listed.iter().find(|backup| backup.id == meant) {
        return Ok(exact);
    }
    let mut beginning = listed.iter().filter(|backup| !meant.is_empty() && backup.id.starts_with(meant));
    match (beginning.next(), beginning.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(NotFound::Unknown(meant.to_owned())),
        (Some(_), Some(_)) => Err(NotFound::Ambiguous(meant.to_owned())),
    }
}

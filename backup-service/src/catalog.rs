//! Which backups there are. The archives in the stores are the truth; what is written down beside
//! them is only what cannot be seen in them: whether somebody looked at every byte, and what came
//! of it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use chassis::data_dir::write_atomically;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    archive::{self, Manifest, Reason, read::peek},
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
    #[serde(default)]
    pub notes: BTreeMap<String, Note>,
}

/// A backup that is there.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: String,
    /// What it says of itself; `Err`: why that cannot be read.
    pub manifest: Result<Manifest, String>,
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

    /// By age: the second that every id begins with, and of one second what the manifests say.
    fn order(&self) -> (&str, Option<Timestamp>, &str) {
        let second = self.id.split_once('-').map_or(self.id.as_str(), |(second, _)| second);
        (second, self.manifest.as_ref().ok().map(|manifest| manifest.created_at), &self.id)
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
                .inspect_err(|error| {
                    tracing::warn!("{} is unreadable and begun anew: {error}", path.display())
                })
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
                    Ok(manifest) if manifest.id != archive.id => {
                        Err(format!("it is the backup {} under another name", manifest.id))
                    }
                    Ok(manifest) => Ok(manifest),
                    // Another backup-service let go of it a moment ago.
                    Err(archive::Error::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                        continue;
                    }
                    Err(refused) => Err(refused.to_string()),
                };
                // One that is not as long as it was is not the one that was looked at.
                let note =
                    self.notes.get(&archive.id).filter(|note| note.size == archive.size).cloned();
                let listed = Listed {
                    id: archive.id.clone(),
                    manifest,
                    size: archive.size,
                    note,
                    places: vec![place],
                };
                found.insert(archive.id, listed);
            }
        }
        let mut listed: Vec<_> = found.into_values().collect();
        listed.sort_by(|one, other| other.order().cmp(&one.order()));
        (listed, problems)
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

/// The backup that somebody means by `latest`, an id, or a unique beginning of one. `listed` is
/// newest first.
///
/// # Errors
/// None is meant.
pub fn find<'l>(listed: &'l [Listed], meant: &str) -> Result<&'l Listed, NotFound> {
    if meant == "latest" {
        let worth = |backup: &&Listed| {
            backup.problem().is_none() && backup.reason() != Some(Reason::BeforeRestore)
        };
        return listed.iter().find(worth).ok_or(NotFound::Empty);
    }
    if let Some(exact) = listed.iter().find(|backup| backup.id == meant) {
        return Ok(exact);
    }
    let mut beginning =
        listed.iter().filter(|backup| !meant.is_empty() && backup.id.starts_with(meant));
    match (beginning.next(), beginning.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(NotFound::Unknown(meant.to_owned())),
        (Some(_), Some(_)) => Err(NotFound::Ambiguous(meant.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, manifest: Result<Manifest, String>) -> Listed {
        Listed { id: id.to_owned(), manifest, size: 1, note: None, places: Vec::new() }
    }

    fn manifest(id: &str, reason: Reason) -> Result<Manifest, String> {
        Ok(Manifest {
            format: 1,
            id: id.to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
            created_by: String::new(),
            reason,
            version: String::new(),
            cluster_id: String::new(),
            epoch: 1,
            authorities: Vec::new(),
            parts: BTreeMap::new(),
            entries: Vec::new(),
        })
    }

    #[test]
    fn of_one_second_the_later_comes_last() {
        let at = |id: &str, nanoseconds| {
            let made = manifest(id, Reason::AskedFor).map(|made| Manifest {
                created_at: Timestamp::new(7, nanoseconds).unwrap(),
                ..made
            });
            listed(id, made)
        };
        let mut all = [
            at("7-a", 3),
            at("8-a", 0),
            at("7-c", 2),
            at("7-b", 1),
            listed("6-x", Err("damaged".to_owned())),
        ];
        all.sort_by(|one, other| one.order().cmp(&other.order()));
        assert_eq!(all.map(|backup| backup.id), ["6-x", "7-b", "7-c", "7-a", "8-a"]);
    }

    #[test]
    fn which_backup_is_meant() {
        let (asked, before) = (Reason::AskedFor, Reason::BeforeRestore);
        let all = [
            listed("20261122T04-d", Err("damaged".to_owned())),
            listed("20261122T03-c", manifest("c", before)),
            listed("20261122T02-b", manifest("b", asked)),
            listed("20261121T02-a", manifest("a", asked)),
            listed("20261121T02-a2", manifest("a2", asked)),
        ];
        let meant = |text: &str| find(&all, text).map(|backup| backup.id.as_str());
        assert_eq!(
            meant("latest"),
            Ok("20261122T02-b"),
            "neither a damaged one nor one made before a restore"
        );
        assert_eq!(meant("20261122T03"), Ok("20261122T03-c"), "by name, any of them");
        assert_eq!(
            meant("20261121T02-a"),
            Ok("20261121T02-a"),
            "exactly, though another begins so"
        );
        assert_eq!(meant("20261121"), Err(NotFound::Ambiguous("20261121".to_owned())));
        for unknown in ["2020", "", "LATEST"] {
            assert_eq!(meant(unknown), Err(NotFound::Unknown(unknown.to_owned())));
        }
        assert_eq!(find(&all[..2], "latest").map(drop), Err(NotFound::Empty));
    }
}

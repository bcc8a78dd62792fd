//! How far this node has come in the log of purges, also after a restart.

use std::path::PathBuf;

use chassis::data_dir::write_atomically;
use proto::registry::PurgePlace;
use serde_json::{Value, json};

/// A place in the log of one cluster in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub cluster_id: String,
    pub epoch: u64,
    /// Everything up to here is done.
    pub position: u64,
}

impl Place {
    fn write(&self) -> String {
        let Self { cluster_id, epoch, position } = self;
        json!({"cluster_id": cluster_id, "epoch": epoch, "position": position}).to_string()
    }

    fn read(text: &[u8]) -> Option<Self> {
        let read: Value = serde_json::from_slice(text).ok()?;
        Some(Self {
            cluster_id: read.get("cluster_id")?.as_str()?.to_owned(),
            epoch: read.get("epoch")?.as_u64()?,
            position: read.get("position")?.as_u64()?,
        })
    }
}

impl From<PurgePlace> for Place {
    fn from(message: PurgePlace) -> Self {
        let PurgePlace { cluster_id, epoch, position } = message;
        Self { cluster_id, epoch, position }
    }
}

impl From<Place> for PurgePlace {
    fn from(place: Place) -> Self {
        let Place { cluster_id, epoch, position } = place;
        Self { cluster_id, epoch, position }
    }
}

/// The place, and the file that it is remembered in.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    place: Option<Place>,
    /// A purge is not on the disk for good: it is done again after a restart, and so nothing behind
    /// it is remembered.
    lasting: bool,
}

impl Memory {
    /// What is remembered. A file that cannot be read remembers nothing: everything stored is
    /// validated then.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        let place = std::fs::read(&path).ok().and_then(|text| Place::read(&text));
        Self { path, place, lasting: true }
    }

    #[must_use]
    pub const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Everything up to here is done; `lasting`: a restart changes nothing of that.
    pub async fn advance(&mut self, place: Place, lasting: bool) {
        self.lasting &= lasting;
        if self.place.as_ref() == Some(&place) {
            return;
        }
        self.place = Some(place.clone());
        if !self.lasting {
            return;
        }
        let path = self.path.clone();
        let written =
            tokio::task::spawn_blocking(move || write_atomically(&path, place.write().as_bytes()));
        match written.await {
            Ok(Ok(())) => {}
            // It does purges once more after a restart, or validates everything.
            Ok(Err(error)) => tracing::error!("cannot remember the last purge: {error}"),
            Err(error) => tracing::error!("cannot remember the last purge: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Place {
        Place { cluster_id: "c".into(), epoch: 2, position }
    }

    #[tokio::test]
    async fn it_is_remembered_up_to_the_first_that_may_be_undone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("purges.json");
        let mut memory = Memory::open(path.clone());
        assert_eq!(memory.place(), None);
        memory.advance(at(3), true).await;
        assert_eq!(Memory::open(path.clone()).place(), Some(&at(3)));
        memory.advance(at(4), false).await;
        memory.advance(at(5), true).await;
        assert_eq!(memory.place(), Some(&at(5)));
        assert_eq!(Memory::open(path.clone()).place(), Some(&at(3)), "4 is done again");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Memory::open(path).place(), None);
    }
}

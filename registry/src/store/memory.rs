//! A store in memory: what the suite measures the others by, and a double for tests of what is
//! above it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use database::{Error, Result};
use uuid::Uuid;

use super::{Identity, Store};
use crate::{
    command::{Record, Slot},
    membership::Writes,
};

/// What a disk is to a file: it stays when a store is dropped.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    owned: bool,
    identity: Option<Identity>,
    records: BTreeMap<Slot, Record>,
}

/// The one that has it open.
#[derive(Debug)]
struct Open(Memory);

impl Memory {
    /// Opens it, unless somebody has.
    ///
    /// # Errors
    /// Somebody has.
    pub fn open(&self) -> Result<Box<dyn Store>> {
        self.with(|kept| {
            if std::mem::replace(&mut kept.owned, true) { Err(Error::Busy) } else { Ok(()) }
        })?;
        Ok(Box::new(Open(self.clone())))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.with(|kept| kept.owned = false);
    }
}

impl Kept {
    fn put(&mut self, writes: &Writes) {
        for (slot, record) in writes {
            match record {
                Some(record) => drop(self.records.insert(slot.clone(), record.clone())),
                None => drop(self.records.remove(slot)),
            }
        }
    }
}

#[async_trait]
impl Store for Open {
    async fn identity(&mut self, candidate: Uuid) -> Result<Identity> {
        Ok(self.0.with(|kept| {
            kept.identity.get_or_insert(Identity { cluster_id: candidate, epoch: 1 }).clone()
        }))
    }

    async fn load(&mut self) -> Result<Vec<(Slot, Record)>> {
        Ok(self.0.with(|kept| {
            kept.records.iter().map(|(slot, record)| (slot.clone(), record.clone())).collect()
        }))
    }

    async fn write(&mut self, writes: &Writes) -> Result<()> {
        self.0.with(|kept| kept.put(writes));
        Ok(())
    }

    async fn restore(&mut self, writes: &Writes, identity: &Identity) -> Result<()> {
        self.0.with(|kept| {
            kept.put(writes);
            kept.identity = Some(identity.clone());
        });
        Ok(())
    }
}

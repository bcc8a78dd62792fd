//! Where acknowledged commands are kept.
//!
//! [`Store`] is what the owner asks of it. SQLite in the data dir is one implementation
//! ([`sqlite`]); the suite below is run by every one.
//!
//! What an implementation must guarantee:
//!
//! 1. **It survives.** When [`Store::write`] or [`Store::restore`] has returned `Ok`, a crash of
//!    the process and of the machine loses nothing of it.
//! 2. **All or nothing.** A write that fails, or whose future is dropped, has happened as a whole
//!    or not at all. The owner repeats what failed, together with what came since, so that writing
//!    the same twice must be the same as writing it once.
//! 3. **The last record of a slot counts**, and [`Store::load`] answers exactly those that were not
//!    emptied. What it does not understand is [`Error::Unreadable`](database::Error::Unreadable),
//!    never left out.
//! 4. **One active owner.** Whoever has opened a store is the only one that writes to it until it
//!    is dropped. Another that opens it meanwhile is refused, or waits. Where an owner can lose its
//!    place while it lives (a server that takes a lock back), every write after that fails and
//!    changes nothing.
//! 5. **It does not block the thread**: these are asynchronous operations, and the owner waits for
//!    one at a time.

#[cfg(test)]
pub mod memory;
pub mod sqlite;
#[cfg(test)]
mod suite;

use std::fmt::Debug;

use async_trait::async_trait;
use database::Result;
pub use sqlite::Sqlite;
use uuid::Uuid;

use crate::{
    command::{Record, Slot},
    membership::Writes,
};

/// Which cluster this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Given when the database was made.
    pub cluster_id: Uuid,
    /// Changes with every restore.
    pub epoch: u64,
}

/// A store that is open; what it guarantees is said at the top of the module.
#[async_trait]
pub trait Store: Send + Debug {
    /// Which cluster this is; a new store becomes `candidate`'s.
    ///
    /// # Errors
    /// When the database fails or does not make sense.
    async fn identity(&mut self, candidate: Uuid) -> Result<Identity>;

    /// Everything that is kept, by slot.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not understand.
    async fn load(&mut self) -> Result<Vec<(Slot, Record)>>;

    /// Does all of `writes`, or nothing.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    async fn write(&mut self, writes: &Writes) -> Result<()>;

    /// Does all of `writes` and becomes `identity`'s, or nothing.
    ///
    /// # Errors
    /// As for [`Store::write`].
    async fn restore(&mut self, writes: &Writes, identity: &Identity) -> Result<()>;
}

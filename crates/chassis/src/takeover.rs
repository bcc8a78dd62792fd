//! One process goes on where another of the same name is: `--take-over`.
//!
//! The running process listens at a file in its data dir ([`offer`]). The new one says who it is
//! ([`claim`]), and is given all listening sockets, the lock on the data dir and what the service
//! keeps in memory. Both speak in [`message`]s over a [`channel`]:
//!
//! ```text
//! new → old   Hello     who it is
//! old → new   Offer     what there is, then the descriptors; or Refused
//! new → old   Ready     it is built, and could accept
//! old → new   Go        what was counted until now
//! new → old   Taken     from here on there is no way back
//! old → new   Late      what the old one has counted while it drained, once
//! ```
//!
//! Until `Taken` the old process serves as if nothing had happened, however the new one ends. From
//! then on it accepts nothing more, leaves the queues of the sockets alone, says nothing more to
//! the registry (the new one goes on with its id), and drains. A new process that finds the old one
//! dead after the offer goes on alone: it has the sockets and the lock. Nobody accepts between the
//! two; who comes meanwhile waits in the queue.

mod channel;
mod claim;
mod message;
mod offer;
pub(crate) mod series;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

pub use claim::Predecessor;
pub(crate) use claim::{Claimant, claim};
pub(crate) use offer::{Heir, HelloOf, Offer, Process};

/// Where the running process listens, in its data dir.
const SOCKET: &str = "take-over.sock";

/// What was counted: by what is counted, and the counter's name.
pub type Totals = BTreeMap<String, BTreeMap<String, u64>>;

/// Descriptors of one purpose, such as the sockets of one address.
#[derive(Debug)]
pub struct Handed {
    /// What they are for.
    pub purpose: String,
    /// Which of these: an address as it was asked for, a path, a name.
    pub which: String,
    /// The descriptors.
    pub descriptors: Vec<OwnedFd>,
}

impl Handed {
    /// A duplicate of one descriptor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn one(purpose: &str, which: impl ToString, descriptor: impl AsFd) -> io::Result<Self> {
        Ok(Self {
            purpose: purpose.to_owned(),
            which: which.to_string(),
            descriptors: vec![descriptor.as_fd().try_clone_to_owned()?],
        })
    }
}

/// What a service hands over beside what every process has.
#[derive(Debug, Default)]
pub struct Belongings {
    /// Duplicates of its descriptors.
    pub handed: Vec<Handed>,
    /// What its successor has to know, by name.
    pub state: BTreeMap<String, String>,
}

/// A service that can be taken over from.
pub trait Estate: Send + Sync + 'static {
    /// What it has now. It goes on as if nothing had happened.
    ///
    /// # Errors
    /// The process has no descriptor left.
    fn belongings(&self) -> io::Result<Belongings>;
    /// What was counted until now.
    fn totals(&self) -> Totals;
    /// The successor serves from now on: nothing is accepted any more, and what waits in the
    /// sockets' queues is left alone.
    fn hand_over(&self);
}

fn socket_in(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join(SOCKET)
}

#[cfg(test)]
mod tests;

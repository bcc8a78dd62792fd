//! What a process says of itself, and what operators want of it. The probes, the registry and the
//! service manager follow the first; the service follows the second.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use proto::registry::AdminState;
use tokio::sync::watch;

/// What the process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Up, and may serve.
    pub ready: bool,
    /// Up without a configuration: there was none on disk, and the first is waited for.
    pub unconfigured: bool,
    /// Revision in force; empty before the first.
    pub applied_revision: String,
    /// Its rendered document's hash.
    pub applied_hash: String,
    /// Where it listens, by purpose.
    pub endpoints: BTreeMap<String, SocketAddr>,
}

impl Status {
    /// What the content of a generation that was applied as `revision` is called now: a later
    /// revision that changes nothing for this process gives it another name, and nothing else.
    #[must_use]
    pub fn called_now(&self, revision: &str) -> String {
        if self.applied_revision.is_empty() {
            revision.to_owned()
        } else {
            self.applied_revision.clone()
        }
    }
}

/// Changes the [`Status`] and lets others follow it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StatusHandle {
    status: watch::Sender<Status>,
    was_ready: Arc<OnceLock<()>>,
}

impl StatusHandle {
    /// Up (or not) and may serve: `/readyz`, the gRPC health service and the registry say so at
    /// once. Answers whether the process is ready for the first time.
    pub(crate) fn set_ready(&self, ready: bool) -> bool {
        let first = ready && self.was_ready.set(()).is_ok();
        self.update(|status| std::mem::replace(&mut status.ready, ready) != ready);
        first
    }

    /// As last set; never while draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.borrow().ready
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready.get().is_some()
    }

    /// What configuration is in force. [`Process::configuration`](crate::Process::configuration)
    /// says it by itself.
    pub fn applied(&self, revision: &str, hash: &str) {
        self.update(|status| {
            let changed = status.applied_revision != revision || status.applied_hash != hash;
            revision.clone_into(&mut status.applied_revision);
            hash.clone_into(&mut status.applied_hash);
            changed
        });
    }

    pub(crate) fn waits_for_configuration(&self) {
        self.update(|status| !std::mem::replace(&mut status.unconfigured, true));
    }

    /// The process listens here. Registers again if it has registered.
    pub(crate) fn add_endpoint(&self, name: &str, address: SocketAddr) {
        self.update(|status| status.endpoints.insert(name.to_owned(), address) != Some(address));
    }

    /// Where the process listens, by purpose.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, SocketAddr> {
        self.status.borrow().endpoints.clone()
    }

    fn update(&self, change: impl FnOnce(&mut Status) -> bool) {
        self.status.send_if_modified(change);
    }

    /// Follows what the process says of itself.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }
}

/// What operators want of this process, as the registry last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Unspecified until the registry was heard.
    pub admin_state: AdminState,
    /// Weight after what operators set.
    pub weight: u32,
}

/// Lets a service follow what operators want of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DesiredHandle(watch::Sender<Desired>);

impl Default for DesiredHandle {
    fn default() -> Self {
        Self(watch::Sender::new(Desired { admin_state: AdminState::Unspecified, weight: 0 }))
    }
}

impl DesiredHandle {
    /// Follows what operators want of this process.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Desired> {
        self.0.subscribe()
    }

    pub(crate) fn set(&self, desired: Desired) {
        self.0.send_if_modified(|current| std::mem::replace(current, desired) != desired);
    }
}

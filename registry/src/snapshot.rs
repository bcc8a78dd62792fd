//! Who is there at one moment, in the domain's types: what everybody reads who only looks. Pure.

use std::{collections::BTreeMap, sync::Arc};

use cluster::{InstanceStatus, PoolGuard, Service};
use jiff::Timestamp;

use crate::store::Identity;

/// Which services somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter(u32);

impl Filter {
    /// These; all when there are none.
    #[must_use]
    pub fn of(services: &[Service]) -> Self {
        if services.is_empty() {
            Self(u32::MAX)
        } else {
            Self(services.iter().fold(0, |bits, service| bits | 1 << *service as u32))
        }
    }

    /// Whether `service` is one of them.
    #[must_use]
    pub fn lets(self, service: Service) -> bool {
        self.0 & (1 << service as u32) != 0
    }

    /// The same for the same services.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// Everything at one moment. It shares what has not changed with the one before.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub identity: Identity,
    /// Counts up with everything that watchers have to hear; 0: nothing is known yet.
    pub version: u64,
    pub(crate) members: BTreeMap<Arc<str>, Listed>,
    pub(crate) guards: BTreeMap<Service, Arc<PoolGuard>>,
}

#[derive(Clone, Debug)]
pub struct Listed {
    /// As watchers were told of it; its lease is older than [`Listed::lease_expires_at`].
    pub status: Arc<InstanceStatus>,
    /// Apart, because every member renews its lease all the time, and watchers need not hear of it.
    pub lease_expires_at: Timestamp,
}

impl Snapshot {
    /// Nothing is known.
    #[must_use]
    pub const fn empty(identity: Identity) -> Self {
        Self { identity, version: 0, members: BTreeMap::new(), guards: BTreeMap::new() }
    }

    /// Whoever is there, by name.
    pub fn members(&self, filter: Filter) -> impl Iterator<Item = &Listed> {
        self.members.values().filter(move |listed| filter.lets(listed.status.instance.service))
    }

    /// The guards of the pools that are or were there.
    pub fn guards(&self, filter: Filter) -> impl Iterator<Item = &Arc<PoolGuard>> {
        self.guards.values().filter(move |guard| filter.lets(guard.service))
    }

    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Listed> {
        self.members.get(name)
    }

    /// Takes one in; the service that the name belonged to before, if that was another.
    pub(crate) fn put(&mut self, status: InstanceStatus) -> Option<Service> {
        let service = status.instance.service;
        let (name, lease_expires_at) =
            (status.instance.name.as_str().into(), status.lease_expires_at);
        let before =
            self.members.insert(name, Listed { status: Arc::new(status), lease_expires_at });
        before.map(|before| before.status.instance.service).filter(|before| *before != service)
    }

    /// Takes in when leases end; `leases` are by name.
    pub(crate) fn renew<'n>(&mut self, leases: impl Iterator<Item = (&'n str, Timestamp)>) {
        let mut leases = leases.peekable();
        for (name, listed) in &mut self.members {
            while leases.next_if(|(other, _)| **other < **name).is_some() {}
            if let Some((_, at)) = leases.next_if(|(other, _)| **other == **name) {
                listed.lease_expires_at = at;
            }
        }
    }
}

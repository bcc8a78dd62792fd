//! Who is there at one moment, in the domain's types: what everybody reads who only looks. Pure.

use std::{collections::BTreeMap, sync::Arc};

use cluster::{InstanceStatus, PoolGuard, Service};

use crate::store::Identity;

/// Which services somebody wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter(u32);

impl Filter {
    /// These; all when there are none.
    #[must_use]
    pub fn of(services: &[Service]) -> Self {
        if services.is_empty() { Self(u32::MAX) } else { Self(services.iter().fold(0, |bits, service| bits | 1 << *service as u32)) }
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
    /// Which cluster.
    pub identity: Identity,
    /// Counts up with everything that watchers have to hear; 0: nothing is known yet.
    pub version: u64,
    pub(crate) members: BTreeMap<Arc<str>, Arc<InstanceStatus>>,
    pub(crate) guards: BTreeMap<Service, Arc<PoolGuard>>,
}

impl Snapshot {
    /// Nothing is known.
    #[must_use]
    pub const fn empty(identity: Identity) -> Self {
        Self { identity, version: 0, members: BTreeMap::new(), guards: BTreeMap::new() }
    }

    /// Whoever is there, by name.
    pub fn members(&self, filter: Filter) -> impl Iterator<Item = &Arc<InstanceStatus>> {
        self.members.values().filter(move |status| filter.lets(status.instance.service))
    }

    /// The guards of the pools that are or were there.
    pub fn guards(&self, filter: Filter) -> impl Iterator<Item = &Arc<PoolGuard>> {
        self.guards.values().filter(move |guard| filter.lets(guard.service))
    }

    /// One member.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Arc<InstanceStatus>> {
        self.members.get(name)
    }

    /// Takes one in; the service that the name belonged to before, if that was another.
    pub(crate) fn put(&mut self, status: InstanceStatus) -> Option<Service> {
        let service = status.instance.service;
        let before = self.members.insert(status.instance.name.as_str().into(), Arc::new(status));
        before.map(|before| before.instance.service).filter(|before| *before != service)
    }
}

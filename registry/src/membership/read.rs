//! What others see of the membership.

use std::collections::BTreeMap;

use cluster::{InstanceId, InstanceStatus, PoolGuard, Service};
use jiff::Timestamp;

use super::{Membership, NOTHING_DESIRED};
use crate::{command::Desired, purge::Log};

/// What an instance has to know about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Which process holds the name.
    pub id: InstanceId,
    /// What operators want of it.
    pub admin_state: cluster::AdminState,
    /// Its weight after what operators set.
    pub effective_weight: u32,
}

impl Membership {
    /// When leases end, by name.
    pub fn leases(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member.lease_expires_at))
    }

    /// One member as others see it.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<InstanceStatus> {
        Some(self.members.get(name)?.status(self.desired(name)))
    }

    /// All members as others see them, by name.
    pub fn statuses(&self) -> impl Iterator<Item = InstanceStatus> + '_ {
        self.members.iter().map(|(name, member)| member.status(self.desired(name)))
    }

    /// Service and state of every member.
    pub fn states(&self) -> impl Iterator<Item = (Service, cluster::State)> + '_ {
        self.members.values().map(|member| (member.instance.service, member.standing.state))
    }

    /// The guards of the pools that are or were there.
    #[must_use]
    pub fn guards(&self) -> &BTreeMap<Service, PoolGuard> {
        &self.guards
    }

    /// What operators want of `name`, whether it is there or not.
    #[must_use]
    pub fn desired(&self, name: &str) -> &Desired {
        self.desired.get(name).unwrap_or(&NOTHING_DESIRED)
    }

    /// Everything that operators want, by name.
    #[must_use]
    pub fn all_desired(&self) -> &BTreeMap<String, Desired> {
        &self.desired
    }

    /// The purges of late.
    #[must_use]
    pub const fn purges(&self) -> &Log {
        &self.purges
    }

    /// The highest generation given.
    #[must_use]
    pub fn generations(&self) -> u64 {
        self.generations
    }

    /// What the process that holds `name` has to know about itself.
    #[must_use]
    pub fn holding(&self, name: &str) -> Option<Holding> {
        let (member, desired) = (self.members.get(name)?, self.desired(name));
        let effective_weight = desired.weight.unwrap_or(member.instance.weight);
        Some(Holding { id: member.instance.id, admin_state: desired.admin_state, effective_weight })
    }
}

//! The membership: a fold of [`Command`]s. [`Membership::apply`] takes the facts,
//! [`Membership::elapse`] lets time pass, [`Membership::settle`] draws the conclusions.
//!
//! `settle` is in [`crate::settle`]. No IO and no clock. The same `apply` serves live traffic,
//! replay at start and restore. It leaves behind what the store has to keep
//! ([`Membership::take_writes`]); `settle` says what watchers have to hear.

use std::collections::{BTreeMap, BTreeSet};

use cluster::{
    Instance, InstanceId, InstanceStatus, Opinion, PoolGuard, Service, guard::Threshold,
};
use jiff::Timestamp;

use crate::{
    command::{
        self, Certified, Command, Desired, Kind, LossRecord, Outcome, Record, Renewal, Slot,
    },
    lease::{MAX_DRAIN, after},
    member::{Loss, Member},
};

/// The store hears of a renewal that says nothing new at most this often.
const RENEWALS_STORED_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// What the store has to do: keep an entry in a slot, or empty it.
pub type Writes = BTreeMap<Slot, Option<Record>>;

/// Nobody wants anything.
pub(crate) static NOTHING_DESIRED: Desired =
    Desired { admin_state: cluster::AdminState::Ready, weight: None, reason: String::new() };

/// What watchers have to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of new and changed members.
    pub upserted: BTreeSet<String>,
    /// Those of them whose state is another now.
    pub moved: Vec<String>,
    /// Members that are gone.
    pub removed: Vec<(Service, String)>,
    /// Pools whose guard says something else now.
    pub guards: BTreeSet<Service>,
}

impl Changes {
    /// Whether there is nothing to hear.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upserted.is_empty() && self.removed.is_empty() && self.guards.is_empty()
    }
}

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

/// Who is there, what operators want of them, and what follows.
#[derive(Clone, Debug, Default)]
pub struct Membership {
    pub(crate) threshold: Threshold,
    pub(crate) generations: u64,
    pub(crate) desired: BTreeMap<String, Desired>,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) guards: BTreeMap<Service, PoolGuard>,
    /// Members about whom a conclusion may have changed.
    pub(crate) touched: BTreeSet<String>,
    /// Pools whose losses have to be weighed again.
    pub(crate) unbalanced: BTreeSet<Service>,
    pub(crate) writes: Writes,
    /// Members of whom something changed that watchers need not hear of, such as how old opinions
    /// are.
    pub(crate) refreshed: BTreeSet<String>,
    /// Members that operators took off the list, of whom watchers have not heard yet.
    pub(crate) removed: Vec<(Service, String)>,
}

impl Membership {
    /// Nobody is there.
    #[must_use]
    pub fn new(threshold: Threshold) -> Self {
        Self { threshold, ..Self::default() }
    }

    /// What the store kept, with everybody's lease forgiven.
    #[must_use]
    pub fn replay(threshold: Threshold, mut entries: Vec<(Slot, Record)>, now: Timestamp) -> Self {
        let mut membership = Self::new(threshold);
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (slot, entry) in entries {
            if let Err(refusal) = membership.apply(entry.command, entry.at) {
                tracing::warn!(?slot, %refusal, "the store holds a command that does not apply; it \
                    is skipped");
            }
        }
        membership.writes.clear();
        membership.forgive(now);
        membership.settle(now);
        membership
    }

    /// Takes one command.
    ///
    /// # Errors
    /// Says why it is refused; nothing has changed then.
    pub fn apply(&mut self, command: Command, now: Timestamp) -> Result<Outcome, command::Error> {
        match command {
            Command::Generations { given } => self.generations_given(given, now),
            Command::Desired { name, desired } => self.desire(name, desired, now),
            Command::Register { instance, ttl, ready, by } => {
                return self.register(instance, ttl, ready, by, now);
            }
            Command::Renew(renewal) => return self.renew(renewal, now),
            Command::Deregister { name, id, drain_for } => {
                self.deregister(name, id, drain_for, now)
            }
            Command::Remove { name } => return self.remove(name, now),
            Command::Report { opinions } => {
                return Ok(Outcome::Reported { unknown: self.report(opinions, now) });
            }
            Command::Loss(record) => self.recall(record),
            Command::AcceptLosses { service } => {
                return Ok(Outcome::Accepted { names: self.accept_losses(service, now) });
            }
            Command::Forgive => self.forgive(now),
        }
        Ok(Outcome::Done)
    }

    fn generations_given(&mut self, given: u64, now: Timestamp) {
        self.generations = self.generations.max(given);
        let entry = Record { at: now, command: Command::Generations { given: self.generations } };
        self.writes.insert(Kind::Generations.of(""), Some(entry));
    }

    /// Nobody takes another's place by a certificate that is not for it, nor more places than its
    /// certificate is for.
    fn may_register(
        &self,
        instance: &Instance,
        by: &Certified,
        now: Timestamp,
    ) -> Result<(), command::Error> {
        let alive =
            |member: &&Member| !member.is_gone(now) && member.instance.service == instance.service;
        let holder =
            self.members.get(&instance.name).filter(alive).and_then(|member| member.by.as_ref());
        if let Some(other) = holder.filter(|holder| holder.name != by.name) {
            return Err(command::Error::OtherCertificate {
                name: instance.name.clone(),
                certificate: other.name.clone(),
            });
        }
        let same = |member: &&Member| {
            member.by.as_ref().is_some_and(|it| it.name == by.name)
                && member.instance.name != instance.name
        };
        let others =
            self.members.values().filter(alive).filter(same).take(by.replicas as usize).count();
        if others < by.replicas as usize {
            return Ok(());
        }
        Err(command::Error::TooManyReplicas { certificate: by.name.clone(), replicas: by.replicas })
    }

    fn register(
        &mut self,
        mut instance: Instance,
        ttl: std::time::Duration,
        ready: bool,
        by: Option<Certified>,
        now: Timestamp,
    ) -> Result<Outcome, command::Error> {
        let name = instance.name.clone();
        // What is replayed was allowed then.
        if let Some(by) = by.as_ref().filter(|_| instance.generation == 0) {
            self.may_register(&instance, by, now)?;
        }
        let fresh = match self.members.get(&name) {
            Some(holder) if holder.instance.id == instance.id => false,
            Some(holder) if !holder.is_gone(now) && holder.instance.service != instance.service => {
                return Err(command::Error::OtherService {
                    name,
                    service: holder.instance.service,
                });
            }
            Some(holder) if !holder.is_gone(now) && holder.instance.id > instance.id => {
                return Err(command::Error::YoungerHolds { name, holder: holder.instance.id });
            }
            _ => true,
        };
        if fresh {
            if instance.generation == 0 {
                instance.generation = self.generations + 1;
            }
            self.generations = self.generations.max(instance.generation);
            self.forget(&name);
            self.members
                .insert(name.clone(), Member { by, ..Member::new(instance, ttl, ready, now) });
        } else if let Some(member) = self.members.get_mut(&name) {
            instance.generation = member.instance.generation;
            (member.instance, member.ttl, member.ready, member.by) = (instance, ttl, ready, by);
            member.lease_expires_at = after(now, ttl);
            member.drain_until = None;
            member.news = true;
        }
        let Some(member) = self.members.get(&name) else {
            return Err(command::Error::NotRegistered { name });
        };
        let entry = Record {
            at: member.registered_at,
            command: Command::Register {
                instance: member.instance.clone(),
                ttl: member.ttl,
                ready: member.ready,
                by: member.by.clone(),
            },
        };
        let generation = member.instance.generation;
        self.writes.insert(Kind::Register.of(&name), Some(entry));
        self.writes.insert(Kind::Renew.of(&name), None);
        self.writes.insert(Kind::Deregister.of(&name), None);
        self.touched.insert(name);
        Ok(Outcome::Registered { generation })
    }

    fn renew(&mut self, renewal: Renewal, now: Timestamp) -> Result<Outcome, command::Error> {
        let Some(member) = self.members.get_mut(&renewal.name) else {
            return Err(command::Error::NotRegistered { name: renewal.name });
        };
        if member.instance.id > renewal.id {
            return Err(command::Error::Superseded {
                name: renewal.name,
                holder: member.instance.id,
            });
        }
        if member.instance.id != renewal.id || member.instance.generation != renewal.generation {
            return Err(command::Error::NotRegistered { name: renewal.name });
        }
        member.lease_expires_at = after(now, member.ttl);
        let same = member.ready == renewal.ready
            && member.instance.applied_revision == renewal.applied_revision
            && member.instance.applied_hash == renewal.applied_hash;
        if !same || after(member.stored_renewal_at, RENEWALS_STORED_EVERY) <= now {
            member.stored_renewal_at = now;
            self.writes.insert(
                Kind::Renew.of(&renewal.name),
                Some(Record { at: now, command: Command::Renew(renewal.clone()) }),
            );
        }
        if !same {
            member.ready = renewal.ready;
            member.instance.applied_revision = renewal.applied_revision;
            member.instance.applied_hash = renewal.applied_hash;
            member.news = true;
        }
        if !same || member.loss.is_some() {
            self.touched.insert(renewal.name);
        }
        Ok(Outcome::Renewed { ttl: member.ttl })
    }

    /// Somebody who is not there, or another process of the name, has nothing to stop.
    fn deregister(
        &mut self,
        name: String,
        id: InstanceId,
        drain_for: std::time::Duration,
        now: Timestamp,
    ) {
        let Some(member) = self.members.get_mut(&name).filter(|member| member.instance.id == id)
        else {
            return;
        };
        if member.drain_until.is_none() {
            let drain_for = drain_for.min(MAX_DRAIN);
            member.drain_until = Some(after(now, drain_for));
            member.news = true;
            self.writes.insert(
                Kind::Deregister.of(&name),
                Some(Record {
                    at: now,
                    command: Command::Deregister { name: name.clone(), id, drain_for },
                }),
            );
            self.touched.insert(name);
        }
    }

    /// Its watchers hear of it when the conclusions are drawn.
    fn remove(&mut self, name: String, now: Timestamp) -> Result<Outcome, command::Error> {
        let member = self.members.get(&name);
        if member.is_none() && !self.desired.contains_key(&name) {
            return Err(command::Error::Unknown { name });
        }
        if member.is_some_and(|member| !member.is_gone(now)) {
            return Err(command::Error::StillThere { name });
        }
        let removed = member.map(|member| (member.instance.service, name.clone()));
        let was_listed = removed.is_some();
        self.forget(&name);
        self.desire(name, NOTHING_DESIRED.clone(), now);
        self.removed.extend(removed);
        Ok(Outcome::Removed { was_listed })
    }

    /// Whether what is asked for takes out the last one that serves clients.
    #[must_use]
    pub fn would_be_last(&self, name: &str, desired: &Desired) -> Option<Service> {
        let member = self.members.get(name)?;
        let weight = desired.weight.unwrap_or(member.instance.weight);
        let leave = cluster::leaving::Leave { admin_state: desired.admin_state, weight };
        let service = member.instance.service;
        if !leave.takes_out() || !cluster::leaving::serves_clients(service) {
            return None;
        }
        let listed: Vec<_> =
            self.statuses().filter(|status| status.instance.service == service).collect();
        cluster::leaving::is_last(&listed, name).then_some(service)
    }

    fn desire(&mut self, name: String, desired: Desired, now: Timestamp) {
        let forget = desired.weight.is_none() && desired.admin_state == cluster::AdminState::Ready;
        let entry = (!forget).then(|| Record {
            at: now,
            command: Command::Desired { name: name.clone(), desired: desired.clone() },
        });
        self.writes.insert(Kind::Desired.of(&name), entry);
        if forget {
            self.desired.remove(&name);
        } else {
            self.desired.insert(name.clone(), desired);
        }
        if let Some(member) = self.members.get_mut(&name) {
            member.news = true;
            self.touched.insert(name);
        }
    }

    fn report(&mut self, opinions: Vec<Opinion>, now: Timestamp) -> Vec<InstanceId> {
        let mut unknown = BTreeSet::new();
        for opinion in opinions {
            match self
                .members
                .get_mut(&opinion.target_name)
                .filter(|member| member.instance.id == opinion.target_id)
            {
                Some(member) => {
                    self.touched.insert(opinion.target_name.clone());
                    member.hear(opinion, now);
                }
                None => {
                    unknown.insert(opinion.target_id);
                }
            }
        }
        unknown.into_iter().collect()
    }

    fn recall(&mut self, record: LossRecord) {
        let LossRecord { name, id, since, lapsed_at, believed_at, settled } = record;
        if let Some(member) = self.members.get_mut(&name).filter(|member| member.instance.id == id)
        {
            if let Some(at) = lapsed_at {
                member.lease_expires_at = at;
            }
            (member.loss, member.settled) = (Some(Loss { since, lapsed_at, believed_at }), settled);
            member.stored_loss = member.loss_record();
        }
    }

    fn accept_losses(&mut self, service: Service, now: Timestamp) -> Vec<String> {
        let mut names = Vec::new();
        for (name, member) in
            self.members.iter_mut().filter(|(_, member)| member.instance.service == service)
        {
            if let Some(loss) = member.loss.as_mut().filter(|loss| loss.believed_at.is_none()) {
                loss.believed_at = Some(now);
                names.push(name.clone());
            }
        }
        self.touched.extend(names.iter().cloned());
        names
    }

    /// Leases known to have lapsed before are not forgiven; opinions count once more from now on.
    fn forgive(&mut self, now: Timestamp) {
        for (name, member) in &mut self.members {
            if member.loss.is_none_or(|loss| loss.lapsed_at.is_none()) {
                member.lease_expires_at = after(now, member.ttl);
            }
            for opinion in member.opinions.values_mut() {
                opinion.observed_at = now;
            }
            self.touched.insert(name.clone());
        }
    }

    /// What the store has to do because of everything since the last time that somebody asked.
    pub fn take_writes(&mut self) -> Writes {
        std::mem::take(&mut self.writes)
    }

    /// Members of whom something changed that watchers need not hear of, since the last time that
    /// somebody asked. Their leases are [`Membership::leases`].
    pub fn take_refreshed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.refreshed)
    }

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

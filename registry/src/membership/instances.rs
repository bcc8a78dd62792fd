//! What processes say of themselves: that they are there, that they still are, that they go.

use std::time::Duration;

use cluster::{Instance, InstanceId};
use jiff::Timestamp;

use super::Membership;
use crate::{
    command::{self, Certified, Command, Kind, Outcome, Record, Renewal},
    lease::{MAX_DRAIN, after},
    member::Member,
};

/// The store hears of a renewal that says nothing new at most this often.
const RENEWALS_STORED_EVERY: Duration = Duration::from_secs(30);

impl Membership {
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

    pub(super) fn register(
        &mut self,
        mut instance: Instance,
        ttl: Duration,
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

    pub(super) fn renew(
        &mut self,
        renewal: Renewal,
        now: Timestamp,
    ) -> Result<Outcome, command::Error> {
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
    pub(super) fn deregister(
        &mut self,
        name: String,
        id: InstanceId,
        drain_for: Duration,
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
}

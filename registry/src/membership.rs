//! The membership: a fold of [`Command`]s. [`Membership::apply`] takes the facts,
//! [`Membership::elapse`] lets time pass, [`Membership::settle`] draws the conclusions.
//!
//! What processes say is in [`instances`], what operators want in [`operators`], what others see in
//! [`read`]; `settle` is in [`crate::settle`]. No IO and no clock. The same `apply` serves live
//! traffic, replay at start and restore. It leaves behind what the store has to keep
//! ([`Membership::take_writes`]); `settle` says what watchers have to hear.

mod instances;
mod operators;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use cluster::{InstanceId, Opinion, PoolGuard, Service, guard::Threshold};
use jiff::Timestamp;

use crate::{
    command::{self, Command, Desired, Kind, LossRecord, Outcome, Record, Slot},
    lease::after,
    member::{Loss, Member},
    purge::{self, Logged},
};
pub use read::Holding;

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
    pub(crate) purges: purge::Log,
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
            Command::Purge(purge) => {
                return Ok(Outcome::Purged { logged: self.purge(purge, now) });
            }
            Command::Forgive => self.forgive(now),
        }
        Ok(Outcome::Done)
    }

    /// Takes a purge into the log; the oldest goes where there are too many.
    fn purge(&mut self, purge: Logged, now: Timestamp) -> Logged {
        let Some((logged, gone)) = self.purges.take(purge, now) else { return Logged::default() };
        let command = Command::Purge(logged.clone());
        self.writes.insert(Kind::Purge.of(&logged.slot()), Some(Record { at: logged.at, command }));
        if let Some(gone) = gone {
            self.writes.insert(Kind::Purge.of(&gone.slot()), None);
        }
        logged
    }

    fn generations_given(&mut self, given: u64, now: Timestamp) {
        self.generations = self.generations.max(given);
        let entry = Record { at: now, command: Command::Generations { given: self.generations } };
        self.writes.insert(Kind::Generations.of(""), Some(entry));
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
}

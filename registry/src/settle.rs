//! Conclusions: what follows from the facts that were applied and from the time that passed.
//!
//! [`Membership::settle`] goes over the members about whom something may have changed: weigh the
//! evidence, let the guard decide which losses are believed, let go whose time is up, and conclude
//! states.

use std::collections::BTreeSet;

use cluster::{
    PoolGuard, Service,
    guard::{self, Loss},
    health,
};
use jiff::Timestamp;

use crate::{
    command::{Command, Kind, Record},
    membership::{Changes, Membership},
};

impl Membership {
    /// Marks those for whom the time that passed may have changed something. Goes over everybody:
    /// once per tick, not once per command.
    pub fn elapse(&mut self, now: Timestamp) {
        let due = self
            .members
            .iter()
            .filter(|(_, member)| member.due <= now)
            .map(|(name, _)| name.clone());
        self.touched.extend(due);
    }

    /// Draws the conclusions; says what watchers have to hear.
    pub fn settle(&mut self, now: Timestamp) -> Changes {
        let mut changes =
            Changes { removed: std::mem::take(&mut self.removed), ..Changes::default() };
        // Who came back in the same batch is there.
        changes.removed.retain(|(_, name)| !self.members.contains_key(name));
        let mut open = std::mem::take(&mut self.touched);
        for name in &open {
            self.weigh(name, now);
        }
        self.balance(now, &mut open, &mut changes);
        for name in &open {
            self.retire(name, now, &mut changes);
        }
        self.balance(now, &mut open, &mut changes);
        for name in &open {
            self.conclude(name, now, &mut changes);
        }
        changes
    }

    /// Brings the evidence about one member up to date. Where no guard weighs it, it is believed at
    /// once.
    fn weigh(&mut self, name: &str, now: Timestamp) {
        let desired = self.desired(name).clone();
        let Some(member) = self.members.get_mut(name) else { return };
        member.weigh(now);
        let weighed = guard::is_guarded(member.instance.service) && member.in_pool(&desired);
        if let Some(loss) = member.loss.as_mut().filter(|_| !weighed) {
            loss.believed_at.get_or_insert(now);
        }
        if member.count(&desired) != member.counted {
            self.unbalanced.insert(member.instance.service);
        }
    }

    /// Lets the guard decide in every pool in which something changed.
    fn balance(&mut self, now: Timestamp, open: &mut BTreeSet<String>, changes: &mut Changes) {
        for service in std::mem::take(&mut self.unbalanced) {
            if guard::is_guarded(service) {
                let guard = self.judge(service, now, open);
                if self.guards.get(&service) != Some(&guard) {
                    self.guards.insert(service, guard);
                    changes.guards.insert(service);
                }
            }
            for (name, member) in
                self.members.iter_mut().filter(|(_, member)| member.instance.service == service)
            {
                member.counted = member
                    .count(self.desired.get(name).unwrap_or(&crate::membership::NOTHING_DESIRED));
            }
        }
    }

    fn judge(
        &mut self,
        service: Service,
        now: Timestamp,
        open: &mut BTreeSet<String>,
    ) -> PoolGuard {
        let in_pool = |(name, member): &(&String, &crate::member::Member)| {
            member.instance.service == service && member.in_pool(self.desired(name))
        };
        let pool: Vec<_> = self.members.iter().filter(in_pool).collect();
        let weighed = |loss: crate::member::Loss| Loss {
            since: loss.since,
            believed: loss.believed_at.is_some(),
        };
        let seen: Vec<_> = pool
            .iter()
            .map(|(name, member)| guard::Member { name, loss: member.loss.map(weighed) })
            .collect();
        let judgement = guard::judge(self.threshold, &seen);
        let names = |positions: &[usize]| -> Vec<String> {
            positions.iter().map(|&position| pool[position].0.clone()).collect()
        };
        let (believe, held) = (names(&judgement.believe), names(&judgement.held));
        for name in believe {
            if let Some(loss) = self.members.get_mut(&name).and_then(|member| member.loss.as_mut())
            {
                loss.believed_at = Some(now);
            }
            open.insert(name);
        }
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        PoolGuard {
            service,
            holding: judgement.holding(),
            explanation: guard::explain(service, self.threshold, &judgement, &held),
            held,
            members: count(judgement.members),
            well: count(judgement.well),
        }
    }

    /// Lets go whose time is up. A pool that holds losses back keeps its lost members, or time
    /// alone would make the next loss plausible.
    fn retire(&mut self, name: &str, now: Timestamp, changes: &mut Changes) {
        let Some(member) = self.members.get(name) else { return };
        let service = member.instance.service;
        let drained = member.drain_until.is_some_and(|at| at <= now);
        let holding =
            member.counted.0 && self.guards.get(&service).is_some_and(|guard| guard.holding);
        let forgotten = member.forgotten_at().is_some_and(|at| at <= now) && !holding;
        if drained || forgotten {
            self.forget(name);
            changes.removed.push((service, name.to_owned()));
        }
    }

    /// Forgets a process, but neither what operators want of its name nor that its generation was
    /// given.
    pub(crate) fn forget(&mut self, name: &str) {
        if let Some(member) = self.members.remove(name) {
            self.unbalanced.insert(member.instance.service);
            for kind in Kind::OF_A_PROCESS {
                self.writes.insert(kind.of(name), None);
            }
            let entry = Record {
                at: Timestamp::UNIX_EPOCH,
                command: Command::Generations { given: self.generations },
            };
            self.writes.insert(Kind::Generations.of(""), Some(entry));
        }
    }

    /// Draws the conclusion about one member and notes what the store and the watchers have to
    /// know.
    fn conclude(&mut self, name: &str, now: Timestamp, changes: &mut Changes) {
        let desired = self.desired(name).clone();
        let Some(member) = self.members.get_mut(name) else { return };
        let finding = health::fold(member.opinions.values(), now);
        let standing = member.stand(&desired, &finding);
        if standing.state != member.standing.state {
            member.changed_at = now;
            changes.moved.push(name.to_owned());
        }
        let news = std::mem::take(&mut member.news) || standing != member.standing;
        member.standing = standing;
        member.schedule(now);
        if news {
            self.refreshed.remove(name);
            changes.upserted.insert(name.to_owned());
        } else {
            self.refreshed.insert(name.to_owned());
        }
        let (loss, case) = (member.loss_record(), member.case());
        if loss != member.stored_loss {
            let entry =
                loss.clone().map(|record| Record { at: now, command: Command::Loss(record) });
            self.writes.insert(Kind::Loss.of(name), entry);
            member.stored_loss = loss;
        }
        if case != member.stored_case {
            let opinions = member.opinions.values().cloned().collect();
            let entry = (!case.is_empty())
                .then_some(Record { at: now, command: Command::Report { opinions } });
            self.writes.insert(Kind::Opinions.of(name), entry);
            member.stored_case = case;
        }
    }
}

//! What operators want of whom, and whom they take off the list.

use cluster::Service;
use jiff::Timestamp;

use super::{Membership, NOTHING_DESIRED};
use crate::command::{self, Command, Desired, Kind, Outcome, Record};

impl Membership {
    /// Its watchers hear of it when the conclusions are drawn.
    pub(super) fn remove(
        &mut self,
        name: String,
        now: Timestamp,
    ) -> Result<Outcome, command::Error> {
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

    pub(super) fn desire(&mut self, name: String, desired: Desired, now: Timestamp) {
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

    pub(super) fn accept_losses(&mut self, service: Service, now: Timestamp) -> Vec<String> {
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
}

//! What a backup keeps of the registry, and what comes back with a restore. Pure.
//!
//! What operators want (admin states, weights, reasons), which cluster it is and which generations
//! were given come back. Instances do not: they are kept for reading only. Every living process
//! registers itself anew within seconds, and one that died since must not be taken for alive.

use std::collections::BTreeMap;

use chassis::transfer;
use cluster::{AdminState, InstanceStatus, instance::MAX_WEIGHT, wire};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    command::{Command, Desired},
    membership::Membership,
    purge::Logged,
    store::Identity,
};

/// Version of the form of the entries.
pub const FORMAT: u32 = 1;
/// What operators want, a JSON object a line.
const ADMIN_STATES: &str = "admin-states.jsonl";
/// Which generations were given.
const GENERATIONS: &str = "generations.json";
/// Who was there, a JSON object a line; for reading only.
const INSTANCES: &str = "instances.jsonl";
/// The log of purges, a JSON object a line. Archives of earlier versions have none.
const PURGES: &str = "purges.jsonl";
/// The longest reason, in bytes.
const MAX_REASON: usize = 1024;

/// What there is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recollection {
    pub identity: Identity,
    /// The highest generation given.
    pub generations: u64,
    /// What operators want, by name.
    pub desired: BTreeMap<String, Desired>,
    /// Who is there, by name.
    pub instances: Vec<InstanceStatus>,
    /// The purges of late, the oldest first.
    pub purges: Vec<Logged>,
}

/// A line of [`ADMIN_STATES`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    admin_state: AdminState,
    weight: Option<u32>,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Generations {
    given: u64,
}

impl Recollection {
    /// Takes it down.
    #[must_use]
    pub fn of(membership: &Membership, identity: Identity) -> Self {
        Self {
            identity,
            generations: membership.generations(),
            desired: membership.all_desired().clone(),
            instances: membership.statuses().collect(),
            purges: membership.purges().iter().map(|logged| (**logged).clone()).collect(),
        }
    }

    /// As entries: name and content.
    ///
    /// # Errors
    /// Something cannot be written as JSON.
    pub fn entries(&self) -> Result<Vec<(&'static str, Vec<u8>)>, serde_json::Error> {
        let line = |(name, desired): (&String, &Desired)| Line {
            name: name.clone(),
            admin_state: desired.admin_state,
            weight: desired.weight,
            reason: desired.reason.clone(),
        };
        Ok(vec![
            (GENERATIONS, serde_json::to_vec(&Generations { given: self.generations })?),
            (ADMIN_STATES, lines(self.desired.iter().map(line))?),
            (INSTANCES, lines(&self.instances)?),
            (PURGES, lines(&self.purges)?),
        ])
    }

    /// Of what a restore replaces: which cluster in which epoch, and what operators want of it.
    ///
    /// # Errors
    /// Something cannot be written as JSON.
    pub fn fingerprint(&self) -> Result<String, serde_json::Error> {
        let identity = format!("{} {}", self.identity.cluster_id, self.identity.epoch).into_bytes();
        let mut entries = self.entries()?;
        entries.retain(|(name, _)| *name == ADMIN_STATES);
        entries.push(("identity", identity));
        Ok(transfer::fingerprint(&entries))
    }

    /// What there is, counted.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        [
            ("admin states", self.desired.len()),
            ("instances", self.instances.len()),
            ("purges", self.purges.len()),
        ]
        .map(|(what, count)| (what.to_owned(), count as u64))
        .into()
    }

    /// What there is, for people.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<String, String> {
        let said: Vec<_> = self
            .desired
            .iter()
            .map(|(name, desired)| format!("{name} {}", describe(desired)))
            .collect();
        let said = if said.is_empty() { "none".to_owned() } else { said.join(", ") };
        [("admin states".to_owned(), said)].into()
    }
}

fn lines(values: impl IntoIterator<Item = impl Serialize>) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    for value in values {
        serde_json::to_writer(&mut bytes, &value)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// What comes back with a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Which cluster it becomes.
    pub cluster_id: Uuid,
    /// The highest epoch that anybody remembers: that of the backup, or a later one that the
    /// cluster had since.
    pub epoch: u64,
    /// The highest generation given.
    pub generations: u64,
    /// What operators want, by name; nothing else is wanted afterwards.
    pub desired: BTreeMap<String, Desired>,
    /// The log of purges: those that are later than what there is are added. In the epoch that
    /// follows, every node validates what it has stored.
    pub purges: Vec<Logged>,
    /// Fingerprint of what somebody looked at before: nothing else is replaced.
    pub expected: Option<String>,
}

/// Why entries are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// An entry is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A line makes no sense.
    #[error("line {line} of {entry}: {problem}")]
    Line { entry: &'static str, line: usize, problem: String },
}

impl Restored {
    /// Reads entries; `content` answers what is in one. Instances are not read.
    ///
    /// # Errors
    /// One is missing or makes no sense.
    pub fn read(
        cluster_id: Uuid,
        epoch: u64,
        content: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<Self, Unreadable> {
        let generations = content(GENERATIONS).ok_or(Unreadable::Missing(GENERATIONS))?;
        let generations: Generations = serde_json::from_slice(&generations).map_err(|error| {
            Unreadable::Line { entry: GENERATIONS, line: error.line(), problem: error.to_string() }
        })?;
        let text = content(ADMIN_STATES).ok_or(Unreadable::Missing(ADMIN_STATES))?;
        let mut desired = BTreeMap::new();
        for (index, line) in
            text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty())
        {
            let problem =
                |problem| Unreadable::Line { entry: ADMIN_STATES, line: index + 1, problem };
            let (name, wanted) = read_desired(line).map_err(problem)?;
            if desired.insert(name.clone(), wanted).is_some() {
                return Err(problem(format!("{name} comes twice")));
            }
        }
        let purges = content(PURGES).unwrap_or_default();
        let purges = each_line(&purges, PURGES, |line| {
            let logged: Logged = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            logged.check().map(|()| logged)
        })?;
        Ok(Self {
            cluster_id,
            epoch,
            generations: generations.given,
            desired,
            purges,
            expected: None,
        })
    }

    /// Whether what there is is what somebody looked at before.
    #[must_use]
    pub fn replaces(&self, present: &Recollection) -> bool {
        self.expected.as_ref().is_none_or(|expected| {
            present.fingerprint().is_ok_and(|fingerprint| fingerprint == *expected)
        })
    }

    /// What makes it so.
    #[must_use]
    pub fn commands(&self, membership: &Membership) -> Vec<Command> {
        let others =
            membership.all_desired().keys().filter(|name| !self.desired.contains_key(*name));
        let forgotten =
            others.map(|name| Command::Desired { name: name.clone(), desired: Desired::default() });
        let wished = self.desired.iter().map(|(name, desired)| Command::Desired {
            name: name.clone(),
            desired: desired.clone(),
        });
        let given = self.generations.max(membership.generations());
        let newest = membership.purges().newest();
        let purges = self.purges.iter().filter(|logged| logged.position > newest);
        std::iter::once(Command::Generations { given })
            .chain(forgotten)
            .chain(wished)
            .chain(purges.cloned().map(Command::Purge))
            .collect()
    }

    /// Which cluster it becomes. The epoch is one that neither this registry nor anybody else
    /// remembers.
    #[must_use]
    pub fn identity(&self, present: &Identity) -> Identity {
        Identity {
            cluster_id: self.cluster_id,
            epoch: self.epoch.max(present.epoch).saturating_add(1),
        }
    }

    /// What differs from what there is, for people.
    #[must_use]
    pub fn changes(&self, present: &Recollection) -> Vec<String> {
        let mut changes = Vec::new();
        if present.identity.cluster_id != self.cluster_id {
            changes.push(format!(
                "the registry becomes that of cluster {} again (it is {})",
                self.cluster_id, present.identity.cluster_id
            ));
        }
        changes.push(format!(
            "the epoch becomes {}, so that everybody who watches hears everything anew",
            self.identity(&present.identity).epoch
        ));
        for (name, desired) in &self.desired {
            match present.desired.get(name) {
                Some(now) if now == desired => {}
                now => changes.push(format!(
                    "{name}: {} (now {})",
                    describe(desired),
                    now.map_or_else(|| "ready".to_owned(), describe)
                )),
            }
        }
        for (name, now) in
            present.desired.iter().filter(|(name, _)| !self.desired.contains_key(*name))
        {
            changes.push(format!("{name}: ready (now {})", describe(now)));
        }
        changes
    }
}

fn each_line<T>(
    text: &[u8],
    entry: &'static str,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Vec<T>, Unreadable> {
    text.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            read(line).map_err(|problem| Unreadable::Line { entry, line: index + 1, problem })
        })
        .collect()
}

fn read_desired(line: &[u8]) -> Result<(String, Desired), String> {
    let Line { name, admin_state, weight, reason } =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let name = wire::name(name).map_err(|problem| problem.to_string())?;
    if weight.is_some_and(|weight| weight > MAX_WEIGHT) || reason.len() > MAX_REASON {
        return Err(format!(
            "a weight above {MAX_WEIGHT} or a reason of more than {MAX_REASON} bytes"
        ));
    }
    Ok((name, Desired { admin_state, weight, reason }))
}

fn describe(desired: &Desired) -> String {
    let state = match desired.admin_state {
        AdminState::Ready => "ready",
        AdminState::Drain => "drain",
        AdminState::Maintenance => "maintenance",
    };
    let weight = desired.weight.map_or_else(String::new, |weight| format!(" with weight {weight}"));
    let reason =
        if desired.reason.is_empty() { String::new() } else { format!(" ({})", desired.reason) };
    format!("{state}{weight}{reason}")
}

#[cfg(test)]
mod tests;

//! What may happen to the membership. Its state is the fold of these, for live traffic and for
//! replay alike.

use std::time::Duration;

use cluster::{AdminState, Instance, InstanceId, Opinion, Service, State};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::purge::Logged;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// No generation given before the stored one is ever given again.
    Generations {
        /// The highest given.
        given: u64,
    },
    /// Operators want something of an instance, or no longer. `wish` is its name in what is stored.
    #[serde(rename = "wish")]
    Desired {
        name: String,
        /// What; the default forgets everything that was wanted before.
        #[serde(rename = "wish")]
        desired: Desired,
    },
    /// A process registers.
    Register {
        /// Itself; generation 0 asks for one, another is what it was given before.
        instance: Instance,
        /// The lease granted.
        ttl: Duration,
        /// Whether it may serve already.
        ready: bool,
        /// With which certificate; none without certificates, and in what earlier versions kept.
        #[serde(default)]
        by: Option<Certified>,
    },
    /// A process renews its lease.
    Renew(Renewal),
    /// A process stops.
    Deregister {
        name: String,
        /// Which process of that name.
        id: InstanceId,
        /// How long it stays listed as draining.
        drain_for: Duration,
    },
    /// Operators take somebody who is gone off the list, and want nothing more of the name.
    Remove { name: String },
    /// A checker says what it found.
    Report { opinions: Vec<Opinion> },
    /// What had been decided about a loss (only in the store).
    Loss(LossRecord),
    /// Operators say that the losses held back for a service are real.
    AcceptLosses { service: Service },
    /// Something is purged from all caches.
    Purge(Logged),
    /// The registry itself was away (restarted, stopped, its clock was set): what was alive then
    /// gets one more lease.
    Forgive,
}

impl Command {
    /// Whether an answer means that it survives a crash.
    #[must_use]
    pub fn must_survive(&self) -> bool {
        !matches!(self, Self::Renew(_) | Self::Report { .. } | Self::Forgive)
    }

    /// Whom it is about, when that is one process.
    #[must_use]
    pub fn of_process(&self) -> Option<&str> {
        match self {
            Self::Register { instance, .. } => Some(&instance.name),
            Self::Renew(renewal) => Some(&renewal.name),
            _ => None,
        }
    }

    /// What metrics call it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Generations { .. } => "generations",
            Self::Desired { .. } => "desired",
            Self::Register { .. } => "register",
            Self::Renew(_) => "renew",
            Self::Deregister { .. } => "deregister",
            Self::Remove { .. } => "remove",
            Self::Report { .. } => "report",
            Self::Loss(_) => "loss",
            Self::AcceptLosses { .. } => "accept_losses",
            Self::Purge(_) => "purge",
            Self::Forgive => "forgive",
        }
    }
}

/// The certificate that a process registered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    pub name: String,
    /// How many processes it is for.
    pub replicas: u32,
}

/// What operators want of an instance. Kept by name, so that it survives the instance's restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Whether it may serve.
    pub admin_state: AdminState,
    /// Replaces its own weight.
    pub weight: Option<u32>,
    /// Why, in their words.
    pub reason: String,
}

/// A renewal of a lease, with what the process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    pub name: String,
    /// Which process of that name.
    pub id: InstanceId,
    /// What Register answered.
    pub generation: u64,
    /// Configuration in force.
    pub applied_revision: String,
    pub applied_hash: String,
    /// Whether it may serve.
    pub ready: bool,
}

/// What the registry had decided about the loss of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRecord {
    pub name: String,
    /// Which process of that name.
    pub id: InstanceId,
    /// Since when there is evidence.
    pub since: Timestamp,
    /// When its lease lapsed; `None` when the loss is a verdict alone.
    pub lapsed_at: Option<Timestamp>,
    /// When it was acted on; `None` while it is held back.
    pub believed_at: Option<Timestamp>,
    /// The state that holds while it is held back.
    pub settled: State,
}

/// Where the store keeps a command: a later one in the same slot replaces the earlier, so that the
/// store stays as small as the membership.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub kind: Kind,
    /// The instance's name; empty for what concerns nobody in particular.
    pub name: String,
}

/// The kinds of slots in the order in which they are replayed: an instance is there before anything
/// is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// [`Command::Generations`]
    Generations = 0,
    /// [`Command::Desired`]
    Desired = 1,
    /// [`Command::Register`]
    Register = 2,
    /// [`Command::Renew`]
    Renew = 3,
    /// [`Command::Deregister`]
    Deregister = 4,
    /// [`Command::Report`]
    Opinions = 5,
    /// [`Command::Loss`]
    Loss = 6,
    /// [`Command::Purge`], one for each
    Purge = 7,
}

impl Kind {
    /// All that belong to one process and go with it.
    pub const OF_A_PROCESS: [Self; 5] =
        [Self::Register, Self::Renew, Self::Deregister, Self::Opinions, Self::Loss];

    /// The kind that the store writes as `number`.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        use Kind::{Deregister, Desired, Generations, Loss, Opinions, Purge, Register, Renew};
        [Generations, Desired, Register, Renew, Deregister, Opinions, Loss, Purge]
            .into_iter()
            .find(|kind| *kind as i64 == number)
    }

    /// The slot of this kind for `name`.
    #[must_use]
    pub fn of(self, name: &str) -> Slot {
        Slot { kind: self, name: name.to_owned() }
    }
}

/// A command as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it happened.
    pub at: Timestamp,
    pub command: Command,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and there is nothing more to say.
    Done,
    /// The process is registered.
    Registered { generation: u64 },
    /// The lease is renewed.
    Renewed {
        /// For so long.
        ttl: Duration,
    },
    /// The opinions are taken.
    Reported {
        /// Targets that are not registered.
        unknown: Vec<InstanceId>,
    },
    /// These losses are acted on now.
    Accepted { names: Vec<String> },
    /// It is in the log.
    Purged { logged: Logged },
    /// It is off the list.
    Removed {
        /// It was on it.
        was_listed: bool,
    },
}

/// Why a command is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "a younger process (id {holder}) holds the name {name:?}: either two processes run under \
         one name (stop this one or give it a name of its own with --name), or this machine's \
         clock was set back after an earlier start (start again once that lease has lapsed, see \
         `shoal status`)"
    )]
    YoungerHolds {
        name: String,
        /// Who holds it.
        holder: InstanceId,
    },
    #[error(
        "the name {name:?} is held by a live {service}; names are unique in the cluster: give this \
         instance another with --name"
    )]
    OtherService {
        name: String,
        /// What holds it.
        service: Service,
    },
    /// Register: the certificate is used up.
    #[error(
        "the certificate {certificate:?} is for {replicas} processes, and as many are registered \
         with it: issue another one, or one for more \
         with `shoal pki issue --replicas N`"
    )]
    TooManyReplicas {
        certificate: String,
        /// How many it is for.
        replicas: u32,
    },
    /// Register: somebody else's name.
    #[error(
        "the name {name:?} is held by a live process with the certificate {certificate:?}: give \
         this instance another with --name"
    )]
    OtherCertificate {
        name: String,
        /// Who holds it.
        certificate: String,
    },
    #[error(
        "a younger process (id {holder}) took over the name {name:?}: stop this one or give it a \
         name of its own with --name"
    )]
    Superseded {
        name: String,
        /// Who holds it.
        holder: InstanceId,
    },
    /// Renew: not (or no longer) registered.
    #[error("{name:?} is not registered with this id and generation: register again")]
    NotRegistered { name: String },
    /// Operators would take the last one out that serves clients.
    #[error("{}; enable or start another first, or force it (`shoal node` takes \
        --force)", cluster::leaving::warning(.name, *.service))]
    LastUsable {
        name: String,
        /// What it is.
        service: Service,
    },
    /// Operators would remove somebody who would be back at the next heartbeat.
    #[error(
        "{name:?} still keeps its lease, and would be back at once: stop its process first, then \
         remove it; `shoal node disable` takes it out"
    )]
    StillThere { name: String },
    /// Operators named somebody who is not there.
    #[error(
        "there is no instance named {name:?}; ListInstances (`shoal status`) shows those that \
         there are"
    )]
    Unknown { name: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What earlier versions stored is replayed by this one.
    #[test]
    fn the_names_in_the_store_stay() {
        let stored = "{\"wish\":{\"name\":\"a\",\"wish\":{\"admin_state\":\"drain\",\
            \"weight\":3,\"reason\":\"new disk\"}}}";
        let desired = Desired {
            admin_state: AdminState::Drain,
            weight: Some(3),
            reason: "new disk".to_owned(),
        };
        let command = Command::Desired { name: "a".to_owned(), desired };
        assert_eq!(serde_json::to_string(&command).ok().as_deref(), Some(stored));
        assert_eq!(serde_json::from_str::<Command>(stored).ok(), Some(command));
    }
}

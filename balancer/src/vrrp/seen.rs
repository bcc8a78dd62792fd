//! What can be seen of the instances: by status, metrics and whoever asks over gRPC.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ipnet::IpNet;
use jiff::Timestamp;
use metrics::{counter, gauge};

use super::{fitness::Ailment, packet::Version, settings::Instance};
use crate::metrics as names;

/// Where an instance stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This balancer holds the addresses.
    Master,
    /// Another one does, as far as it knows.
    Backup,
    /// It takes no part, and why.
    Fault(String),
}

impl Standing {
    /// As keepalived calls it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault(_) => "FAULT",
        }
    }
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Seen {
    pub instance: Arc<Instance>,
    pub standing: Standing,
    pub since: Timestamp,
    /// What it says now.
    pub priority: u8,
    /// Why that is not its own priority.
    pub ailment: Ailment,
    /// Whom a backup hears.
    pub master: Option<IpAddr>,
    /// How often it became master.
    pub became_master: u64,
}

impl Seen {
    /// In the bundle's number.
    #[must_use]
    pub fn version(&self) -> u8 {
        match self.instance.agreed.version {
            Version::V2 => 2,
            Version::V3 => 3,
        }
    }

    /// As they are written in the bundle.
    pub fn addresses(&self) -> impl Iterator<Item = &IpNet> {
        self.instance.addresses.iter()
    }
}

/// All instances of this balancer, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<BTreeMap<String, Seen>>>);

impl Shown {
    /// All of them now.
    #[must_use]
    pub fn all(&self) -> Vec<Seen> {
        self.lock().values().cloned().collect()
    }

    /// Changes what is seen of one, which must have been [put](Self::put) there.
    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.lock().get_mut(name) {
            change(seen);
            gauges(name, Some(seen));
        }
    }

    pub(super) fn put(&self, seen: Seen) {
        let name = seen.instance.name.clone();
        gauges(&name, Some(&seen));
        self.lock().insert(name, seen);
    }

    pub(super) fn remove(&self, name: &str) {
        self.lock().remove(name);
        gauges(name, None);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gauges(name: &str, seen: Option<&Seen>) {
    let is = |yes: bool| if yes { 1.0 } else { 0.0 };
    let set =
        |metric: &'static str, value| gauge!(metric, "instance" => name.to_owned()).set(value);
    set(names::VRRP_MASTER, is(seen.is_some_and(|it| it.standing == Standing::Master)));
    let fault = |it: &Seen| matches!(it.standing, Standing::Fault(_));
    set(names::VRRP_FAULT, is(seen.is_some_and(fault)));
    set(names::VRRP_PRIORITY, seen.map_or(0.0, |it| f64::from(it.priority)));
    if let Some(seen) = seen {
        counter!(names::VRRP_BECAME_MASTER, "instance" => name.to_owned())
            .absolute(seen.became_master);
    }
}

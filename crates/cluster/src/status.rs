//! An instance as the registry sees it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    health::Opinion,
    instance::{Instance, Service},
};

/// What operators want of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// May serve.
    #[default]
    Ready,
    /// Finishes what it has, gets nothing new.
    Drain,
    /// Gets nothing.
    Maintenance,
}

/// What the registry derives from lease, opinions and admin state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// New: registered and not yet ready.
    Starting,
    /// May serve.
    Usable,
    /// One checker alone finds it unwell: picked last, never removed.
    Suspect,
    /// The majority of its checkers find it unwell.
    Critical,
    /// Its lease lapsed.
    Lost,
    /// It stops, or operators drain it.
    Draining,
    /// Operators took it out.
    Maintenance,
}

/// An instance with what the registry derived for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Who it is.
    pub instance: Instance,
    /// What operators want of it.
    pub admin_state: AdminState,
    /// What follows.
    pub state: State,
    /// Why, most important first, in words for people.
    pub reasons: Vec<String>,
    /// When this process registered.
    pub registered_at: Timestamp,
    /// When `state` last changed.
    pub changed_at: Timestamp,
    /// When its lease lapses unless renewed.
    pub lease_expires_at: Timestamp,
    /// Weight after what operators set.
    pub effective_weight: u32,
    /// Fresh opinions only.
    pub opinions: Vec<Opinion>,
    /// The state that would hold if the plausibility guard did not hold it back.
    pub withheld_state: Option<State>,
}

/// The plausibility guard of one service's pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolGuard {
    /// Whose pool.
    pub service: Service,
    /// True while losses are held back.
    pub holding: bool,
    /// Names whose loss is held back.
    pub held: Vec<String>,
    /// All members that nobody asked to leave.
    pub members: u32,
    /// Members that are neither lost nor critical.
    pub well: u32,
    /// In words for people, with the remedy; empty while nothing is held.
    pub explanation: String,
}

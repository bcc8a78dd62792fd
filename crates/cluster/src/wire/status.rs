//! What the registry says of an instance, as messages.

use proto::registry as pb;

use super::{
    InvalidInstance, InvalidOpinion,
    field::{from_timestamp, timestamp},
};
use crate::{
    health::Opinion,
    instance::{MAX_WEIGHT, UnknownService},
    status::{AdminState, InstanceStatus, PoolGuard, State},
};

/// Why an `InstanceStatus` message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatus {
    /// `instance`
    #[error(transparent)]
    Instance(#[from] InvalidInstance),
    /// `opinions`
    #[error(transparent)]
    Opinion(#[from] InvalidOpinion),
    /// `admin_state`
    #[error("admin state {0} is not one of ready, drain, maintenance")]
    AdminState(i32),
    /// `state` or `withheld_state`
    #[error("state {0} is unknown")]
    State(i32),
    /// One of the points in time.
    #[error("{0} is missing or out of range")]
    Time(&'static str),
    /// `effective_weight`
    #[error("effective weight {0} is out of range: weights are 0 to 256")]
    Weight(u32),
}

impl From<AdminState> for pb::AdminState {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Ready => Self::Ready,
            AdminState::Drain => Self::Drain,
            AdminState::Maintenance => Self::Maintenance,
        }
    }
}

/// The admin state of a message field; `Ok(None)` when unspecified.
///
/// # Errors
/// The number, when it stands for none.
pub fn admin_state(field: i32) -> Result<Option<AdminState>, InvalidStatus> {
    match pb::AdminState::try_from(field) {
        Ok(pb::AdminState::Unspecified) => Ok(None),
        Ok(pb::AdminState::Ready) => Ok(Some(AdminState::Ready)),
        Ok(pb::AdminState::Drain) => Ok(Some(AdminState::Drain)),
        Ok(pb::AdminState::Maintenance) => Ok(Some(AdminState::Maintenance)),
        Err(_) => Err(InvalidStatus::AdminState(field)),
    }
}

impl From<State> for pb::State {
    fn from(state: State) -> Self {
        match state {
            State::Starting => Self::Starting,
            State::Usable => Self::Usable,
            State::Suspect => Self::Suspect,
            State::Critical => Self::Critical,
            State::Lost => Self::Lost,
            State::Draining => Self::Draining,
            State::Maintenance => Self::Maintenance,
        }
    }
}

/// The state of a message field; `Ok(None)` when unspecified.
///
/// # Errors
/// The number, when it stands for none.
pub fn state(field: i32) -> Result<Option<State>, InvalidStatus> {
    match pb::State::try_from(field) {
        Ok(pb::State::Unspecified) => Ok(None),
        Ok(pb::State::Starting) => Ok(Some(State::Starting)),
        Ok(pb::State::Usable) => Ok(Some(State::Usable)),
        Ok(pb::State::Suspect) => Ok(Some(State::Suspect)),
        Ok(pb::State::Critical) => Ok(Some(State::Critical)),
        Ok(pb::State::Lost) => Ok(Some(State::Lost)),
        Ok(pb::State::Draining) => Ok(Some(State::Draining)),
        Ok(pb::State::Maintenance) => Ok(Some(State::Maintenance)),
        Err(_) => Err(InvalidStatus::State(field)),
    }
}

impl TryFrom<pb::InstanceStatus> for InstanceStatus {
    type Error = InvalidStatus;

    fn try_from(message: pb::InstanceStatus) -> Result<Self, Self::Error> {
        if message.effective_weight > MAX_WEIGHT {
            return Err(InvalidStatus::Weight(message.effective_weight));
        }
        Ok(Self {
            instance: message.instance.try_into()?,
            admin_state: admin_state(message.admin_state)?.ok_or(InvalidStatus::AdminState(0))?,
            state: state(message.state)?.ok_or(InvalidStatus::State(0))?,
            reasons: message.reasons,
            registered_at: from_timestamp(message.registered_at)
                .ok_or(InvalidStatus::Time("registered_at"))?,
            changed_at: from_timestamp(message.changed_at)
                .ok_or(InvalidStatus::Time("changed_at"))?,
            lease_expires_at: from_timestamp(message.lease_expires_at)
                .ok_or(InvalidStatus::Time("lease_expires_at"))?,
            effective_weight: message.effective_weight,
            opinions: message
                .opinions
                .into_iter()
                .map(Opinion::try_from)
                .collect::<Result<_, _>>()?,
            withheld_state: state(message.withheld_state)?,
        })
    }
}

impl From<&InstanceStatus> for pb::InstanceStatus {
    fn from(status: &InstanceStatus) -> Self {
        Self {
            instance: Some((&status.instance).into()),
            admin_state: pb::AdminState::from(status.admin_state).into(),
            state: pb::State::from(status.state).into(),
            reasons: status.reasons.clone(),
            registered_at: Some(timestamp(status.registered_at)),
            changed_at: Some(timestamp(status.changed_at)),
            lease_expires_at: Some(timestamp(status.lease_expires_at)),
            effective_weight: status.effective_weight,
            opinions: status.opinions.iter().map(Into::into).collect(),
            withheld_state: status.withheld_state.map_or(pb::State::Unspecified, Into::into).into(),
        }
    }
}

impl TryFrom<pb::PoolGuard> for PoolGuard {
    type Error = UnknownService;

    fn try_from(message: pb::PoolGuard) -> Result<Self, Self::Error> {
        Ok(Self {
            service: message.service.parse()?,
            holding: message.holding,
            held: message.held,
            members: message.members,
            well: message.well,
            explanation: message.explanation,
        })
    }
}

impl From<&PoolGuard> for pb::PoolGuard {
    fn from(guard: &PoolGuard) -> Self {
        Self {
            service: guard.service.to_string(),
            holding: guard.holding,
            held: guard.held.clone(),
            members: guard.members,
            well: guard.well,
            explanation: guard.explanation.clone(),
        }
    }
}

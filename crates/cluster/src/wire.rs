//! Where protobuf ends: messages to domain types and back.
//!
//! Inwards every message has one `TryFrom` with one named error; outwards there is a `From` on a
//! reference. The rules are strict, because what passes here ends in file names, headers,
//! certificates' checks and connect calls: a name is a name, an id is a UUID v7, an address can be
//! connected to. Texts that are only for people are cut to length rather than refused.

mod field;
mod holder;
mod status;
#[cfg(test)]
mod tests;

use field::cut;
use proto::registry as pb;

use crate::{
    health::{Opinion, Verdict},
    instance::{Endpoints, Instance, MAX_WEIGHT, Service, UnknownService},
};

pub use self::holder::holder;
pub use self::status::{InvalidStatus, admin_state, state};
pub use field::{
    InvalidAddress, InvalidId, InvalidName, MAX_ENTRIES, MAX_NAME, MAX_TEXT, address,
    at_unix_millis, duration, from_duration, from_timestamp, id, name, timestamp, unix_millis,
};

/// Why an `Instance` message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInstance {
    /// The message is not there.
    #[error("the instance is missing")]
    Missing,
    /// `service`
    #[error(transparent)]
    Service(#[from] UnknownService),
    /// `name`
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// `id`
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// `endpoints`
    #[error("endpoint {purpose:?}: {problem}")]
    Endpoint {
        /// The key.
        purpose: String,
        /// What is wrong with its value.
        problem: InvalidAddress,
    },
    /// A key of `endpoints` that is no name.
    #[error("the purpose of an endpoint: {0}")]
    Purpose(InvalidName),
    /// More endpoints or tags than [`MAX_ENTRIES`].
    #[error("{count} {what}: 64 are the most")]
    TooMany {
        /// endpoints or tags
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A field longer than [`MAX_NAME`], or with control characters.
    #[error("{field} has more than 128 bytes or control characters")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// `weight`
    #[error("weight {0} is out of range: weights are 0 to 256")]
    Weight(u32),
}

/// Why an `Opinion` message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOpinion {
    /// `checker`
    #[error("checker: {0}")]
    Checker(InvalidName),
    /// `check`
    #[error("check: {0}")]
    Check(InvalidName),
    /// `target_id`
    #[error("target: {0}")]
    Target(InvalidId),
    /// `target_name`
    #[error("target: {0}")]
    TargetName(InvalidName),
    /// `verdict`
    #[error("verdict {0} is not one of passing, critical")]
    Verdict(i32),
    /// `observed_at`
    #[error("observed_at is missing or out of range")]
    ObservedAt,
    /// `ttl`
    #[error("ttl is missing, not positive or out of range")]
    Ttl,
}

fn short(field: &'static str, text: String) -> Result<String, InvalidInstance> {
    if text.len() <= MAX_NAME && !text.chars().any(char::is_control) {
        Ok(text)
    } else {
        Err(InvalidInstance::Text { field })
    }
}

impl TryFrom<pb::Instance> for Instance {
    type Error = InvalidInstance;

    fn try_from(message: pb::Instance) -> Result<Self, Self::Error> {
        if message.weight > MAX_WEIGHT {
            return Err(InvalidInstance::Weight(message.weight));
        }
        if message.tags.len() > MAX_ENTRIES {
            return Err(InvalidInstance::TooMany { what: "tags", count: message.tags.len() });
        }
        Ok(Self {
            service: message.service.parse::<Service>()?,
            name: name(message.name)?,
            id: id(&message.id)?,
            generation: message.generation,
            endpoints: endpoints(message.endpoints)?,
            datacenter: short("datacenter", message.datacenter)?,
            zone: short("zone", message.zone)?,
            tags: message
                .tags
                .into_iter()
                .map(|tag| short("a tag", tag))
                .collect::<Result<_, _>>()?,
            weight: message.weight,
            version: short("version", message.version)?,
            applied_revision: short("applied_revision", message.applied_revision)?,
            applied_hash: short("applied_hash", message.applied_hash)?,
        })
    }
}

fn endpoints(message: Endpoints) -> Result<Endpoints, InvalidInstance> {
    if message.len() > MAX_ENTRIES {
        return Err(InvalidInstance::TooMany { what: "endpoints", count: message.len() });
    }
    let checked = message.into_iter().map(|(purpose, text)| {
        let purpose = name(purpose).map_err(InvalidInstance::Purpose)?;
        match address(text) {
            Ok(text) => Ok((purpose, text)),
            Err(problem) => Err(InvalidInstance::Endpoint { purpose, problem }),
        }
    });
    checked.collect()
}

impl TryFrom<Option<pb::Instance>> for Instance {
    type Error = InvalidInstance;

    fn try_from(message: Option<pb::Instance>) -> Result<Self, Self::Error> {
        message.ok_or(InvalidInstance::Missing)?.try_into()
    }
}

impl From<&Instance> for pb::Instance {
    fn from(instance: &Instance) -> Self {
        Self {
            service: instance.service.to_string(),
            name: instance.name.clone(),
            id: instance.id.to_string(),
            generation: instance.generation,
            endpoints: instance.endpoints.clone(),
            datacenter: instance.datacenter.clone(),
            zone: instance.zone.clone(),
            tags: instance.tags.clone(),
            weight: instance.weight,
            version: instance.version.clone(),
            applied_revision: instance.applied_revision.clone(),
            applied_hash: instance.applied_hash.clone(),
        }
    }
}

impl TryFrom<pb::Opinion> for Opinion {
    type Error = InvalidOpinion;

    fn try_from(message: pb::Opinion) -> Result<Self, Self::Error> {
        Ok(Self {
            checker: name(message.checker).map_err(InvalidOpinion::Checker)?,
            check: name(message.check).map_err(InvalidOpinion::Check)?,
            target_id: id(&message.target_id).map_err(InvalidOpinion::Target)?,
            target_name: name(message.target_name).map_err(InvalidOpinion::TargetName)?,
            verdict: match pb::Verdict::try_from(message.verdict) {
                Ok(pb::Verdict::Passing) => Verdict::Passing,
                Ok(pb::Verdict::Critical) => Verdict::Critical,
                Ok(pb::Verdict::Unspecified) | Err(_) => {
                    return Err(InvalidOpinion::Verdict(message.verdict));
                }
            },
            observed_at: from_timestamp(message.observed_at).ok_or(InvalidOpinion::ObservedAt)?,
            ttl: from_duration(message.ttl)
                .filter(|ttl| !ttl.is_zero())
                .ok_or(InvalidOpinion::Ttl)?,
            detail: cut(message.detail, MAX_TEXT),
            assigned: message.assigned,
        })
    }
}

impl From<&Opinion> for pb::Opinion {
    fn from(opinion: &Opinion) -> Self {
        Self {
            checker: opinion.checker.clone(),
            check: opinion.check.clone(),
            target_id: opinion.target_id.to_string(),
            target_name: opinion.target_name.clone(),
            verdict: pb::Verdict::from(opinion.verdict).into(),
            observed_at: Some(timestamp(opinion.observed_at)),
            ttl: Some(duration(opinion.ttl)),
            detail: opinion.detail.clone(),
            assigned: opinion.assigned,
        }
    }
}

impl From<Verdict> for pb::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passing => Self::Passing,
            Verdict::Critical => Self::Critical,
        }
    }
}

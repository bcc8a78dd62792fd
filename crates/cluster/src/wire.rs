//! The door: protobuf messages to domain types and back.
//!
//! Inwards every message has one `TryFrom` with one named error; outwards there is a `From` on a
//! reference. The rules are strict, because what passes here ends in file names, headers,
//! certificates' checks and connect calls: a name is a name, an id is a UUID v7, an address can be
//! connected to. Texts that are only for people are cut to length rather than refused.

mod field;

use field::cut;
pub use field::{
    InvalidAddress, InvalidId, InvalidName, MAX_ENTRIES, MAX_NAME, MAX_TEXT, address,
    at_unix_millis, duration, from_duration, from_timestamp, id, name, timestamp, unix_millis,
};
use proto::registry as pb;

use crate::{
    health::{Opinion, Verdict},
    instance::{Endpoints, Instance, MAX_WEIGHT, Service, UnknownService},
    status::{AdminState, InstanceStatus, PoolGuard, State},
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn instance() -> pb::Instance {
        pb::Instance {
            service: "proxy-node".into(),
            name: "node-1".into(),
            id: "01890a5d-ac96-774b-bcce-b302099a8057".into(),
            generation: 3,
            endpoints: [("proxy".to_owned(), "10.0.0.1:3128".to_owned())].into(),
            datacenter: "beijing".into(),
            zone: "a".into(),
            tags: vec!["edge".into()],
            weight: 100,
            version: "0.1.0".into(),
            applied_revision: "r1".into(),
            applied_hash: "00ff".into(),
        }
    }

    fn opinion() -> pb::Opinion {
        pb::Opinion {
            checker: "checker-1".into(),
            check: "through-proxy".into(),
            target_id: instance().id,
            target_name: "node-1".into(),
            verdict: pb::Verdict::Critical.into(),
            observed_at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            ttl: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
            detail: "refused".into(),
            assigned: 3,
        }
    }

    fn status() -> pb::InstanceStatus {
        let at = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        pb::InstanceStatus {
            instance: Some(instance()),
            admin_state: pb::AdminState::Drain.into(),
            state: pb::State::Draining.into(),
            reasons: vec!["asked for".into()],
            registered_at: at,
            changed_at: at,
            lease_expires_at: at,
            effective_weight: 7,
            opinions: vec![opinion()],
            withheld_state: pb::State::Lost.into(),
        }
    }

    #[test]
    fn messages_round_trip() {
        let status = status();
        let domain = InstanceStatus::try_from(status.clone()).expect("a good status");
        assert_eq!(pb::InstanceStatus::from(&domain), status);
        let guard = pb::PoolGuard {
            service: "balancer".into(),
            holding: true,
            held: vec!["b".into()],
            members: 2,
            well: 1,
            explanation: "x".into(),
        };
        assert_eq!(
            pb::PoolGuard::from(&PoolGuard::try_from(guard.clone()).expect("a good guard")),
            guard
        );
    }

    #[test]
    fn every_bad_instance_is_named() {
        type Case = (fn(&mut pb::Instance), &'static str);
        let cases: [Case; 14] = [
            (|i| i.service = "squid".into(), "no service named"),
            (|i| i.name = String::new(), "is no name"),
            (|i| i.name = "-node".into(), "is no name"),
            (|i| i.name = "node/../1".into(), "is no name"),
            (|i| i.name = "n".repeat(129), "is no name"),
            (|i| i.id = "1".into(), "is no instance id"),
            (|i| i.id = "67e55044-10b1-426f-9247-bb680e5fe0c8".into(), "is no instance id"),
            (|i| i.weight = 257, "weight 257"),
            (|i| i.zone = "a\nb".into(), "zone"),
            (|i| i.tags = vec!["t".repeat(129)], "a tag"),
            (|i| i.tags = vec![String::new(); 65], "65 tags"),
            (
                |i| i.endpoints = (0..65).map(|n| (format!("e{n}"), "h:1".to_owned())).collect(),
                "65 endpoints",
            ),
            (|i| i.endpoints = [(" ".to_owned(), "h:1".to_owned())].into(), "purpose"),
            (
                |i| i.endpoints = [("grpc".to_owned(), "0.0.0.0:7001".to_owned())].into(),
                "endpoint \"grpc\"",
            ),
        ];
        for (spoil, expected) in cases {
            let mut message = instance();
            spoil(&mut message);
            let problem = Instance::try_from(message).expect_err(expected).to_string();
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
        assert_eq!(Instance::try_from(None::<pb::Instance>), Err(InvalidInstance::Missing));
    }

    #[test]
    fn addresses() {
        for good in [
            "10.0.0.1:3128",
            "[::1]:80",
            "node-1.example.com:1",
            "localhost:65535",
            "under_score:7",
        ] {
            assert_eq!(address(good.to_owned()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "10.0.0.1",
            ":80",
            "h:0",
            "h:65536",
            "h:+1",
            "h:",
            "::1:80",
            "[::]:80",
            "0.0.0.0:1",
            "[h]:1",
            "a b:1",
            "300.1.1.1:1",
            "a..b:1",
            "-a:1",
            "h:1:2",
        ] {
            assert!(address(bad.to_owned()).is_err(), "{bad:?} is no address");
        }
    }

    #[test]
    fn every_bad_opinion_is_named() {
        type Case = (fn(&mut pb::Opinion), &'static str);
        let cases: [Case; 8] = [
            (|o| o.checker = String::new(), "checker"),
            (|o| o.check = "a b".into(), "check"),
            (|o| o.target_id = "x".into(), "target"),
            (|o| o.target_name = String::new(), "target"),
            (|o| o.verdict = 0, "verdict 0"),
            (|o| o.verdict = 9, "verdict 9"),
            (
                |o| o.observed_at = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
                "observed_at",
            ),
            (|o| o.ttl = Some(prost_types::Duration { seconds: -1, nanos: 0 }), "ttl"),
        ];
        for (spoil, expected) in cases {
            let mut message = opinion();
            spoil(&mut message);
            let problem = Opinion::try_from(message).expect_err(expected).to_string();
            assert!(problem.contains(expected), "{problem:?} does not say {expected:?}");
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let message = pb::Opinion { detail: "é".repeat(MAX_TEXT), ..opinion() };
        assert_eq!(
            Opinion::try_from(message).expect("a good opinion").detail,
            "é".repeat(MAX_TEXT / 2)
        );
    }

    #[test]
    fn times_before_1970_round_trip() {
        for at in [Timestamp::new(-5, -500_000_000), Timestamp::new(5, 7)] {
            let at = at.expect("in range");
            assert_eq!(from_timestamp(Some(timestamp(at))), Some(at));
        }
    }
}

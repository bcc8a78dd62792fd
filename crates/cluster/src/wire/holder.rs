//! Who holds addresses that move.

use jiff::{SignedDuration, Timestamp};
use proto::balancer::{VirtualRouter, VirtualRouterState};

use super::field::from_timestamp;
use crate::alarm::{Holder, Role};

/// An election takes no longer, with any interval that is of use.
const SETTLED: SignedDuration = SignedDuration::from_secs(5);

/// What a balancer says of one instance at that time.
#[must_use]
pub fn holder(balancer: &str, it: &VirtualRouter, taken_at: Option<Timestamp>) -> Holder {
    let (role, word) = match it.state() {
        VirtualRouterState::Master => (Role::Master, ""),
        VirtualRouterState::Backup => (Role::Backup, it.master.as_str()),
        VirtualRouterState::Fault | VirtualRouterState::Unspecified => {
            (Role::Fault, it.fault.as_str())
        }
    };
    let since = from_timestamp(it.since);
    let lasts = taken_at.zip(since).map(|(now, since)| now.duration_since(since));
    Holder {
        instance: it.name.clone(),
        balancer: balancer.to_owned(),
        addresses: it.addresses.clone(),
        role,
        word: word.to_owned(),
        is_settled: lasts.is_none_or(|it| it >= SETTLED),
    }
}

//! May this instance be taken out? Not without being asked twice, when nobody else of its service
//! would be left to serve clients. The registry refuses by this rule, and every face asks by it.
//! Pure.

use crate::{
    instance::Service,
    status::{AdminState, InstanceStatus, State},
};

/// Whether a service stands between clients and what they want, so that its last instance is an
/// outage.
#[must_use]
pub const fn serves_clients(service: Service) -> bool {
    matches!(service, Service::Balancer | Service::ProxyNode)
}

/// Whether clients are served by it now.
#[must_use]
pub fn serves(status: &InstanceStatus) -> bool {
    matches!(status.state, State::Usable | State::Suspect) && status.effective_weight > 0
}

/// What is about to be asked of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// The state that it would be in.
    pub admin_state: AdminState,
    /// The weight that it would have.
    pub weight: u32,
}

impl Leave {
    /// It gets nothing new afterwards.
    #[must_use]
    pub const fn takes_out(self) -> bool {
        !matches!(self.admin_state, AdminState::Ready) || self.weight == 0
    }
}

/// Whether `name` is the last of its service that serves clients, among everybody listed.
#[must_use]
pub fn is_last<'a>(listed: impl IntoIterator<Item = &'a InstanceStatus>, name: &str) -> bool {
    let serving: Vec<_> = listed
        .into_iter()
        .filter(|status| serves_clients(status.instance.service) && serves(status))
        .collect();
    let Some(it) = serving.iter().find(|status| status.instance.name == name) else { return false };
    serving.iter().filter(|other| other.instance.service == it.instance.service).count() == 1
}

/// What whoever asks for it is told.
#[must_use]
pub fn warning(name: &str, service: Service) -> String {
    let what = match service {
        Service::Balancer => "clients could not come in any more",
        _ => "every client would get 503",
    };
    format!("{name} is the last usable {service}: {what}")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::instance::Instance;

    fn status(service: Service, name: &str, state: State, weight: u32) -> InstanceStatus {
        let instance = proto::registry::Instance {
            service: service.to_string(),
            name: name.to_owned(),
            id: "019d0000-0000-7000-8000-000000000001".into(),
            ..Default::default()
        };
        InstanceStatus {
            instance: Instance::try_from(Some(instance)).unwrap(),
            admin_state: AdminState::Ready,
            state,
            reasons: Vec::new(),
            registered_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
            lease_expires_at: Timestamp::UNIX_EPOCH,
            effective_weight: weight,
            opinions: Vec::new(),
            withheld_state: None,
        }
    }

    #[test]
    fn who_is_the_last() {
        use Service::{Balancer, ProxyNode, Registry};
        use State::{Critical, Draining, Lost, Maintenance, Starting, Suspect, Usable};
        let one = |state| status(ProxyNode, "n-1", state, 1);
        let two = |state| status(ProxyNode, "n-2", state, 1);
        for (listed, last) in [
            (vec![], false),
            (vec![one(Usable)], true),
            (vec![one(Suspect)], true),
            (vec![one(Usable), two(Usable)], false),
            (vec![one(Usable), two(Suspect)], false),
            (vec![one(Usable), two(Starting)], true),
            (vec![one(Usable), two(Critical)], true),
            (vec![one(Usable), two(Lost)], true),
            (vec![one(Usable), two(Draining)], true),
            (vec![one(Usable), two(Maintenance)], true),
            (vec![one(Usable), status(ProxyNode, "n-2", Usable, 0)], true),
            (vec![one(Usable), status(Balancer, "b-1", Usable, 1)], true),
            // Nobody is served by it now: nothing gets worse.
            (vec![one(Critical)], false),
            (vec![one(Draining), two(Usable)], false),
            (vec![status(ProxyNode, "n-1", Usable, 0)], false),
            (vec![status(Registry, "n-1", Usable, 1)], false),
            (vec![status(Balancer, "n-1", Usable, 1), two(Usable)], true),
        ] {
            assert_eq!(is_last(&listed, "n-1"), last, "{listed:?}");
        }
    }

    #[test]
    fn what_takes_it_out() {
        for (admin_state, weight, out) in [
            (AdminState::Ready, 1, false),
            (AdminState::Ready, 0, true),
            (AdminState::Drain, 1, true),
            (AdminState::Maintenance, 1, true),
        ] {
            assert_eq!(Leave { admin_state, weight }.takes_out(), out);
        }
    }
}

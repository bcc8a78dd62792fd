//! SetAdminState: what operators want, and whether held-back losses are real. RemoveInstance: who
//! is gone for good.

use chassis::{Peer, Role, audit};
use cluster::{Service, instance::MAX_WEIGHT, wire};
use proto::registry as pb;
use tonic::{Request, Status};

use super::{Api, refuse};
use crate::{
    command::{Command, Outcome},
    handle::Change,
};

/// The longest reason, in bytes.
const MAX_REASON: usize = 1024;

pub(super) async fn set_admin_state(
    api: &Api,
    request: Request<pb::SetAdminStateRequest>,
) -> Result<pb::SetAdminStateResponse, Status> {
    let wanted = Wanted::read(request.get_ref())?;
    audit::note(&request, wanted.describe());
    if let Err(why) = wanted.may_be_asked_by(
        Peer::of(&request).role(),
        request.metadata().contains_key(audit::ON_BEHALF_OF),
    ) {
        return Err(refuse::denied("WRONG_ROLE", why.to_owned()));
    }
    let Wanted { target, accept } = wanted;
    let status = match target {
        Some((name, change)) => {
            Some(api.handle.change(name, change).await.map_err(|failed| refuse::failed(&failed))?)
        }
        None => None,
    };
    if let Some(service) = accept {
        let answer = api
            .handle
            .apply(Command::AcceptLosses { service })
            .await
            .map_err(|failed| refuse::failed(&failed))?;
        if let Outcome::Accepted { names } = answer.outcome {
            audit::note(
                &request,
                format!(
                    "accept the losses of {service}: {}",
                    if names.is_empty() { "none held".into() } else { names.join(", ") }
                ),
            );
        }
    }
    Ok(pb::SetAdminStateResponse { status: status.as_ref().map(Into::into) })
}

pub(super) async fn remove_instance(
    api: &Api,
    request: Request<pb::RemoveInstanceRequest>,
) -> Result<pb::RemoveInstanceResponse, Status> {
    let message = request.get_ref();
    let name =
        wire::name(message.name.clone()).map_err(|problem| refuse::invalid("name", problem))?;
    if message.reason.len() > MAX_REASON {
        return Err(refuse::invalid("reason", "has more than 1024 bytes"));
    }
    let because = if message.reason.is_empty() {
        String::new()
    } else {
        format!(", because {}", message.reason)
    };
    audit::note(&request, format!("remove {name}{because}"));
    let answer = api
        .handle
        .apply(Command::Remove { name })
        .await
        .map_err(|failed| refuse::failed(&failed))?;
    let was_listed = matches!(answer.outcome, Outcome::Removed { was_listed: true });
    Ok(pb::RemoveInstanceResponse { was_listed })
}

#[derive(Debug)]
struct Wanted {
    target: Option<(String, Change)>,
    accept: Option<Service>,
}

impl Wanted {
    /// Checks everything before anything is done.
    fn read(message: &pb::SetAdminStateRequest) -> Result<Self, Status> {
        let admin_state = wire::admin_state(message.admin_state)
            .map_err(|problem| refuse::invalid("admin_state", problem))?;
        if message.weight.is_some_and(|weight| weight > MAX_WEIGHT) {
            return Err(refuse::invalid("weight", "weights are 0 to 256"));
        }
        if message.weight.is_some() && message.reset_weight {
            return Err(refuse::invalid("reset_weight", "set a weight or reset it, not both"));
        }
        if message.reason.len() > MAX_REASON {
            return Err(refuse::invalid("reason", "has more than 1024 bytes"));
        }
        let weight = if message.reset_weight { Some(None) } else { message.weight.map(Some) };
        let accept = match message.accept_losses.as_str() {
            "" => None,
            service => Some(
                service
                    .parse::<Service>()
                    .map_err(|problem| refuse::invalid("accept_losses", problem))?,
            ),
        };
        let change =
            Change { admin_state, weight, reason: message.reason.clone(), force: message.force };
        let target = match message.name.as_str() {
            "" if admin_state.is_some() || weight.is_some() => {
                return Err(refuse::invalid("name", "whose? the name is missing"));
            }
            "" => None,
            name => Some((
                wire::name(name.to_owned()).map_err(|problem| refuse::invalid("name", problem))?,
                change,
            )),
        };
        if target.is_none() && accept.is_none() {
            return Err(refuse::invalid(
                "name",
                "nothing is asked for: name an instance, or a service whose losses are to be \
                 accepted",
            ));
        }
        Ok(Self { target, accept })
    }

    /// Operators may ask for everything. A balancer passes on what operators tell it about one
    /// server, a console what a person who has logged in wants of one instance; that a pool's
    /// losses are real is an operator's own judgement.
    fn may_be_asked_by(&self, role: Option<Role>, on_behalf: bool) -> Result<(), &'static str> {
        let weighed = self.target.as_ref().is_some_and(|(_, change)| change.weight.is_some());
        match role {
            Some(Role::Service(_)) if self.accept.is_some() => {
                Err("only an operator may accept losses")
            }
            Some(Role::Service(Service::Console)) if weighed => {
                Err("a console may not change weights")
            }
            Some(Role::Service(Service::Console)) if !on_behalf => {
                Err("a console has to say who asks for it")
            }
            _ => Ok(()),
        }
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some((name, Change { admin_state, weight, reason, force })) = &self.target {
            parts.push(name.clone());
            parts.extend(admin_state.map(|state| format!("{state:?}").to_lowercase()));
            parts.extend(weight.map(|weight| {
                weight.map_or_else(|| "own weight".to_owned(), |weight| format!("weight {weight}"))
            }));
            parts.extend(force.then(|| "forced".to_owned()));
            parts.extend((!reason.is_empty()).then(|| format!("because {reason}")));
        }
        parts.extend(self.accept.map(|service| format!("accept the losses of {service}")));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_before_anything_is_done() {
        let good = || pb::SetAdminStateRequest { name: "a".into(), ..Default::default() };
        for (message, field) in [
            (pb::SetAdminStateRequest::default(), "name"),
            (pb::SetAdminStateRequest { name: String::new(), weight: Some(1), ..good() }, "name"),
            (pb::SetAdminStateRequest { name: "a b".into(), ..good() }, "name"),
            (pb::SetAdminStateRequest { admin_state: 9, ..good() }, "admin_state"),
            (pb::SetAdminStateRequest { weight: Some(257), ..good() }, "weight"),
            (
                pb::SetAdminStateRequest { weight: Some(1), reset_weight: true, ..good() },
                "reset_weight",
            ),
            (pb::SetAdminStateRequest { reason: "x".repeat(1025), ..good() }, "reason"),
            (pb::SetAdminStateRequest { accept_losses: "squid".into(), ..good() }, "accept_losses"),
        ] {
            let status = Wanted::read(&message).expect_err(field);
            assert!(
                status.code() == tonic::Code::InvalidArgument
                    && status.message().starts_with(field),
                "{status:?}"
            );
        }
        assert!(Wanted::read(&good()).is_ok());
    }

    #[test]
    fn services_pass_on_no_more_than_what_they_are_for() {
        let drain = pb::SetAdminStateRequest {
            name: "a".into(),
            admin_state: pb::AdminState::Drain.into(),
            ..Default::default()
        };
        let weigh = pb::SetAdminStateRequest { weight: Some(1), ..drain.clone() };
        let reset = pb::SetAdminStateRequest { reset_weight: true, ..drain.clone() };
        let accept =
            pb::SetAdminStateRequest { accept_losses: "proxy-node".into(), ..Default::default() };
        let service = |service| Some(Role::Service(service));
        for (role, on_behalf, message, allowed) in [
            (Some(Role::Operator), false, &drain, true),
            (Some(Role::Operator), false, &weigh, true),
            (Some(Role::Operator), false, &accept, true),
            (service(Service::Balancer), false, &drain, true),
            (service(Service::Balancer), false, &weigh, true),
            (service(Service::Balancer), true, &accept, false),
            (service(Service::Console), true, &drain, true),
            (service(Service::Console), false, &drain, false),
            (service(Service::Console), true, &weigh, false),
            (service(Service::Console), true, &reset, false),
            (service(Service::Console), true, &accept, false),
            (None, false, &accept, true),
        ] {
            let wanted = Wanted::read(message).expect("good");
            assert_eq!(
                wanted.may_be_asked_by(role, on_behalf).is_ok(),
                allowed,
                "{role:?} {message:?}"
            );
        }
    }

    #[test]
    fn the_audit_record_says_what_and_why() {
        let message = pb::SetAdminStateRequest {
            name: "node-3".into(),
            admin_state: pb::AdminState::Drain.into(),
            weight: Some(7),
            reason: "new disk".into(),
            accept_losses: "proxy-node".into(),
            reset_weight: false,
            force: false,
        };
        let described = Wanted::read(&message).expect("good").describe();
        assert_eq!(
            described,
            "node-3, drain, weight 7, because new disk, accept the losses of proxy-node"
        );
    }
}

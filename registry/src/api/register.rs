//! Register and Deregister.

use chassis::{Peer, audit};
use cluster::{Instance, wire};
use proto::registry as pb;
use tonic::{Request, Status};

use super::{Api, refuse};
use crate::{
    command::{Certified, Command, Outcome},
    endpoints, lease,
};

/// The share that an instance may ask for by itself: operators give more.
const OWN_WEIGHT: u32 = 1;

pub(super) async fn register(
    api: &Api,
    request: Request<pb::RegisterRequest>,
) -> Result<pb::RegisterResponse, Status> {
    let peer = Peer::of(&request);
    let message = request.get_ref();
    let mut instance = Instance::try_from(message.instance.clone())
        .map_err(|problem| refuse::invalid("instance", problem))?;
    audit::note(&request, format!("{} {} (id {})", instance.service, instance.name, instance.id));
    if !peer.is_service(instance.service) {
        return Err(refuse::denied(
            "WRONG_ROLE",
            format!("{peer} may not register a {}", instance.service),
        ));
    }
    may_be_named(&peer, &instance.name)?;
    if peer.identity.is_some() {
        let from = endpoints::From { address: peer.address.ip(), hosts: &peer.hosts };
        endpoints::check(&mut instance, from, &api.trusted)
            .map_err(|refused| refuse::denied("ENDPOINT_ELSEWHERE", refused.to_string()))?;
        instance.weight = instance.weight.min(OWN_WEIGHT);
    }
    let by = peer
        .identity
        .map(|identity| Certified { name: identity.name, replicas: identity.replicas });
    let ttl = lease::grant(wire::from_duration(message.lease_ttl), api.default_ttl);
    instance.generation = 0;
    let ready = message.ready;
    let answer = api
        .handle
        .apply(Command::Register { instance, ttl, ready, by })
        .await
        .map_err(|failed| refuse::failed(&failed))?;
    let (Outcome::Registered { generation }, Some(holding)) = (answer.outcome, answer.holding)
    else {
        return Err(refuse::failed(&crate::handle::Error::Busy));
    };
    let identity = api.handle.feed().identity();
    Ok(pb::RegisterResponse {
        generation,
        lease_ttl: Some(wire::duration(ttl)),
        admin_state: pb::AdminState::from(holding.admin_state).into(),
        cluster_id: identity.cluster_id.to_string(),
        epoch: identity.epoch,
    })
}

pub(super) async fn deregister(
    api: &Api,
    request: Request<pb::DeregisterRequest>,
) -> Result<pb::DeregisterResponse, Status> {
    let peer = Peer::of(&request);
    let message = request.get_ref();
    let name =
        wire::name(message.name.clone()).map_err(|problem| refuse::invalid("name", problem))?;
    let id = wire::id(&message.id).map_err(|problem| refuse::invalid("id", problem))?;
    audit::note(&request, format!("{name} (id {id})"));
    may_be_named(&peer, &name)?;
    let drain_for = wire::from_duration(message.drain_for).unwrap_or_default();
    api.handle
        .apply(Command::Deregister { name, id, drain_for })
        .await
        .map_err(|failed| refuse::failed(&failed))?;
    Ok(pb::DeregisterResponse {})
}

/// Nobody speaks for another.
pub(super) fn may_be_named(peer: &Peer, name: &str) -> Result<(), Status> {
    if peer.may_be_named(name) {
        return Ok(());
    }
    let certified = peer.name();
    Err(refuse::denied(
        "WRONG_NAME",
        format!(
            "the certificate of {peer} is for {certified:?}, not for {name:?}: issue one for that \
             name, or one for several processes with \
             `shoal pki issue --replicas N`"
        ),
    ))
}

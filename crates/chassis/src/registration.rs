//! Register and KeepAlive: how the registry knows that this process is there.
//!
//! One task: connect → Register → KeepAlive, and from the beginning again with jittered backoff
//! whatever goes wrong. NOT_FOUND registers anew; ABORTED (or ALREADY_EXISTS) means that a younger
//! process took over the name: this one stops registering and drains.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use proto::registry::{
    AdminState, DeregisterRequest, Instance, KeepAliveRequest, KeepAliveResponse, RegisterRequest,
    registry_client::RegistryClient,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::{
    connect::{ServiceChannel, explain},
    error::Error,
    identity::ProcessIdentity,
    lifecycle::Lifecycle,
    metrics,
    network::Network,
    options::Options,
    retry::Retry,
    status::{Desired, DesiredHandle, Status as Standing, StatusHandle},
};

const CALL_WITHIN: Duration = Duration::from_secs(5);
/// A lease is renewed so many times within its term.
const RENEWALS: u32 = 3;
const SHORTEST_LEASE: Duration = Duration::from_millis(300);

/// What a registration tells and needs of its registration.
#[derive(Clone)]
pub(crate) struct Registration {
    pub(crate) identity: ProcessIdentity,
    pub(crate) options: Arc<Options>,
    pub(crate) status: StatusHandle,
    pub(crate) desired: DesiredHandle,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) network: Network,
}

/// Why a registration ended.
enum Ended {
    /// The process stops.
    Stopping,
    /// A younger process has the name.
    Fenced(String),
    /// Anything that may go better the next time.
    Failed(String),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Aborted | Code::AlreadyExists => Self::Fenced(status.message().to_owned()),
            _ => Self::Failed(explain(&status)),
        }
    }
}

/// Keeps the process registered until it stops.
pub(crate) async fn keep(registration: Registration) {
    let mut retry = Retry::new(Duration::from_millis(200), Duration::from_secs(5));
    let stop = registration.lifecycle.stop();
    loop {
        let ended = tokio::select! {
            // First, so that nothing is said for a process that has taken over.
            biased;
            () = stop.wait() => Ended::Stopping,
            ended = once(&registration, &mut retry) => ended,
        };
        metrics::flag(metrics::REGISTERED, false);
        let pause = match ended {
            // Who has taken over goes on with this registration.
            Ended::Stopping if registration.lifecycle.is_handed_over() => {
                return registration.lifecycle.mark_deregistered();
            }
            Ended::Stopping => return deregister(&registration).await,
            Ended::Fenced(why) => {
                registration.lifecycle.mark_deregistered();
                let sentence = format!(
                    "another process took over the name {} ({why}), so this one drained",
                    registration.identity.name()
                );
                tracing::error!("{sentence}");
                return registration.lifecycle.request_stop(
                    Error::new(sentence).remedy("give every process its own --name"),
                );
            }
            Ended::Failed(why) => retry.failed("not registered, trying again", &why),
        };
        tokio::select! {
            () = stop.wait() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One registration, from the connection to its end.
async fn once(registration: &Registration, retry: &mut Retry) -> Ended {
    match attempt(registration, retry).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn attempt(
    registration: &Registration,
    retry: &mut Retry,
) -> Result<std::convert::Infallible, Ended> {
    let connector = registration.network.registry_connector();
    let channel =
        connector.clone().connected().await.map_err(|error| Ended::Failed(causes(&error)))?;
    let mut client = RegistryClient::new(channel);
    let mut status = registration.status.subscribe();
    let mut standing = status.borrow_and_update().clone();
    let local = match connector.local_address() {
        // A registry that reaches itself by loopback is not reached so by others.
        Some(local) if local.is_loopback() && registration.network.is_first_registry() => {
            Some(registration.network.address().unwrap_or(local))
        }
        other => other,
    };
    registration.network.set_local_address(local);
    let granted = register(registration, &mut client, &standing, local).await?;
    metrics::flag(metrics::REGISTERED, true);
    tracing::info!(generation = granted.generation, "registered");
    retry.well();

    let (beats, requests) = mpsc::channel(4);
    let beat = |standing: &Standing| KeepAliveRequest {
        name: registration.identity.name().to_owned(),
        id: registration.identity.id().to_string(),
        generation: granted.generation,
        applied_revision: standing.applied_revision.clone(),
        applied_hash: standing.applied_hash.clone(),
        ready: standing.ready,
    };
    // The first beat goes in before the call: a server may answer nothing before it has heard
    // something.
    let first = beat(&status.borrow_and_update());
    send(&beats, first).await?;
    let mut lease = granted.lease_ttl.max(SHORTEST_LEASE);
    let opened = timeout(CALL_WITHIN, client.keep_alive(ReceiverStream::new(requests))).await;
    let mut answers: Streaming<KeepAliveResponse> = opened.map_err(|_| silent())??.into_inner();
    let mut heard = tokio::time::Instant::now();
    loop {
        tokio::select! {
            answer = answers.message() => {
                let answer = answer?.ok_or_else(ended)?;
                heard = tokio::time::Instant::now();
                lease = duration(answer.lease_ttl.as_ref()).unwrap_or(lease).max(SHORTEST_LEASE);
                registration.desired.set(desired(&answer));
            }
            changed = status.changed() => {
                if changed.is_err() { return Err(Ended::Stopping) }
                let now = status.borrow_and_update().clone();
                // Endpoints are only in Register.
                if now.endpoints != standing.endpoints {
                    register(registration, &mut client, &now, local).await?;
                }
                standing = now;
                send(&beats, beat(&standing)).await?;
            }
            () = tokio::time::sleep(lease / RENEWALS) => {
                // Two leases without any answer: a registry that takes beats and says nothing is
                // not there.
                if heard.elapsed() > lease * 2 { return Err(silent()) }
                let next = beat(&status.borrow());
                send(&beats, next).await?;
            }
        }
    }
}

fn desired(answer: &KeepAliveResponse) -> Desired {
    Desired {
        admin_state: AdminState::try_from(answer.admin_state).unwrap_or(AdminState::Unspecified),
        weight: answer.effective_weight,
    }
}

fn ended() -> Ended {
    Ended::Failed("the registry ended the stream".to_owned())
}

fn silent() -> Ended {
    Ended::Failed("the registry does not answer".to_owned())
}

async fn send(beats: &mpsc::Sender<KeepAliveRequest>, beat: KeepAliveRequest) -> Result<(), Ended> {
    match timeout(CALL_WITHIN, beats.send(beat)).await {
        // A closed channel is an ended stream, whose reason the answers tell.
        Ok(_) => Ok(()),
        Err(_) => Err(silent()),
    }
}

/// What the registry granted.
struct Granted {
    generation: u64,
    lease_ttl: Duration,
}

async fn register(
    registration: &Registration,
    client: &mut RegistryClient<ServiceChannel>,
    standing: &Standing,
    local: Option<IpAddr>,
) -> Result<Granted, Ended> {
    let options = &registration.options;
    let request = RegisterRequest {
        instance: Some(instance(registration, standing, local)),
        lease_ttl: prost_types::Duration::try_from(options.lease_ttl).ok(),
        ready: standing.ready,
    };
    let answer =
        timeout(CALL_WITHIN, client.register(request)).await.map_err(|_| silent())??.into_inner();
    registration.network.set_cluster_id(&answer.cluster_id);
    Ok(Granted {
        generation: answer.generation,
        lease_ttl: duration(answer.lease_ttl.as_ref()).unwrap_or(options.lease_ttl),
    })
}

fn duration(duration: Option<&prost_types::Duration>) -> Option<Duration> {
    duration.and_then(|duration| Duration::try_from(*duration).ok())
}

fn instance(registration: &Registration, standing: &Standing, local: Option<IpAddr>) -> Instance {
    let options = &registration.options;
    Instance {
        service: registration.identity.service().to_string(),
        name: registration.identity.name().to_owned(),
        id: registration.identity.id().to_string(),
        generation: 0,
        endpoints: advertised(&standing.endpoints, options.advertise.as_deref(), local),
        datacenter: options.datacenter.clone(),
        zone: options.zone.clone(),
        tags: options.tags.clone(),
        weight: options.weight,
        version: crate::version::VERSION.to_owned(),
        applied_revision: standing.applied_revision.clone(),
        applied_hash: standing.applied_hash.clone(),
    }
}

/// How others reach what is bound: at `--advertise` if given; else where it is bound; and what is
/// bound everywhere, at the address that the connection to the registry has at this end. What is
/// bound to loopback alone is nowhere else: another host's address does not lead to it.
fn advertised(
    bound: &BTreeMap<String, std::net::SocketAddr>,
    advertise: Option<&str>,
    local: Option<IpAddr>,
) -> BTreeMap<String, String> {
    let host = |address: &std::net::SocketAddr| match (advertise, local) {
        (Some(host), _) => bracketed(host),
        (None, Some(local)) if address.ip().is_unspecified() => bracketed(&local.to_string()),
        _ => bracketed(&address.ip().to_string()),
    };
    let elsewhere = advertise.is_some_and(|host| !is_loopback(host));
    let reachable = bound
        .iter()
        .filter(|(_, address)| !(elsewhere && address.ip().to_canonical().is_loopback()));
    reachable
        .map(|(name, address)| (name.clone(), format!("{}:{}", host(address), address.port())))
        .collect()
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

async fn deregister(registration: &Registration) {
    let options = &registration.options;
    let request = DeregisterRequest {
        name: registration.identity.name().to_owned(),
        id: registration.identity.id().to_string(),
        drain_for: prost_types::Duration::try_from(
            options.drain_propagation + options.drain_timeout,
        )
        .ok(),
    };
    let call = async {
        let channel = registration
            .network
            .registry_connector()
            .connected()
            .await
            .map_err(|error| causes(&error))?;
        RegistryClient::new(channel).deregister(request).await.map_err(|status| explain(&status))
    };
    match timeout(CALL_WITHIN, call).await {
        Ok(Ok(_)) => tracing::info!("deregistered"),
        Ok(Err(why)) => tracing::warn!("not deregistered, the lease will lapse instead: {why}"),
        Err(_) => tracing::warn!("not deregistered, the lease will lapse instead: no answer"),
    }
    registration.lifecycle.mark_deregistered();
}

/// An error with its causes, the last of which says what really happened.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised() {
        for (bound, advertise, local, expected) in [
            ("0.0.0.0:1", None, Some("10.0.0.5"), "10.0.0.5:1"),
            ("127.0.0.1:1", None, Some("10.0.0.5"), "127.0.0.1:1"),
            ("0.0.0.0:1", Some("node.example"), Some("10.0.0.5"), "node.example:1"),
            ("[::]:1", None, Some("fd00::5"), "[fd00::5]:1"),
            ("[::]:1", Some("fd00::6"), None, "[fd00::6]:1"),
            ("0.0.0.0:1", None, None, "0.0.0.0:1"),
            ("127.0.0.1:1", Some("127.0.0.1"), Some("10.0.0.5"), "127.0.0.1:1"),
            ("127.0.0.1:1", Some("localhost"), None, "localhost:1"),
            ("127.0.0.1:1", Some("10.0.0.6"), None, ""),
            ("[::1]:1", Some("node.example"), None, ""),
        ] {
            let endpoints = BTreeMap::from([("grpc".to_owned(), bound.parse().unwrap())]);
            let local = local.map(|local: &str| local.parse().unwrap());
            let found = advertised(&endpoints, advertise, local);
            assert_eq!(
                found.get("grpc").map_or("", String::as_str),
                expected,
                "{bound} {advertise:?} {local:?}"
            );
        }
    }
}

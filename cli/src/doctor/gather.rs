//! Collecting the facts: everybody is asked at the same time, each for a few seconds at most, so
//! that what is frozen holds nobody up.

mod process;

use std::{future::Future, time::Duration};

use anyhow::Result;
use chassis::{
    certificate::Certificate,
    operator::{Operator, Unreachable},
    silence::Silence,
};
use cluster::{Endpoints, InstanceStatus, Service, wire::from_timestamp};
use futures::{StreamExt, stream};
use proto::{
    backup::{Condition, ListBackupsRequest, Reason, backup_service_client::BackupServiceClient},
    balancer::{GetStatsRequest, Stats, balancer_client::BalancerClient},
    config::{
        GetDriftRequest, GetRevisionRequest, RolloutState, WatchRolloutRequest,
        config_service_client::ConfigServiceClient,
    },
    health::{ListChecksRequest, health_checker_client::HealthCheckerClient},
    proxy::{self, proxy_node_client::ProxyNodeClient},
};
use tonic::{Code, Status};

use super::facts::{Answer, Backup, Backups, Configuration, Drift, Facts, FailedRollout, Register};
use crate::{
    context::{About, Intent, Target},
    labs,
    output::Head,
    ready,
};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(3);
/// For the registry, which all the rest begins with.
const REGISTRY: Duration = Duration::from_secs(5);
/// Processes asked at the same time.
const AT_ONCE: usize = 32;

/// Asks everybody.
///
/// # Errors
/// It is not known whom to ask, or with which certificate.
pub async fn gather(target: &Target) -> Result<(Facts, Head)> {
    let (context, about) = target.find(Intent::Look)?;
    let operator = context.connect()?;
    let http = ready::client()?;
    let listing =
        within(REGISTRY, async { operator.list().await.map_err(|error| of_registry(&error)) })
            .await;
    let people = whom(listing.as_ref().map_or(&[], |listing| &listing.instances), target);
    let asking =
        in_order(&people).into_iter().map(|person| process::process(&operator, &http, person));
    let processes = stream::iter(asking).buffered(AT_ONCE).collect::<Vec<_>>();
    let (processes, configuration, balancers, nodes, checkers, backups) = tokio::join!(
        processes,
        configuration(&operator, &people),
        balancers(&operator, &people),
        nodes(&operator, &people),
        checkers(&operator, &people),
        backups(&operator, &people)
    );
    let (operators, authorities) = (certificates(&context.cert), certificates(&context.ca));
    let now = chassis::Clock::system().now();
    let id = listing.as_ref().ok().map(|listing| listing.cluster_id.clone());
    let head = Head {
        cluster: About { id, ..about },
        as_of: listing.is_ok().then_some(now),
        stale: false,
    };
    let facts = Facts {
        now,
        registry: listing
            .map(|listing| Register { guards: listing.guards, cluster_id: listing.cluster_id }),
        processes,
        configuration,
        balancers,
        nodes,
        checkers,
        operator: operators.and_then(|all| {
            all.into_iter()
                .next()
                .ok_or_else(|| "the operator's file holds no certificate".to_owned())
        }),
        authorities,
        backups,
        pki: context
            .ca
            .parent()
            .filter(|directory| directory.join("ca.key").is_file())
            .map(|directory| directory.display().to_string()),
    };
    Ok((facts, head))
}

/// The data plane first, in the order in which a request passes it: what is wrong there is felt
/// first.
fn in_order(people: &[Person]) -> Vec<&Person> {
    const FIRST: [Service; 5] = [
        Service::Balancer,
        Service::ProxyNode,
        Service::Registry,
        Service::ConfigService,
        Service::HealthChecker,
    ];
    let place = |service| FIRST.iter().position(|first| *first == service).unwrap_or(FIRST.len());
    let mut people: Vec<_> = people.iter().collect();
    people.sort_by(|one, other| {
        (place(one.service), &one.name).cmp(&(place(other.service), &other.name))
    });
    people
}

/// Where the registry was asked, and why it did not answer. What to do is the finding's to say.
fn of_registry(error: &Unreachable) -> Silence {
    error.silence.clone().at(&error.registry)
}

fn certificates(path: &std::path::Path) -> Result<Vec<Certificate>, String> {
    Certificate::of_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Somebody to be asked.
struct Person {
    name: String,
    service: Service,
    endpoints: Endpoints,
    listed: Option<InstanceStatus>,
    log: Option<String>,
}

impl Person {
    fn grpc(&self, operator: &Operator) -> Answer<chassis::ServiceChannel> {
        let address =
            self.endpoints.get("grpc").ok_or_else(|| "it announces no gRPC port".to_owned())?;
        Ok(operator.channel_at(self.service, &self.name, address))
    }
}

/// Everybody the registry lists, and who should be there beside them: what a lab has started.
fn whom(listed: &[InstanceStatus], target: &Target) -> Vec<Person> {
    let (directory, expected) = target
        .lab()
        .map_or((None, Vec::new()), |(directory, lab)| (Some(directory), lab.processes));
    let log = |name: &str| {
        Some(directory.as_ref()?.join("logs").join(format!("{name}.log")))
            .filter(|path| path.is_file())
            .map(|path| path.display().to_string())
    };
    let person = |status: &InstanceStatus| Person {
        name: status.instance.name.clone(),
        service: status.instance.service,
        endpoints: status.instance.endpoints.clone(),
        log: log(&status.instance.name),
        listed: Some(status.clone()),
    };
    let mut people: Vec<_> = listed.iter().map(person).collect();
    for labs::description::Process { name, service, endpoints, .. } in expected {
        let Ok(service) = service.parse() else { continue };
        if people.iter().all(|known| known.name != name) {
            let log = log(&name);
            people.push(Person { name, service, endpoints, listed: None, log });
        }
    }
    people
}

async fn within<T>(time: Duration, answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| Err(Silence::late()))
}

async fn ask<T>(answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Answer<T> {
    within(ANSWER, async {
        answer.await.map(tonic::Response::into_inner).map_err(|status| Silence::of_status(&status))
    })
    .await
}

fn first(people: &[Person], service: Service) -> Option<&Person> {
    people.iter().find(|person| person.service == service)
}

async fn configuration(operator: &Operator, people: &[Person]) -> Option<Answer<Configuration>> {
    let person = first(people, Service::ConfigService)?;
    let answer = async {
        let mut client = ConfigServiceClient::new(person.grpc(operator)?);
        let released = tokio::time::timeout(
            ANSWER,
            client.get_revision(GetRevisionRequest { revision: "released".to_owned() }),
        )
        .await;
        let released = match released.map_err(|_| Silence::late())? {
            Ok(answer) => answer.into_inner().revision.unwrap_or_default().id,
            Err(status) if status.code() == Code::NotFound => String::new(),
            Err(status) => return Err(Silence::of_status(&status)),
        };
        let drift = ask(client.get_drift(GetDriftRequest {})).await?.nodes;
        let drift = drift
            .into_iter()
            .filter(|node| !node.in_step)
            .map(|node| Drift { cause: node.cause(), name: node.name, why: node.explanation })
            .collect();
        Ok(Configuration { released, drift, failed_rollout: failed_rollout(client).await })
    };
    Some(answer.await)
}

/// The newest rollout, if it failed; nothing when there was none yet.
async fn failed_rollout(
    mut client: ConfigServiceClient<chassis::ServiceChannel>,
) -> Option<FailedRollout> {
    let mut rollouts =
        ask(client.watch_rollout(WatchRolloutRequest { rollout_id: String::new() })).await.ok()?;
    let newest = tokio::time::timeout(ANSWER, rollouts.message()).await.ok()?.ok()??.rollout?;
    let number =
        newest.revision.as_ref().map(|revision| revision.number.to_string()).unwrap_or_default();
    let refused = newest
        .nodes
        .iter()
        .find_map(|node| Some((node.name.clone(), node.problems.first()?.cause())));
    (newest.state() == RolloutState::Failed).then_some(FailedRollout {
        revision: number,
        refused,
        why: newest.explanation,
    })
}

async fn balancers(operator: &Operator, people: &[Person]) -> Vec<(String, Stats)> {
    let asking = people.iter().filter(|person| person.service == Service::Balancer).map(
        |person| async move {
            let mut client = BalancerClient::new(person.grpc(operator).ok()?)
                .max_decoding_message_size(64 << 20);
            Some((
                person.name.clone(),
                ask(client.get_stats(GetStatsRequest {})).await.ok()?.stats?,
            ))
        },
    );
    stream::iter(asking).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn nodes(operator: &Operator, people: &[Person]) -> Vec<(String, proxy::GetStatsResponse)> {
    let asking = people.iter().filter(|person| person.service == Service::ProxyNode).map(
        |person| async move {
            let mut client = ProxyNodeClient::new(person.grpc(operator).ok()?);
            Some((
                person.name.clone(),
                ask(client.get_stats(proxy::GetStatsRequest {})).await.ok()?,
            ))
        },
    );
    stream::iter(asking).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn checkers(operator: &Operator, people: &[Person]) -> Vec<(String, usize)> {
    let asking = people.iter().filter(|person| person.service == Service::HealthChecker).map(
        |person| async move {
            let mut client = HealthCheckerClient::new(person.grpc(operator).ok()?)
                .max_decoding_message_size(64 << 20);
            Some((
                person.name.clone(),
                ask(client.list_checks(ListChecksRequest {})).await.ok()?.checks.len(),
            ))
        },
    );
    stream::iter(asking).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn backups(operator: &Operator, people: &[Person]) -> Option<Answer<Backups>> {
    let person = first(people, Service::BackupService)?;
    let answer = async {
        let mut client = BackupServiceClient::new(person.grpc(operator)?);
        let listed = ask(client.list_backups(ListBackupsRequest {})).await?.backups;
        let (damaged, good): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|backup| backup.condition() == Condition::Damaged);
        Ok(Backups {
            newest: good
                .into_iter()
                .filter(|backup| backup.reason() != Reason::BeforeRestore)
                .filter_map(|backup| {
                    Some(Backup {
                        made: from_timestamp(backup.created_at)?,
                        cluster_id: backup.cluster_id,
                    })
                })
                .max_by_key(|backup| backup.made),
            damaged: damaged.into_iter().map(|backup| (backup.id, backup.problem)).collect(),
        })
    };
    Some(answer.await)
}

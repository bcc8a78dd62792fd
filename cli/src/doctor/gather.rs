//! Collecting the facts: everybody is asked at the same time, each for a few seconds at most, so that what is frozen holds nobody up.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::Result;
use chassis::{certificate::Certificate, operator::Operator};
use cluster::{Endpoints, InstanceStatus, Service, wire::from_timestamp};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use proto::{
    backup::{Condition, ListBackupsRequest, backup_service_client::BackupServiceClient},
    balancer::{GetStatsRequest, Stats, balancer_client::BalancerClient},
    config::{GetDriftRequest, GetRevisionRequest, RolloutState, WatchRolloutRequest, config_service_client::ConfigServiceClient},
    health::{ListChecksRequest, health_checker_client::HealthCheckerClient},
};
use reqwest::{Client, header};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::facts::{Answer, Backups, Configuration, Facts, Process, Reading, Register};
use crate::{context::Target, exposition::Exposition, lab, ready};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(3);
/// For the registry, which all the rest begins with.
const REGISTRY: Duration = Duration::from_secs(5);
/// Processes asked at the same time.
const AT_ONCE: usize = 32;
/// Of `/metrics`; more is not a process of ours.
const METRICS: usize = 8 << 20;
/// Endpoints that are no TCP ports to be tried: asked otherwise, or datagrams, or a path.
const NOT_TRIED: [&str; 4] = ["grpc", "admin", "icp", "socket"];

/// Asks everybody.
///
/// # Errors
/// It is not known whom to ask, or with which certificate.
pub async fn gather(target: &Target) -> Result<Facts> {
    let context = target.find()?;
    let operator = context.connect()?;
    let http = ready::client()?;
    let listing = within(REGISTRY, async { operator.list().await.map_err(|failure| failure.to_string()) }).await;
    let people = whom(listing.as_ref().map_or(&[], |listing| &listing.instances), target);
    let asking = people.iter().map(|person| process(&operator, &http, person));
    let processes = stream::iter(asking).buffered(AT_ONCE).collect::<Vec<_>>();
    let (processes, configuration, balancers, checkers, backups) = tokio::join!(
        processes,
        configuration(&operator, &people),
        balancers(&operator, &people),
        checkers(&operator, &people),
        backups(&operator, &people)
    );
    let (operators, authorities) = (certificates(&context.cert), certificates(&context.ca));
    Ok(Facts {
        now: Timestamp::now(),
        registry: listing.map(|listing| Register { guards: listing.guards }),
        processes,
        configuration,
        balancers,
        checkers,
        operator: operators.and_then(|all| all.into_iter().next().ok_or_else(|| "the operator's file holds no certificate".to_owned())),
        authorities,
        backups,
    })
}

fn certificates(path: &std::path::Path) -> Answer<Vec<Certificate>> {
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
        let address = self.endpoints.get("grpc").ok_or_else(|| "it announces no gRPC port".to_owned())?;
        Ok(operator.channel_at(self.service, &self.name, address))
    }
}

/// Everybody the registry lists, and who should be there beside them: what a lab has started.
fn whom(listed: &[InstanceStatus], target: &Target) -> Vec<Person> {
    let (directory, expected) = target.lab().map_or((None, Vec::new()), |(directory, lab)| (Some(directory), lab.processes));
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
    for lab::description::Process { name, service, endpoints, .. } in expected {
        let Ok(service) = service.parse() else { continue };
        if people.iter().all(|known| known.name != name) {
            let log = log(&name);
            people.push(Person { name, service, endpoints, listed: None, log });
        }
    }
    people
}

async fn within<T>(time: Duration, answer: impl Future<Output = Answer<T>>) -> Answer<T> {
    tokio::time::timeout(time, answer).await.unwrap_or_else(|_| Err(format!("no answer within {} s", time.as_secs())))
}

async fn ask<T>(answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Answer<T> {
    within(ANSWER, async { answer.await.map(tonic::Response::into_inner).map_err(|status| chassis::connect::explain(&status)) }).await
}

async fn process(operator: &Operator, http: &Client, person: &Person) -> Process {
    let admin = person.endpoints.get("admin").ok_or_else(|| "it announces no admin HTTP port".to_owned());
    let ready = async {
        match &admin {
            Ok(address) => is_ready(http, address).await,
            Err(why) => Err(why.clone()),
        }
    };
    let metrics = async {
        match &admin {
            Ok(address) => within(ANSWER, metrics(http, address)).await,
            Err(why) => Err(why.clone()),
        }
    };
    let certificate = async {
        match person.endpoints.get("grpc") {
            Some(address) => within(ANSWER, async { operator.certificate_at(address).await.map_err(|error| error.to_string()) }).await,
            None => Err("it announces no gRPC port".to_owned()),
        }
    };
    let (grpc, ready, metrics, certificate, ports) = tokio::join!(is_serving(operator, person), ready, metrics, certificate, ports(person));
    let clock = metrics.as_ref().ok().and_then(|(_, clock)| *clock);
    Process {
        name: person.name.clone(),
        service: person.service,
        listed: person.listed.clone(),
        log: person.log.clone(),
        grpc,
        ready,
        metrics: metrics.map(|(metrics, _)| metrics),
        clock,
        certificate,
        ports,
    }
}

async fn is_serving(operator: &Operator, person: &Person) -> Answer<bool> {
    let mut client = HealthClient::new(person.grpc(operator)?);
    let answer = ask(client.check(HealthCheckRequest { service: String::new() })).await?;
    Ok(answer.status() == ServingStatus::Serving)
}

async fn is_ready(http: &Client, address: &str) -> Answer<Answer<()>> {
    within(ANSWER, async {
        let answer = http.get(format!("http://{address}/readyz")).send().await.map_err(|error| reason(&error.without_url()))?;
        let well = answer.status().is_success();
        let said = answer.text().await.unwrap_or_default();
        Ok(if well { Ok(()) } else { Err(said.trim().chars().take(80).collect()) })
    })
    .await
}

/// The numbers of a process, and what they say of its clock.
async fn metrics(http: &Client, address: &str) -> Answer<(Exposition, Option<Reading>)> {
    let (asked_at, asked) = (Timestamp::now(), Instant::now());
    let mut answer = http.get(format!("http://{address}/metrics")).send().await.map_err(|error| reason(&error.without_url()))?;
    if !answer.status().is_success() {
        return Err(format!("/metrics answers {}", answer.status()));
    }
    let date = answer
        .headers()
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| Timestamp::strptime("%a, %d %b %Y %H:%M:%S %Z", date).ok());
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| reason(&error.without_url()))? {
        text.extend_from_slice(&piece);
        if text.len() > METRICS {
            return Err("/metrics does not end".to_owned());
        }
    }
    let took = asked.elapsed();
    let metrics = Exposition::parse(&String::from_utf8_lossy(&text));
    let clock = reading(asked_at, took, metrics.get(chassis::metrics::CLOCK), date);
    Ok((metrics, clock))
}

/// How far a clock is ahead that was read at some moment between asking and the answer. A process of an older version tells the second only,
/// in Date (RFC 9110 §6.6.1).
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 in microseconds fit a double")]
fn reading(asked_at: Timestamp, took: Duration, told: Option<f64>, date: Option<Timestamp>) -> Option<Reading> {
    let half = took.as_secs_f64() / 2.0;
    let middle = asked_at.as_microsecond() as f64 / 1e6 + half;
    let (there, step) = match (told, date) {
        (Some(told), _) => (told, 0.0),
        (None, Some(date)) => (date.as_second() as f64 + 0.5, 0.5),
        (None, None) => return None,
    };
    Some(Reading { ahead: there - middle, exact_to: half + step, took })
}

/// The innermost reason, which says it in a few words.
fn reason(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Whether the other ports take connections.
async fn ports(person: &Person) -> Vec<(String, String, Answer<()>)> {
    let tried = person.endpoints.iter().filter(|(purpose, _)| !NOT_TRIED.contains(&purpose.as_str()));
    let opening = tried.map(|(purpose, address)| async move {
        let connected =
            within(ANSWER, async { tokio::net::TcpStream::connect(address.as_str()).await.map(drop).map_err(|error| error.to_string()) });
        (purpose.clone(), address.clone(), connected.await)
    });
    futures::future::join_all(opening).await
}

fn first(people: &[Person], service: Service) -> Option<&Person> {
    people.iter().find(|person| person.service == service)
}

async fn configuration(operator: &Operator, people: &[Person]) -> Option<Answer<Configuration>> {
    let person = first(people, Service::ConfigService)?;
    let answer = async {
        let mut client = ConfigServiceClient::new(person.grpc(operator)?);
        let released = tokio::time::timeout(ANSWER, client.get_revision(GetRevisionRequest { revision: "released".to_owned() })).await;
        let released = match released.map_err(|_| format!("no answer within {} s", ANSWER.as_secs()))? {
            Ok(answer) => answer.into_inner().revision.unwrap_or_default().id,
            Err(status) if status.code() == Code::NotFound => String::new(),
            Err(status) => return Err(chassis::connect::explain(&status)),
        };
        let drift = ask(client.get_drift(GetDriftRequest {})).await?.nodes;
        let drift = drift.into_iter().filter(|node| !node.in_step).map(|node| (node.name, node.explanation)).collect();
        Ok(Configuration { released, drift, failed_rollout: failed_rollout(client).await })
    };
    Some(answer.await)
}

/// The newest rollout, if it failed; nothing when there was none yet.
async fn failed_rollout(mut client: ConfigServiceClient<chassis::ServiceChannel>) -> Option<(String, String)> {
    let mut rollouts = ask(client.watch_rollout(WatchRolloutRequest { rollout_id: String::new() })).await.ok()?;
    let newest = tokio::time::timeout(ANSWER, rollouts.message()).await.ok()?.ok()??.rollout?;
    let number = newest.revision.as_ref().map(|revision| revision.number.to_string()).unwrap_or_default();
    (newest.state() == RolloutState::Failed).then_some((number, newest.explanation))
}

async fn balancers(operator: &Operator, people: &[Person]) -> Vec<(String, Stats)> {
    let asking = people.iter().filter(|person| person.service == Service::Balancer).map(|person| async move {
        let mut client = BalancerClient::new(person.grpc(operator).ok()?).max_decoding_message_size(64 << 20);
        Some((person.name.clone(), ask(client.get_stats(GetStatsRequest {})).await.ok()?.stats?))
    });
    stream::iter(asking).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn checkers(operator: &Operator, people: &[Person]) -> Vec<(String, usize)> {
    let asking = people.iter().filter(|person| person.service == Service::HealthChecker).map(|person| async move {
        let mut client = HealthCheckerClient::new(person.grpc(operator).ok()?).max_decoding_message_size(64 << 20);
        Some((person.name.clone(), ask(client.list_checks(ListChecksRequest {})).await.ok()?.checks.len()))
    });
    stream::iter(asking).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn backups(operator: &Operator, people: &[Person]) -> Option<Answer<Backups>> {
    let person = first(people, Service::BackupService)?;
    let answer = async {
        let mut client = BackupServiceClient::new(person.grpc(operator)?);
        let listed = ask(client.list_backups(ListBackupsRequest {})).await?.backups;
        let (damaged, good): (Vec<_>, Vec<_>) = listed.into_iter().partition(|backup| backup.condition() == Condition::Damaged);
        Ok(Backups {
            newest: good.into_iter().filter_map(|backup| from_timestamp(backup.created_at)).max(),
            damaged: damaged.into_iter().map(|backup| (backup.id, backup.problem)).collect(),
        })
    };
    Some(answer.await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_in_the_middle_of_the_answer() {
        let at = Timestamp::from_second(1000).unwrap();
        let read = |took, told, date: Option<i64>| {
            reading(at, Duration::from_secs_f64(took), told, date.map(|second| Timestamp::from_second(second).unwrap()))
                .map(|it| (it.ahead, it.exact_to))
        };
        assert_eq!(read(0.5, Some(1000.25), None), Some((0.0, 0.25)));
        assert_eq!(read(0.5, Some(1010.25), Some(1)), Some((10.0, 0.25)));
        assert_eq!(read(1.0, None, Some(990)), Some((-10.0, 1.0)));
        assert_eq!(read(1.0, None, None), None);
    }
}

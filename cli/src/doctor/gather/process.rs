//! What one process says of itself, and how it looks from here.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use chassis::{operator::Operator, scrape::Metrics, silence::Silence};
use cluster::{
    Service,
    wire::{from_duration, from_timestamp},
};
use jiff::Timestamp;
use proto::{
    log::{ListErrorsRequest, LoggedError, log_client::LogClient},
    proxy::{
        ExplainRequestRequest, RouteKind, TailAccessRequest, proxy_node_client::ProxyNodeClient,
    },
};
use reqwest::{Client, Response, header};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{ANSWER, Person, ask, within};
use crate::doctor::facts::{Answer, Answered, Complaint, Complaints, Open, Port, Process, Reading};

/// Of `/metrics`; more is not a process of ours.
const METRICS: usize = 8 << 20;
/// Of `/readyz`, which is a line or two.
const READINESS: usize = 64 << 10;
/// Endpoints that are not tried. Asked otherwise, or datagrams, or a path: grpc, admin, icp,
/// socket. Open to balancers alone, or to nodes alone, who use them all the time and say when they
/// cannot: relay, target. A firewall that keeps others out, this machine too, is as it should be.
const NOT_TRIED: [&str; 6] = ["grpc", "admin", "icp", "socket", "relay", "target"];
/// Of the requests that a node has answered, as many as this are looked at.
const ANSWERED: u32 = 500;

/// Asks one of them everything, at the same time.
pub async fn process(operator: &Operator, http: &Client, person: &Person) -> Process {
    let admin = person
        .endpoints
        .get("admin")
        .ok_or_else(|| Silence::from("it announces no admin HTTP port"));
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
            Some(address) => {
                within(ANSWER, async {
                    operator.certificate_at(address).await.map_err(|error| error.to_string().into())
                })
                .await
            }
            None => Err("it announces no gRPC port".into()),
        }
    };
    let (grpc, ready, metrics, certificate, ports, answered, complaints) = tokio::join!(
        is_serving(operator, person),
        ready,
        metrics,
        certificate,
        ports(person),
        answered(operator, person),
        complaints(operator, person)
    );
    let (answered, failed_on) = answered.unwrap_or_default();
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
        answered,
        complaints,
        failed_on,
    }
}

/// The errors of the last hour. Who is of an older version has nothing to tell.
async fn complaints(operator: &Operator, person: &Person) -> Option<Complaints> {
    let mut log = LogClient::new(person.grpc(operator).ok()?);
    let told = ask(log.list_errors(ListErrorsRequest { within: None })).await.ok()?;
    let error = |error: LoggedError| Complaint {
        age: from_duration(error.age).unwrap_or_default(),
        target: error.target,
        text: error.text,
    };
    Some(Complaints { errors: told.errors.into_iter().map(error).collect(), more: told.more })
}

/// The last requests of a node, and where the last of them that failed was to go. What cannot be
/// had is no finding of its own.
async fn answered(
    operator: &Operator,
    person: &Person,
) -> Option<(Vec<Answered>, Option<(RouteKind, String)>)> {
    if person.service != Service::ProxyNode {
        return None;
    }
    let mut node = ProxyNodeClient::new(person.grpc(operator).ok()?);
    let records = within(ANSWER, async {
        let mut told = node
            .tail_access(TailAccessRequest { last: ANSWERED, ..Default::default() })
            .await
            .map_err(|status| status.to_string())?
            .into_inner();
        let mut records = Vec::new();
        while let Some(message) = told.message().await.map_err(|status| status.to_string())? {
            records.extend(message.records);
        }
        Ok(records)
    });
    let answered = records.await.ok()?.into_iter().filter_map(|record| {
        let at = from_timestamp(record.ended_at)?;
        Some(Answered { at, method: record.method, url: record.url, status: record.status })
    });
    let answered: Vec<_> = answered.collect();
    let Some(failed) = answered.iter().rev().find(|request| request.has_failed()) else {
        return Some((answered, None));
    };
    let question = ExplainRequestRequest {
        url: failed.url.clone(),
        method: failed.method.clone(),
        ..Default::default()
    };
    let route = ask(node.explain_request(question))
        .await
        .ok()
        .map(|answer| (answer.route_kind(), answer.route));
    Some((answered, route))
}

async fn is_serving(operator: &Operator, person: &Person) -> Answer<bool> {
    let mut client = HealthClient::new(person.grpc(operator)?);
    let answer = ask(client.check(HealthCheckRequest { service: String::new() })).await?;
    Ok(answer.status() == ServingStatus::Serving)
}

async fn is_ready(http: &Client, address: &str) -> Answer<Result<(), String>> {
    within(ANSWER, async {
        let answer = http.get(format!("http://{address}/readyz")).send().await.map_err(reason)?;
        let well = answer.status().is_success();
        let said = bounded(answer, READINESS).await.map_err(|error| format!("/readyz {error}"))?;
        Ok(if well { Ok(()) } else { Err(said.trim().chars().take(80).collect()) })
    })
    .await
}

/// The numbers of a process, and what they say of its clock.
async fn metrics(http: &Client, address: &str) -> Answer<(Metrics, Option<Reading>)> {
    let (asked_at, asked) = (chassis::Clock::system().now(), Instant::now());
    let answer = http.get(format!("http://{address}/metrics")).send().await.map_err(reason)?;
    if !answer.status().is_success() {
        return Err(format!("/metrics answers {}", answer.status()).into());
    }
    let date = answer
        .headers()
        .get(header::DATE)
        .and_then(|date| date.to_str().ok())
        .and_then(|date| Timestamp::strptime("%a, %d %b %Y %H:%M:%S %Z", date).ok());
    let text = bounded(answer, METRICS).await.map_err(|error| format!("/metrics {error}"))?;
    let took = asked.elapsed();
    let metrics = Metrics::parse(&text);
    let clock = reading(asked_at, took, metrics.get(chassis::metrics::CLOCK), date);
    Ok((metrics, clock))
}

/// A body as text. One that is longer than `most` bytes is not read any further.
async fn bounded(mut answer: Response, most: usize) -> Answer<String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reason)? {
        body.extend_from_slice(&piece);
        if body.len() > most {
            return Err("does not end".into());
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// How far a clock is ahead that was read at some moment between asking and the answer. A process
/// of an older version tells the second only, in Date (RFC 9110 §6.6.1).
#[allow(clippy::cast_precision_loss, reason = "seconds since 1970 in microseconds fit a double")]
fn reading(
    asked_at: Timestamp,
    took: Duration,
    told: Option<f64>,
    date: Option<Timestamp>,
) -> Option<Reading> {
    let half = took.as_secs_f64() / 2.0;
    let middle = asked_at.as_microsecond() as f64 / 1e6 + half;
    let (there, step) = match (told, date) {
        (Some(told), _) => (told, 0.0),
        (None, Some(date)) => (date.as_second() as f64 + 0.5, 0.5),
        (None, None) => return None,
    };
    Some(Reading { ahead: there - middle, exact_to: half + step, took })
}

/// Without the URL, which is known.
fn reason(error: reqwest::Error) -> Silence {
    if error.is_timeout() { Silence::late() } else { Silence::of_error(&error.without_url()) }
}

/// Whether the other ports take connections. A loopback address of a process on another machine is
/// not for us.
async fn ports(person: &Person) -> Vec<Port> {
    let is_loopback = |address: &str| {
        address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
    };
    let beside_us = person.endpoints.get("grpc").is_some_and(|address| is_loopback(address));
    let tried =
        person.endpoints.iter().filter(|(purpose, _)| !NOT_TRIED.contains(&purpose.as_str()));
    let opening = tried.filter(|(_, address)| beside_us || !is_loopback(address)).map(
        |(purpose, address)| async move {
            let open =
                match tokio::time::timeout(ANSWER, TcpStream::connect(address.as_str())).await {
                    Ok(Ok(_)) => Open::Yes,
                    Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Open::Refused,
                    Ok(Err(error)) => Open::Unreached(Silence::of_error(&error).to_string()),
                    Err(_) => Open::Unreached(Silence::late().to_string()),
                };
            Port { purpose: purpose.clone(), address: address.clone(), open }
        },
    );
    futures::future::join_all(opening).await
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Somebody who took the port of a process that is gone, and has much to say.
    #[tokio::test]
    async fn a_body_without_an_end_is_not_collected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let talker = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let asked = client.read(&mut [0; 4096]).await.unwrap();
            assert!(asked > 0);
            let mut written = client.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await;
            let mut said = 0;
            while written.is_ok() {
                written = client.write_all(&[b'x'; 4096]).await;
                said += 4096;
            }
            said
        });
        let client = crate::ready::client().unwrap();
        assert_eq!(is_ready(&client, &address).await, Err("/readyz does not end".into()));
        drop(client);
        // It is hung up on: what it could say is what was asked for and what waits in the sockets'
        // buffers.
        assert!(talker.await.unwrap() < 64 << 20);
    }

    #[test]
    fn a_clock_is_read_in_the_middle_of_the_answer() {
        let at = Timestamp::from_second(1000).unwrap();
        let read = |took, told, date: Option<i64>| {
            reading(
                at,
                Duration::from_secs_f64(took),
                told,
                date.map(|second| Timestamp::from_second(second).unwrap()),
            )
            .map(|it| (it.ahead, it.exact_to))
        };
        assert_eq!(read(0.5, Some(1000.25), None), Some((0.0, 0.25)));
        assert_eq!(read(0.5, Some(1010.25), Some(1)), Some((10.0, 0.25)));
        assert_eq!(read(1.0, None, Some(990)), Some((-10.0, 1.0)));
        assert_eq!(read(1.0, None, None), None);
    }
}

//! CPU time and memory of single contenders: requests, tunnels, idle connections.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Bench, scaled};
use crate::{
    contender::{Certificate, Contender, Fleet, Setting, Who},
    cpu::{self, Time},
    load::{
        client::Client,
        dial::{Dialer, Dialers, Handshake},
        idle::{self, Kind},
        requests::{self, Connection, Outcome, Paths, Plan},
        tunnels,
    },
    results::Sample,
    trial::{Trial, Work},
};

/// Tunnels at the same time, and bytes through each.
const TUNNELS: usize = 4;
const TUNNEL_BYTES: usize = 384 << 20;
const GIB: f64 = (1_u64 << 30) as f64;
/// What a process gives back a moment after use counts as given back.
const SETTLE: Duration = Duration::from_millis(1500);

/// All samples of a trial.
pub async fn run(bench: Bench<'_>, trial: &Trial, who: &[Who]) -> Result<Vec<Sample>> {
    let idle = match trial.work {
        Work::Idle(_, count) => Some(count),
        _ => None,
    };
    let secure =
        matches!(trial.work, Work::Requests { tls: Some(_), .. } | Work::Idle(Kind::Secure, _));
    let certificate = secure.then(Certificate::new).transpose()?;
    let servers = [bench.origin.address];
    let mut setting = Setting { tls: certificate.as_ref(), ..Setting::plain(&servers) };
    // Beside those that idle come a few before them.
    setting.clients = setting.clients.max(idle.unwrap_or_default() + bench.extent.connections);
    let mut samples = Vec::new();
    let mut kept = None;
    origin_is_faster(bench, trial).await?;
    // The first round only opens connections, fills caches, and brings everything into memory. For
    // memory there is none, and every round has new processes: what counts there is what the first
    // connections take.
    let rounds = if idle.is_some() { bench.extent.few() } else { bench.extent.rounds };
    for round in usize::from(idle.is_some())..=rounds {
        let fleet = match kept.take().filter(|_| idle.is_none()) {
            Some(fleet) => fleet,
            None => Fleet::start(who, setting).await?,
        };
        for turn in 0..who.len() {
            // Nobody always comes after the same neighbour.
            let who = who[(turn + round) % who.len()];
            let sample = one(bench, trial, who, fleet.get(who)?, certificate.as_ref()).await;
            let sample = sample.with_context(|| format!("{} in {}", who.name(), trial.name))?;
            if round > 0 {
                bench.progress.sample(&sample);
                samples.push(sample);
            }
        }
        kept = Some(fleet);
    }
    Ok(samples)
}

/// The requests of a trial in a round, to this address.
fn plan(
    bench: Bench<'_>,
    work: Work,
    address: SocketAddr,
    certificate: Option<&Certificate>,
) -> Result<Plan> {
    let (path, body, connection, tls, requests) = match work {
        Work::Requests { body, fresh, hits, tls, requests } => (
            if hits { "c" } else { "b" },
            body,
            if fresh { Connection::New } else { Connection::Kept },
            tls,
            requests,
        ),
        Work::Connections { fresh, requests } => {
            ("b", 1024, if fresh { Connection::Once } else { Connection::Kept }, None, requests)
        }
        other => anyhow::bail!("{other:?} are no requests"),
    };
    let connections = bench.extent.connections;
    let dialers = match (certificate, tls) {
        (Some(certificate), Some(handshake)) => {
            Dialers::secure(certificate, handshake, connections)?
        }
        _ => Dialers::plain(),
    };
    Ok(Plan {
        address,
        dialers,
        origin: bench.origin.address,
        paths: Paths::one(&format!("/{path}/{body}"), body),
        connection,
        connections,
        requests: scaled(requests, bench.extent.scale),
    })
}

/// Says how fast the origin answers with nobody between: where a contender comes near, it was the
/// origin that was measured.
async fn origin_is_faster(bench: Bench<'_>, trial: &Trial) -> Result<()> {
    if !matches!(trial.work, Work::Requests { hits: false, .. } | Work::Connections { .. }) {
        return Ok(());
    }
    // Whatever clients do, contenders keep their connections to the origin.
    let plan = plan(bench, trial.work, bench.origin.address, None)?;
    let requests = (plan.requests / 2).max(1);
    let plan = Plan { connection: Connection::Kept, requests, ..plan };
    let outcome = requests::run(plan).await.context("the origin itself")?;
    let rate = requests as f64 / outcome.took.as_secs_f64();
    bench.progress.say(&format!(
        "{:<24} {:<34} {rate:>10.0} requests/s, nobody between",
        trial.name, "the origin"
    ));
    Ok(())
}

async fn one(
    bench: Bench<'_>,
    trial: &Trial,
    who: Who,
    contender: &Contender,
    certificate: Option<&Certificate>,
) -> Result<Sample> {
    let (origin, extent) = (bench.origin, bench.extent);
    let resident = |mut sample: Sample| {
        sample.resident_kib = Some(cpu::resident_kib(contender.pid)?);
        Ok(sample)
    };
    match trial.work {
        Work::Requests { .. } | Work::Connections { .. } => {
            let plan = plan(bench, trial.work, contender.address, certificate)?;
            if matches!(trial.work, Work::Requests { tls: Some(Handshake::Resumed), .. }) {
                requests::acquaint(&plan).await?;
            }
            let hits = matches!(trial.work, Work::Requests { hits: true, .. });
            resident(timed_requests(bench, trial.name, who, contender, plan, hits).await?)
        }
        Work::Tunnels(direction) => {
            let bytes = TUNNEL_BYTES.min(scaled(TUNNEL_BYTES as u64, extent.scale).try_into()?);
            let before = cpu::time(contender.pid)?;
            tunnels::run(contender.address, origin.address, direction, TUNNELS, bytes).await?;
            let used = cpu::time(contender.pid)?.since(before);
            resident(costing(trial.name, who, used, GIB / (TUNNELS * bytes) as f64))
        }
        Work::Idle(kind, count) => {
            let dialer = match certificate {
                Some(certificate) => Dialer::secure(certificate, Handshake::Full)?,
                None => Dialer::plain(),
            };
            let open = |count| open(bench, contender, &dialer, kind, who, count);
            drop(open(extent.connections).await?);
            tokio::time::sleep(SETTLE).await;
            let before = cpu::resident_kib(contender.pid)?;
            let clients = open(count).await?;
            tokio::time::sleep(SETTLE).await;
            let grown = cpu::resident_kib(contender.pid)?.saturating_sub(before);
            drop(clients);
            resident(Sample::new(
                trial.name,
                who,
                grown as f64 * 1024.0 / 1e6 * 1000.0 / count as f64,
            ))
        }
        other => anyhow::bail!("{other:?} is no traffic"),
    }
}

/// CPU-ms for 1000 requests, with how fast they came through. `hits`: not one of them may reach the
/// origin.
pub async fn timed_requests(
    bench: Bench<'_>,
    trial: &str,
    who: Who,
    contender: &Contender,
    plan: Plan,
    hits: bool,
) -> Result<Sample> {
    if hits {
        // Only the first request of all may reach the origin.
        requests::run(Plan { connections: 1, requests: 1, ..plan.clone() }).await?;
    }
    let requests = plan.requests;
    let (asked, before) = (bench.origin.cacheable(), cpu::time(contender.pid)?);
    let outcome: Outcome = requests::run(plan).await?;
    let used = cpu::time(contender.pid)?.since(before);
    let missed = bench.origin.cacheable() - asked;
    ensure!(missed == 0, "{missed} of {requests} were no hits");
    let mut sample = costing(trial, who, used, 1e6 / requests as f64);
    sample.requests_per_second = Some(requests as f64 / outcome.took.as_secs_f64());
    sample.p50_us = Some(outcome.quantile(0.50).as_secs_f64() * 1e6);
    sample.p99_us = Some(outcome.quantile(0.99).as_secs_f64() * 1e6);
    Ok(sample)
}

/// A sample of CPU time: seconds times `per`.
pub fn costing(trial: &str, who: Who, used: Time, per: f64) -> Sample {
    let [total, user, system] =
        [used.total(), used.user, used.system].map(|time| time.as_secs_f64() * per);
    Sample { user: Some(user), system: Some(system), ..Sample::new(trial, who, total) }
}

async fn open(
    bench: Bench<'_>,
    contender: &Contender,
    dialer: &Dialer,
    kind: Kind,
    who: Who,
    count: usize,
) -> Result<Vec<Client>> {
    // Caches answer from the cache, so that only their clients' connections idle.
    let caches = matches!(who, Who::ShoalNode | Who::NginxCache | Who::Squid);
    let path = if caches { "/c/1024" } else { "/b/1024" };
    idle::open(dialer, contender.address, bench.origin.address, kind, path, 1024, count).await
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::{measure::Extent, origin::Origin, progress::Progress};

    async fn hits_through(address: std::net::SocketAddr, origin: &Origin) -> Result<Sample> {
        let progress = Progress::new(Duration::ZERO);
        let bench = Bench {
            origin,
            extent: Extent { rounds: 1, scale: 1.0, connections: 2 },
            progress: &progress,
        };
        let contender = Contender { address, pid: std::process::id().cast_signed() };
        let plan = Plan {
            address,
            dialers: Dialers::plain(),
            origin: origin.address,
            paths: Paths::one("/c/100", 100),
            connection: Connection::Kept,
            connections: 2,
            requests: 20,
        };
        timed_requests(bench, "hit-1k", Who::ShoalNode, &contender, plan, true).await
    }

    /// A contender that answers every request with these bytes.
    fn answering(bytes: &'static [u8]) -> std::net::SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let (mut stream, mut buffer) = (stream, [0; 4096]);
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0)
                        && stream.write_all(bytes).is_ok()
                    {}
                });
            }
        });
        address
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_cache_that_misses_cannot_be_measured() {
        let origin = Origin::start().unwrap();
        // The origin itself as a cache that asks the origin every time.
        let error = hits_through(origin.address, &origin).await.unwrap_err().to_string();
        assert_eq!(error, "20 of 20 were no hits");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wrong_answers_cannot_be_measured() {
        let origin = Origin::start().unwrap();
        for (answer, why) in [
            (&b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"[..], "not a 200"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nxxxxx",
                "5 bytes of body instead of \
                100",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\
                yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\
                yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                "not the origin's bytes",
            ),
        ] {
            let error = hits_through(answering(answer), &origin).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

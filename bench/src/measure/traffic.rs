//! CPU time and memory of single contenders: requests, tunnels, idle connections.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Bench, scaled};
use crate::{
    contender::{Contender, Fleet, Who},
    cpu::{self, Time},
    load::{
        client::Client,
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
/// Idle connections that are measured.
const IDLE: usize = 2000;
/// What a process gives back a moment after use counts as given back.
const SETTLE: Duration = Duration::from_millis(1500);

/// All samples of a trial.
pub async fn run(bench: Bench<'_>, trial: &Trial, who: &[Who]) -> Result<Vec<Sample>> {
    let idle = matches!(trial.work, Work::Idle(_));
    let mut samples = Vec::new();
    let mut kept = None;
    origin_is_faster(bench, trial).await?;
    // The first round only opens connections, fills caches, and brings everything into memory. For
    // memory there is none, and every round has new processes: what counts there is what the first
    // connections take.
    let rounds = if idle { bench.extent.few() } else { bench.extent.rounds };
    for round in usize::from(idle)..=rounds {
        let fleet = match kept.take().filter(|_| !idle) {
            Some(fleet) => fleet,
            None => Fleet::start(who, bench.origin).await?,
        };
        for turn in 0..who.len() {
            // Nobody always comes after the same neighbour.
            let who = who[(turn + round) % who.len()];
            let sample = one(bench, trial, who, fleet.get(who)?).await;
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

/// Says how fast the origin answers with nobody between: where a contender comes near, it was the
/// origin that was measured.
async fn origin_is_faster(bench: Bench<'_>, trial: &Trial) -> Result<()> {
    // Whatever clients do, contenders keep their connections to the origin.
    let Work::Requests { body, hits: false, requests, .. } = trial.work else { return Ok(()) };
    let address = bench.origin.address;
    let requests = scaled(requests / 2, bench.extent.scale);
    let plan = Plan {
        address,
        origin: address,
        paths: Paths::one(&format!("/b/{body}"), body),
        connection: Connection::Kept,
        connections: bench.extent.connections,
        requests,
    };
    let outcome = requests::run(plan).await.context("the origin itself")?;
    let rate = requests as f64 / outcome.took.as_secs_f64();
    bench.progress.say(&format!(
        "{:<24} {:<34} {rate:>10.0} requests/s, nobody between",
        trial.name, "the origin"
    ));
    Ok(())
}

async fn one(bench: Bench<'_>, trial: &Trial, who: Who, contender: &Contender) -> Result<Sample> {
    let (origin, extent) = (bench.origin, bench.extent);
    let resident = |mut sample: Sample| {
        sample.resident_kib = Some(cpu::resident_kib(contender.pid)?);
        Ok(sample)
    };
    match trial.work {
        Work::Requests { body, fresh, hits, requests } => {
            let path = format!("/{}/{body}", if hits { "c" } else { "b" });
            let requests = scaled(requests, extent.scale);
            let (address, origin_at, connections) =
                (contender.address, origin.address, extent.connections);
            let connection = if fresh { Connection::New } else { Connection::Kept };
            let paths = Paths::one(&path, body);
            let plan =
                Plan { address, origin: origin_at, paths, connection, connections, requests };
            resident(timed_requests(bench, trial.name, who, contender, plan, hits).await?)
        }
        Work::Tunnels(direction) => {
            let bytes = TUNNEL_BYTES.min(scaled(TUNNEL_BYTES as u64, extent.scale).try_into()?);
            let before = cpu::time(contender.pid)?;
            tunnels::run(contender.address, origin.address, direction, TUNNELS, bytes).await?;
            let used = cpu::time(contender.pid)?.since(before);
            resident(costing(trial.name, who, used, GIB / (TUNNELS * bytes) as f64))
        }
        Work::Idle(kind) => {
            drop(open(bench, contender, kind, who, extent.connections).await?);
            tokio::time::sleep(SETTLE).await;
            let before = cpu::resident_kib(contender.pid)?;
            let clients = open(bench, contender, kind, who, IDLE).await?;
            tokio::time::sleep(SETTLE).await;
            let grown = cpu::resident_kib(contender.pid)?.saturating_sub(before);
            drop(clients);
            resident(Sample::new(
                trial.name,
                who,
                grown as f64 * 1024.0 / 1e6 * 1000.0 / IDLE as f64,
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
    kind: Kind,
    who: Who,
    count: usize,
) -> Result<Vec<Client>> {
    // Caches answer from the cache, so that only their clients' connections idle.
    let caches = matches!(who, Who::ShoalNode | Who::NginxCache | Who::Squid);
    let path = if caches { "/c/1024" } else { "/b/1024" };
    idle::open(contender.address, bench.origin.address, kind, path, 1024, count).await
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

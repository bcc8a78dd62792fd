//! Runs the trials: rounds in which everybody has a turn, so that what changes on the machine changes for all.

use anyhow::{Context, Result, ensure};
use std::time::Duration;

use crate::{
    contender::{Contender, Fleet, Who},
    cpu,
    load::{
        client::Client,
        idle::{self, Kind},
        requests::{self, Plan},
        tunnels,
    },
    origin::Origin,
    results::Sample,
    trial::{Trial, Work},
};

/// Tunnels at the same time, and bytes through each.
const TUNNELS: usize = 4;
const TUNNEL_BYTES: usize = 512 << 20;
const GIB: f64 = (1_u64 << 30) as f64;
/// Idle connections that are measured.
const IDLE: usize = 2000;
/// What a process gives back a moment after use counts as given back.
const SETTLE: Duration = Duration::from_millis(1500);

/// How often and how much.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The median of so many counts.
    pub rounds: usize,
    /// Multiplies what is done in a round.
    pub scale: f64,
    /// Connections at the same time.
    pub connections: usize,
}

/// All samples of a trial. Who is not installed is left out.
pub async fn run(trial: &Trial, origin: &Origin, extent: Extent) -> Result<Vec<Sample>> {
    let who: Vec<Who> = trial.who.iter().copied().filter(|who| who.installed()).collect();
    let idle = matches!(trial.work, Work::Idle(_));
    let mut samples = Vec::new();
    let mut kept = None;
    // The first round only opens connections, fills caches, and brings everything into memory. For memory there is none, and every round has
    // new processes: what counts there is what the first connections take.
    for round in usize::from(idle)..=extent.rounds {
        let fleet = match kept.take().filter(|_| !idle) {
            Some(fleet) => fleet,
            None => Fleet::start(&who, origin).await?,
        };
        for who in &who {
            let sample = one(trial, *who, fleet.get(*who)?, origin, extent).await;
            let sample = sample.with_context(|| format!("{} in {}", who.name(), trial.name))?;
            if round > 0 {
                eprintln!("{} {round}/{} {}: {:.3}", trial.name, extent.rounds, who.name(), sample.cost);
                samples.push(sample);
            }
        }
        kept = Some(fleet);
    }
    Ok(samples)
}

async fn one(trial: &Trial, who: Who, contender: &Contender, origin: &Origin, extent: Extent) -> Result<Sample> {
    match trial.work {
        Work::Requests { body, fresh, hits, requests } => {
            let path = format!("/{}/{body}", if hits { "c" } else { "b" });
            let requests = scaled(requests, extent.scale);
            let (address, origin_at, connections) = (contender.address, origin.address, extent.connections);
            let plan = Plan { address, origin: origin_at, path, body, fresh, connections, requests };
            if hits {
                // Only the first request of all may reach the origin.
                requests::run(Plan { connections: 1, requests: 1, ..plan.clone() }).await?;
            }
            let (asked, before) = (origin.cacheable(), cpu::time(contender.pid)?);
            let outcome = requests::run(plan).await?;
            let used = cpu::time(contender.pid)?.saturating_sub(before);
            ensure!(origin.cacheable() == asked, "{} of {requests} were no hits", origin.cacheable() - asked);
            Ok(Sample {
                requests_per_second: Some(requests as f64 / outcome.took.as_secs_f64()),
                p50_us: Some(outcome.quantile(0.50).as_secs_f64() * 1e6),
                p99_us: Some(outcome.quantile(0.99).as_secs_f64() * 1e6),
                ..sample(trial, who, contender, used.as_secs_f64() * 1e6 / requests as f64)?
            })
        }
        Work::Tunnels => {
            let bytes = TUNNEL_BYTES.min(scaled(TUNNEL_BYTES as u64, extent.scale).try_into()?);
            let before = cpu::time(contender.pid)?;
            tunnels::run(contender.address, origin.address, TUNNELS, bytes).await?;
            let used = cpu::time(contender.pid)?.saturating_sub(before);
            sample(trial, who, contender, used.as_secs_f64() * GIB / (TUNNELS * bytes) as f64)
        }
        Work::Idle(kind) => {
            drop(open(contender, origin, kind, who, extent.connections).await?);
            tokio::time::sleep(SETTLE).await;
            let before = cpu::resident_kib(contender.pid)?;
            let clients = open(contender, origin, kind, who, IDLE).await?;
            tokio::time::sleep(SETTLE).await;
            let grown = cpu::resident_kib(contender.pid)?.saturating_sub(before);
            drop(clients);
            sample(trial, who, contender, grown as f64 * 1024.0 / 1e6 * 1000.0 / IDLE as f64)
        }
    }
}

async fn open(contender: &Contender, origin: &Origin, kind: Kind, who: Who, count: usize) -> Result<Vec<Client>> {
    // Caches answer from the cache, so that only their clients' connections idle.
    let caches = matches!(who, Who::ShoalNode | Who::NginxCache | Who::Squid);
    let path = if caches { "/c/1024" } else { "/b/1024" };
    idle::open(contender.address, origin.address, kind, path, 1024, count).await
}

fn scaled(count: u64, scale: f64) -> u64 {
    ((count as f64 * scale) as u64).max(1)
}

fn sample(trial: &Trial, who: Who, contender: &Contender, cost: f64) -> Result<Sample> {
    let resident_kib = cpu::resident_kib(contender.pid)?;
    Ok(Sample { trial: trial.name.to_owned(), who, cost, requests_per_second: None, p50_us: None, p99_us: None, resident_kib })
}

//! What a pick costs: the same requests to a pool of three servers and to one of a thousand, whose
//! connections are new for every request, or kept. A thousand kept connections are more than the
//! processor's caches hold, for everybody, and hide what the pick costs.
//!
//! Each request asks for something else of another host for another user, and each client has an
//! address of its own, so that whatever a balancer goes by is spread over all servers.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use super::{Bench, scaled, traffic::timed_requests};
use crate::{
    contender::{Fleet, Setting, Who},
    load::{
        dial::Dialers,
        requests::{Connection, Paths, Plan},
    },
    origin::{Keeping, Origin},
    results::Sample,
    trial::Trial,
};

const SERVERS: usize = 1000;
const BODY: usize = 1024;
const REQUESTS: u64 = 10_000;
/// Where the kernel follows connections, it remembers those that have ended for two minutes, and
/// takes no new ones when it remembers as many as it may.
const FOLLOWED: [&str; 2] =
    ["/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_count"];
/// After which it has forgotten them.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// Seconds of one turn.
pub const fn expected() -> f64 {
    REQUESTS as f64 * 60e-6
}

/// Waits until the kernel can follow so many connections more.
async fn room_for(bench: Bench<'_>, connections: u64) {
    let begun = std::time::Instant::now();
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let [most, now] = FOLLOWED;
    while let (Some(most), Some(now)) = (number(most), number(now)) {
        if now + connections <= most || begun.elapsed() > FORGOTTEN {
            return;
        }
        bench.progress.doing("waits until the kernel forgets connections that have ended");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Everybody in turn, round after round; the first one, in which connections are opened, does not
/// count.
pub async fn run(
    bench: Bench<'_>,
    trial: &Trial,
    (balance, keeping): (&'static str, Keeping),
    who: &[Who],
) -> Result<Vec<Sample>> {
    let (origin, servers) = Origin::at_many(SERVERS, keeping)?;
    let bench = Bench { origin: &origin, ..bench };
    let fleet = Fleet::start(who, Setting { balance, ..Setting::plain(&servers) }).await?;
    let mut samples = Vec::new();
    let requests = scaled(REQUESTS, bench.extent.scale);
    for round in 0..=bench.extent.rounds {
        if keeping == Keeping::Closed {
            room_for(bench, requests * who.len() as u64).await;
        }
        for turn in 0..who.len() {
            let who = who[(turn + round) % who.len()];
            let contender = fleet.get(who)?;
            let connections = bench.extent.connections;
            let plan = Plan {
                address: contender.address,
                dialers: Dialers::apart(connections),
                origin: origin.address,
                paths: Paths::various(BODY),
                connection: Connection::Kept,
                connections,
                requests,
            };
            let sample = timed_requests(bench, trial.name, who, contender, plan, false).await;
            let sample = sample.with_context(|| format!("{} in {}", who.name(), trial.name))?;
            if round > 0 {
                bench.progress.sample(&sample);
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}
